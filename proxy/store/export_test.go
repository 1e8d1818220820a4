package store

import "time"

// WithAckWait returns a Config for engines that hand messages out again sooner.
func (c Config) WithAckWait(d time.Duration) Config {
	c.ackWait = d
	return c
}
