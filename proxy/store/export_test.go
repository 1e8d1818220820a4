package store

import (
	"context"
	"io"
	"time"
)

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

// Sweep removes pieces of no blob that are older than an age.
func (e *Engine) Sweep(ctx context.Context, age time.Duration) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	return s.sweep(ctx, age)
}

// Pieces counts the pieces of all blobs.
func (e *Engine) Pieces(ctx context.Context) (uint64, error) {
	s, err := e.session(ctx)
	if err != nil {
		return 0, err
	}
	info, err := s.blobs.Info(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.Msgs, nil
}

// The parsers of what others may have written.
var (
	Encode = encode
	Decode = decode
)

// ReadExport returns how many records an export has.
func ReadExport(r io.Reader) (int, error) {
	records, err := readExport(r)
	return len(records), err
}
