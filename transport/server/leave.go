package server

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// connections are the open connections of a server.
type connections struct {
	work    sync.WaitGroup // on those that net/http does not have, with a goroutine or without
	serving atomic.Int64   // how many of those that Config.Early reads have a request
	resting atomic.Int64   // how many of those that Config.Early reads wait for one
	leaving atomic.Bool    // each answer says that it is the last of its connection
	changed chan struct{}  // holds a value when there are fewer of any of these; has room for one

	mu     sync.Mutex // guards the fields below:
	all    map[*framedConn]bool
	closed bool
}

func newConnections() connections {
	return connections{all: make(map[*framedConn]bool), changed: make(chan struct{}, 1)}
}

func (s *connections) add(c *framedConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[c] = true
	if c.early != nil {
		c.early.closing = s.closed
	}
}

func (s *connections) remove(c *framedConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
	s.wake()
}

// wake lets whoever waits look again.
func (s *connections) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// rests counts the connections that wait for a request.
func (s *connections) rests(waiting bool) {
	if waiting {
		s.resting.Add(1)
	} else if s.resting.Add(-1) == 0 {
		s.wake()
	}
}

// until waits until is says so, or ctx is done.
func (s *connections) until(ctx context.Context, is func() bool) bool {
	for !is() {
		select {
		case <-s.changed:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// leave makes each answer say that it is the last of its connection, and waits until all
// connections have ended that way, at most wire.LeaveIdle. A connection that is closed
// between two requests may be closed just when the next one is on its way, which its sender
// must not repeat unless it may be executed twice (RFC 9112 section 9.3.1).
func (s *connections) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, wire.LeaveIdle)
	defer cancel()
	s.until(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.all) == 0
	})
}

// stop makes each connection that Config.Early reads end after its request, or now if none
// has begun to come, and waits for that until ctx is done. It then ends the requests, too,
// and returns when no goroutine of acceptEarly is left.
func (s *connections) stop(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.each((*Early).stop)
	over := make(chan struct{})
	go func() {
		defer close(over)
		s.work.Wait()
	}()
	defer func() { <-over }()
	if s.until(ctx, func() bool { return s.serving.Load() == 0 && s.resting.Load() == 0 }) {
		return
	}
	s.each(func(e *Early) { e.reader.Abort() })
	select {
	case <-over:
	case <-time.After(linger): // of callers who do not take their answers
		s.each(func(e *Early) { _ = e.conn.Conn.Close() })
	}
}

func (s *connections) each(do func(*Early)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.all {
		if c.early != nil {
			do(c.early)
		}
	}
}
