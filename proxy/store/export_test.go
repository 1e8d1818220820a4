package store

import "time"

// WithAckWait returns a Config for engines that hand messages out again sooner.
func (c Config) WithAckWait(d time.Duration) Config {
	c.ackWait = d
	return c
}

// WithRoom returns a Config for engines that do not look at the disk for its room.
func (c Config) WithRoom(room func() error) Config {
	c.room = room
	return c
}
