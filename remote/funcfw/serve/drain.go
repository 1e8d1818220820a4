package serve

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// lameDuck is how long connections without a request are still served after the
// listeners are closed. A gateway that hears of the end closes its idle ones well
// within this time.
const lameDuck = time.Second

// drainer ends a server without losing a request. http.Server.Shutdown alone
// loses some: it does not answer what it reads after its beginning, be it on a
// connection that was just accepted or on an idle one. So the drainer first lets
// the connections run out: each is closed with its next answer.
type drainer struct {
	next http.Handler

	mu      sync.Mutex // guards the below
	begun   bool
	waiting map[net.Conn]bool // connections without a request: new or idle
	running int               // handlers, those of hijacked connections too
	changed chan struct{}     // has room for one
}

func newDrainer(next http.Handler) *drainer {
	return &drainer{next: next, waiting: make(map[net.Conn]bool), changed: make(chan struct{}, 1)}
}

func (d *drainer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.running++
	begun := d.begun
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.running--
		d.wake()
	}()
	if begun {
		w.Header().Set("Connection", "close") // over HTTP/2, GOAWAY
	}
	d.next.ServeHTTP(w, r)
}

// note is the server's ConnState.
func (d *drainer) note(c net.Conn, state http.ConnState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if state == http.StateNew || state == http.StateIdle {
		d.waiting[c] = true
	} else {
		delete(d.waiting, c)
	}
	d.wake()
}

// wake tells drain of a change. d.mu is held.
func (d *drainer) wake() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// drain closes the listeners, calls closed when that has had its effect, and
// returns when every request has been answered, or with ctx. accepting counts the
// server's Serve of each listener.
func (d *drainer) drain(ctx context.Context, srv *http.Server, listeners []net.Listener, accepting *sync.WaitGroup, closed func()) error {
	d.mu.Lock()
	d.begun = true
	d.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close() // the sockets themselves are the agent's
	}
	accepting.Wait() // the last connection that was accepted has been noted
	closed()
	duck, cancel := context.WithTimeout(ctx, lameDuck)
	defer cancel()
	_ = d.until(duck, func() bool { return len(d.waiting) == 0 })
	if err := srv.Shutdown(ctx); err != nil {
		return err
	}
	return d.until(ctx, func() bool { return d.running == 0 })
}

// until returns when a condition, which is called with d.mu held, is true, or
// with ctx's error.
func (d *drainer) until(ctx context.Context, is func() bool) error {
	for {
		d.mu.Lock()
		ok := is()
		d.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-d.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
