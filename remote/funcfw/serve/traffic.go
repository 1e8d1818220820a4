package serve

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// lameDuck is how long idle connections are still served after the listeners are
// closed. A gateway closes its own idle connections well within this time.
const lameDuck = time.Second

// traffic is what goes on at a server. It counts connections, requests and bytes,
// which costs a request one allocation and two locks, and drains the server without
// losing a request. http.Server.Shutdown alone loses some: it does not answer what
// it has read but not handed to a handler when it begins, be it on a connection
// that was just accepted or on an idle one. So traffic first lets the connections
// run out: each is closed with its next answer.
type traffic struct {
	next           http.Handler
	received, sent atomic.Int64 // bytes
	draining       atomic.Bool
	late           atomic.Int32  // connections that were accepted while it drains
	changed        chan struct{} // has room for one

	mu       sync.Mutex // guards the fields below
	open     int        // connections of the server
	taken    int        // connections that handlers took over from it
	running  int        // requests, see exchange.release
	requests int64      // since the beginning
	quiet    time.Time  // since when there has been no connection and no request
}

func newTraffic(next http.Handler) *traffic {
	return &traffic{next: next, quiet: time.Now(), changed: make(chan struct{}, 1)}
}

func (t *traffic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var x *exchange
	if r.ProtoMajor == 1 {
		x1 := &http1{exchange{ResponseWriter: w}}
		x, w = &x1.exchange, x1
	} else {
		x2 := &http2{exchange{ResponseWriter: w}}
		x, w = &x2.exchange, x2
	}
	x.request, x.traffic, x.holders = r, t, 1
	t.mu.Lock()
	t.requests++
	t.running++
	t.mu.Unlock()
	defer x.release()
	body := r.Body
	t.next.ServeHTTP(w, r)
	// By its own body the server decides whether it can take further requests from
	// the connection. A function may have put a reader around it.
	r.Body = body
	if r.MultipartForm != nil {
		_ = r.MultipartForm.RemoveAll() // the server does it, but not after a panic or for a connection taken over
	}
	x.begin() // an answer without a body
	if x.aborted {
		panic(http.ErrAbortHandler) // where the framework cannot catch it
	}
}

// note is the server's ConnState.
func (t *traffic) note(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.open++
	case http.StateClosed, http.StateHijacked:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.open--
		t.wake()
	}
}

// wake tells drain that a request or connection was closed. The caller holds mu.
func (t *traffic) wake() {
	if t.idle() {
		t.quiet = time.Now()
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// idle reports whether there is neither a connection nor a request. The caller holds mu.
func (t *traffic) idle() bool { return t.open == 0 && t.taken == 0 && t.running == 0 }

// stats is the answer to a question about the traffic.
type stats struct {
	Q           string `json:"q"`     // the question, which tells its answer from a late one
	Nonce       string `json:"nonce"` // of the process
	Requests    int64  `json:"requests"`
	InFlight    int    `json:"inFlight"`
	Connections int    `json:"connections"`
	IdleMs      int64  `json:"idleMs"`
	Received    int64  `json:"received"`
	Sent        int64  `json:"sent"`
}

func (t *traffic) stats() stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := stats{
		Requests: t.requests, InFlight: t.running, Connections: t.open + t.taken,
		Received: t.received.Load(), Sent: t.sent.Load(),
	}
	if t.idle() {
		s.IdleMs = time.Since(t.quiet).Milliseconds()
	}
	return s
}

// drain accepts what waits at the listeners and closes them, calls closed once no
// connection can arrive any more, and returns when every request has been answered and
// every connection that a handler took over is closed, or when ctx ends. accepting counts
// the server's Serve of each listener.
func (t *traffic) drain(ctx context.Context, srv *http.Server, listeners []net.Listener, accepting *sync.WaitGroup, closed func()) error {
	t.draining.Store(true)
	for _, l := range listeners {
		_ = l.(interface{ SetDeadline(time.Time) error }).SetDeadline(time.Unix(1, 0)) // see listener.waiting
	}
	accepting.Wait() // the last connection that was accepted has been noted
	for _, l := range listeners {
		_ = l.Close() // the sockets themselves are the agent's
	}
	closed()
	duck, cancel := context.WithTimeout(ctx, lameDuck)
	defer cancel()
	_ = t.until(duck, func() bool { return t.open == 0 })
	if err := srv.Shutdown(ctx); err != nil {
		return err
	}
	return t.until(ctx, func() bool { return t.running == 0 })
}

// until returns when a condition, which is called with t.mu held, is true, or
// with ctx's error.
func (t *traffic) until(ctx context.Context, is func() bool) error {
	for {
		t.mu.Lock()
		ok := is()
		t.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-t.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
