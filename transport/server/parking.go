package server

import (
	"errors"
	"os"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/poll"
)

// A connection that has had a request in the fast lane and waits for the next one needs a
// goroutine only to notice that it comes. The stack of that is most of what such a connection
// takes: so one that has waited for a while is left to the kernel, until something happens.

// parkAfter is how often it is looked which connections wait: one that has waited from one look
// to the next is parked.
const parkAfter = 2 * time.Second

// past is a limit that has passed.
var past = time.Unix(1, 0)

// errParked says that a connection goes on to wait, without the goroutine that served it.
var errParked = errors.New("the connection waits without a goroutine")

// parking are the connections of a server that wait without a goroutine.
type parking struct {
	poll poll.Poll[*Early]
}

// parkable is what parking knows of a connection. Early.mu guards it.
type parkable struct {
	able    bool      // to be parked, while it waits
	never   bool      // the kernel does not watch it
	looked  bool      // it has waited at the last look already
	tired   bool      // its goroutine is to end
	watch   uint64    // of the poll; 0: it is not parked
	until   time.Time // when it is closed, if nothing comes
	expired bool      // that time has come
}

// keep looks at the connections now and then, until stop. None may be left then.
func (p *parking) keep(conns *connections, every time.Duration) (stop func()) {
	p.poll.Tell = (*Early).wake
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case now := <-tick.C:
				conns.each(func(e *Early) { e.tire(now) })
			case <-over:
				return
			}
		}
	}()
	return func() {
		close(over)
		<-done
		p.poll.Close()
	}
}

// park lets a connection wait that is tired, and reports whether it does: its goroutine must
// end then, and leave all else as it is.
func (p *parking) park(e *Early) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.parking.tired = false
	if e.closing {
		return false
	}
	e.parking.watch = p.poll.Once(e.Descriptor, e)
	e.parking.never = e.parking.watch == 0
	return !e.parking.never
}

// rests notes that the connection begins to wait, or no longer does. mu is held.
func (e *Early) rests() {
	p := &e.parking
	p.able = e.waiting && !e.passed && e.raw != nil && !p.never
	p.looked = false
	if e.waiting {
		return
	}
	if p.expired = false; p.tired {
		p.tired, e.until = false, time.Time{} // the limit for reads has passed
	}
}

// tire ends the goroutine of a connection that waits as it did at the last look, and the
// wait of one that is parked when its time is over.
func (e *Early) tire(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch p := &e.parking; {
	case p.watch != 0:
		if now.After(p.until) {
			e.resume(true)
		}
	case !p.able || p.tired || e.closing:
	case !p.looked:
		p.looked = true
	default:
		p.tired = true
		_ = e.conn.SetReadDeadline(past)
	}
}

// tired reports whether a wait has ended for the connection to be parked.
func (e *Early) tired(ended error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.parking.tired || e.closing || !errors.Is(ended, os.ErrDeadlineExceeded) {
		return false
	}
	e.parking.until, e.until = e.until, time.Time{}
	return true
}

// resume goes on with a connection if it is parked, and reports whether it was: in a
// goroutine, it sees by itself what has happened. mu is held.
func (e *Early) resume(expired bool) bool {
	p := &e.parking
	if p.watch == 0 {
		return false
	}
	e.server.parking.poll.Forget(p.watch)
	p.watch, p.expired = 0, expired
	go e.server.serveEarly(e.conn)
	return true
}

// wake goes on with a connection if it is parked.
func (e *Early) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.resume(false)
}
