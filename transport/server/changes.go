package server

import (
	"context"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// errMoved is the answer to a change that this process must not make any more. Clients ask
// again by themselves, over another connection.
var errMoved = proto.Errorf(proto.ErrUnavailable, "another process has taken over; nothing was changed").
	WithHint("ask again").From("proxy", wire.ReasonMoved)

// Changes are the requests under way that change something. They can be held back, so that
// at some time there are none: what they change can then be given to another process. Nil
// holds none back.
type Changes struct {
	mu    sync.Mutex // guards the fields below:
	count int        // under way
	none  chan struct{}
	held  chan struct{} // closed when they go on; nil: they are not held back
	moved bool
}

// Begin waits while changes are held back. It is an error if another process is to make
// them.
func (c *Changes) Begin(ctx context.Context) error {
	if c == nil {
		return nil
	}
	for {
		c.mu.Lock()
		held, moved := c.held, c.moved
		if held == nil && !moved {
			c.count++
		}
		c.mu.Unlock()
		switch {
		case moved:
			return errMoved
		case held == nil:
			return nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// End ends what Begin has begun.
func (c *Changes) End() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count--; c.count == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
}

// Hold holds changes back, and returns once none is under way. If ctx is done before, they
// go on.
func (c *Changes) Hold(ctx context.Context) error {
	c.mu.Lock()
	if c.held == nil {
		c.held = make(chan struct{})
	}
	if c.count == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.none == nil {
		c.none = make(chan struct{})
	}
	none := c.none
	c.mu.Unlock()
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		c.Resume()
		return ctx.Err()
	}
}

// Resume lets changes go on.
func (c *Changes) Resume() { c.release(false) }

// Move refuses changes, those that are held back too: another process makes them.
func (c *Changes) Move() { c.release(true) }

func (c *Changes) release(moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.moved = moved; c.held != nil {
		close(c.held)
		c.held = nil
	}
}
