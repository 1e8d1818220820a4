package serve

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
)

// exchange is a request and its answer: the http.ResponseWriter of handlers. It notes
// whether the answer has begun, and has the methods of the server's own writers, since
// functions look for them by type assertion: see http1 and http2.
type exchange struct {
	http.ResponseWriter
	// request is the server's own, not a copy: net/http keeps there what it learns
	// after a request's head and cleans up at its end.
	request *http.Request
	traffic *traffic
	began   bool // the answer
	// aborted says that the connection will be broken, so that the caller does not take
	// a part of the answer for the whole. What is still written is dropped.
	aborted  bool
	places   chan struct{} // of which it has one, see atMost; nil for none
	deadline *deadline     // by which the answer must begin; nil for none
	holders  int           // guarded by traffic.mu: the handler, and the connection that it took over
}

// http1 is an exchange over HTTP/1.
type http1 struct{ exchange }

// http2 is an exchange over HTTP/2.
type http2 struct{ exchange }

var (
	_ http.Flusher    = (*exchange)(nil)
	_ io.StringWriter = (*exchange)(nil)
	_ http.Hijacker   = (*http1)(nil)
	_ io.ReaderFrom   = (*http1)(nil)
	_ http.Pusher     = (*http2)(nil)
)

// exchangeOf is the exchange behind a writer that the framework has handed on as it
// is, nil if there is none.
func exchangeOf(w http.ResponseWriter) *exchange {
	switch x := w.(type) {
	case *http1:
		return &x.exchange
	case *http2:
		return &x.exchange
	}
	return nil
}

// release is called once for each holder. A request runs until its last holder is
// released: that of a WebSocket until its connection is closed, though its handler may
// have returned long before.
func (x *exchange) release() {
	t := x.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	x.holders--
	if x.holders > 0 {
		return
	}
	if x.places != nil {
		<-x.places
	}
	t.running--
	t.wake()
}

// begin is called before the answer's header is sent, perhaps more than once.
func (x *exchange) begin() {
	if !x.began && x.traffic.draining.Load() {
		x.Header().Set("Connection", "close") // over HTTP/2, GOAWAY
	}
	x.beginAsItIs()
}

// beginAsItIs is begin of an answer whose header is its own.
func (x *exchange) beginAsItIs() {
	if !x.began && x.deadline != nil {
		x.deadline.answered()
	}
	x.began = true
}

// Unwrap serves http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// WriteHeader sends the header. The framework tells of a panic by a status; when
// that comes second, the panic was in the midst of the answer.
func (x *exchange) WriteHeader(status int) {
	if x.began && status == http.StatusInternalServerError && x.Header().Get("X-Google-Status") == "crash" {
		x.aborted = true
		return
	}
	switch {
	case status > 999: // no status, for which the server panics
	case status >= http.StatusOK:
		x.begin()
	case status == http.StatusSwitchingProtocols:
		x.beginAsItIs()
	} // any other is informational, and followed by the answer's own
	x.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (x *exchange) Write(p []byte) (int, error) {
	if x.aborted {
		return len(p), nil
	}
	x.begin()
	return x.ResponseWriter.Write(p)
}

// WriteString is Write without a copy.
func (x *exchange) WriteString(s string) (int, error) {
	if x.aborted {
		return len(s), nil
	}
	x.begin()
	return io.WriteString(x.ResponseWriter, s)
}

// Flush sends what is buffered.
func (x *exchange) Flush() { _ = x.FlushError() }

// FlushError is how http.ResponseController flushes.
func (x *exchange) FlushError() error {
	x.begin()
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// CloseNotify is what gin streams by.
func (x *exchange) CloseNotify() <-chan bool {
	return x.ResponseWriter.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // as the server's own writers do
}

// Push fails as that of the server's own writer does without a client that wants it.
func (x *http2) Push(target string, opts *http.PushOptions) error {
	return x.ResponseWriter.(http.Pusher).Push(target, opts)
}

// ReadFrom lets the server copy from a file without a buffer of ours.
func (x *http1) ReadFrom(r io.Reader) (int64, error) {
	x.begin()
	return io.Copy(x.ResponseWriter, r)
}

// Hijack takes the connection over, which then counts until it is closed.
func (x *http1) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	x.beginAsItIs()
	taken, ok := conn.(takeable)
	if !ok {
		return conn, rw, nil // not one of listener's
	}
	t := x.traffic
	t.mu.Lock()
	x.holders++
	t.taken++
	t.mu.Unlock()
	taken.take(sync.OnceFunc(func() {
		t.mu.Lock()
		t.taken--
		t.mu.Unlock()
		x.release()
	}))
	return conn, rw, nil
}
