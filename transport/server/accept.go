package server

import (
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"
)

// A listener that cannot accept for a moment, as when descriptors run out, is asked again.
const (
	acceptFirst = 5 * time.Millisecond
	acceptMost  = 1 * time.Second
)

// acceptEarly serves the connections of a listener until it fails or is closed. Each of
// them begins with what reads before net/http, and is passed on with the first request
// that this leaves: net/http keeps 12 KiB for a connection for as long as it is open,
// whoever reads its requests.
func (s *server) acceptEarly(l net.Listener) error {
	for wait := acceptFirst; ; {
		conn, err := l.Accept()
		var passing interface{ Temporary() bool }
		if errors.As(err, &passing) && passing.Temporary() {
			s.logger.Warn("cannot accept connections", "error", err, "again", wait)
			select {
			case <-time.After(wait):
			case <-s.closing:
				return err
			}
			wait = min(2*wait, acceptMost)
			continue
		}
		if err != nil {
			return err
		}
		wait = acceptFirst
		c := conn.(*framedConn)
		s.greeting.note(c, http.StateNew)
		s.conns.work.Add(1) // until it is closed or passed on
		go s.serveEarly(c)
	}
}

// serveEarly serves a connection until it ends, net/http goes on, or nothing has come for so
// long that it waits without a goroutine.
func (s *server) serveEarly(c *framedConn) {
	passed := false
	parked := false
	defer func() {
		if parked {
			return
		}
		defer s.conns.work.Done()
		if fault := recover(); fault != nil {
			s.logger.Error("a connection has failed", "peer", c.RemoteAddr(), "panic", fault, "stack", string(debug.Stack()))
		}
		if !passed {
			s.greeting.note(c, http.StateClosed)
			_ = c.Close()
		}
	}()
	for {
		err := c.early.serve()
		if err == nil {
			break
		}
		if !errors.Is(err, errParked) {
			return
		}
		if parked = s.parking.park(c.early); parked {
			return
		}
	}
	c.early.left, c.early.passed = true, true
	s.greeting.note(c, http.StateNew) // until net/http has read the head
	passed = s.left.hand(c)
}

// passedOn is a listener of connections that others have accepted.
type passedOn struct {
	addr  net.Addr
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPassedOn(addr net.Addr) *passedOn {
	return &passedOn{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// hand passes a connection on, unless the listener is closed.
func (l *passedOn) hand(c net.Conn) bool {
	select {
	case l.conns <- c:
		return true
	case <-l.done:
		return false
	}
}

// Accept implements net.Listener.
func (l *passedOn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *passedOn) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

// Addr implements net.Listener.
func (l *passedOn) Addr() net.Addr { return l.addr }
