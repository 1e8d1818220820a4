package serve

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// exchange is a request and its answer, as the writer that handlers answer to. It
// counts, notes whether the answer has begun, and offers what the server's own
// writers offer, since functions ask for it by type assertion.
type exchange struct {
	http.ResponseWriter
	traffic *traffic
	body    body
	began   bool // the answer
	// aborted says that the answer is to be broken off: the caller must not take the
	// part that it has for the whole. What is still written is dropped.
	aborted bool
	places  chan struct{} // of which it has one, see atMost; nil for none
	holders int           // guarded by traffic.mu: the handler, and the connection that it took over
}

var (
	_ http.Flusher    = (*exchange)(nil)
	_ http.Hijacker   = (*exchange)(nil)
	_ io.ReaderFrom   = (*exchange)(nil)
	_ io.StringWriter = (*exchange)(nil)
)

// body counts what is read of a request's body.
type body struct {
	io.ReadCloser
	read *atomic.Int64
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	return n, err
}

// release is called at the end of each holder. With the last one the request has
// ended: a WebSocket is one until its connection is closed, though its handler
// may have returned long before.
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
	switch { // any other is informational, and followed by the answer's own
	case status >= http.StatusOK:
		x.begin()
	case status == http.StatusSwitchingProtocols:
		x.began = true // its Connection header is its own
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (x *exchange) Write(p []byte) (int, error) {
	if x.aborted {
		return len(p), nil
	}
	x.begin()
	n, err := x.ResponseWriter.Write(p)
	x.traffic.sent.Add(int64(n))
	return n, err
}

// WriteString is Write without a copy.
func (x *exchange) WriteString(s string) (int, error) {
	if x.aborted {
		return len(s), nil
	}
	x.begin()
	n, err := io.WriteString(x.ResponseWriter, s)
	x.traffic.sent.Add(int64(n))
	return n, err
}

// ReadFrom lets the server copy from a file without a buffer of ours.
func (x *exchange) ReadFrom(r io.Reader) (int64, error) {
	x.begin()
	n, err := io.Copy(x.ResponseWriter, r)
	x.traffic.sent.Add(n)
	return n, err
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

// Hijack takes the connection over, which then counts until it is closed.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	x.began = true
	t := x.traffic
	t.mu.Lock()
	x.holders++
	t.taken++
	t.mu.Unlock()
	closed := sync.OnceFunc(func() {
		t.mu.Lock()
		t.taken--
		t.mu.Unlock()
		x.release()
	})
	switch c := conn.(type) { // what else a connection can do, it still can
	case *net.TCPConn:
		conn = &tcpConn{c, closed}
	case *net.UnixConn:
		conn = &unixConn{c, closed}
	}
	return conn, rw, nil
}

// tcpConn is a connection that says when it is closed.
type tcpConn struct {
	*net.TCPConn
	closed func()
}

// Close closes the connection.
func (c *tcpConn) Close() error {
	defer c.closed()
	return c.TCPConn.Close()
}

// unixConn is tcpConn for the other kind of listener.
type unixConn struct {
	*net.UnixConn
	closed func()
}

// Close closes the connection.
func (c *unixConn) Close() error {
	defer c.closed()
	return c.UnixConn.Close()
}
