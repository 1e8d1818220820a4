package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// The limits of calls that reach functions over HTTP/2.
const (
	// streamsEach is how many calls share one connection. What each of them may have unread
	// fits into what the function's server takes unread of a connection, so that none waits
	// for another.
	streamsEach = 32
	// streamConns bounds the connections to one replica: 8,192 calls at a time.
	streamConns = 256
	// streamWindow is how much of an answer, in bytes, waits here for a caller that does not
	// read it: enough for 5 MB/s from a machine that is 50 ms away.
	streamWindow = 256 << 10
	// maxUnbegun is how often a call is sent that the function says it has not begun: it says
	// so once while it stops, and the next connection is another process's.
	maxUnbegun = 4
)

var (
	errFull   = errors.New("as many calls as it takes over HTTP/2 are under way")
	errClosed = errors.New("its connection was closed")
)

// needsHTTP2 reports whether a function must see HTTP/2 to serve a call: both sides send
// as they like, and trailers say how it ended. Other calls of HTTP/2 reach functions over
// HTTP/1.1, where idle connections and repeated calls are ours to decide.
func needsHTTP2(r *http.Request) bool {
	if r.ProtoMajor != 2 {
		return false
	}
	open := r.ContentLength < 0 && strings.EqualFold(r.Header.Get("Te"), "trailers")
	return open || wire.IsGRPC(r) || strings.HasPrefix(r.Header.Get("Content-Type"), "application/connect+")
}

// stream sends a call over HTTP/2. One that the function has not begun, as its server says
// when it stops, is sent again over another connection.
func (c *call) stream(ctx context.Context, t *target, out *http.Request) (res *http.Response, err error) {
	out.URL.Host = "function" // it is not sent
	delete(out.Header, "Connection")
	for range maxUnbegun {
		var conn *streamConn
		if conn, err = t.streams.take(ctx); err != nil {
			return nil, err
		}
		var sent atomic.Bool
		trace := &httptrace.ClientTrace{WroteHeaderField: func(string, []string) { sent.Store(true) }}
		once := out.WithContext(httptrace.WithClientTrace(ctx, trace))
		if out.Body != nil {
			if once.Body, err = c.feedOf(out).reader(once); err != nil {
				t.streams.put(conn)
				return nil, err
			}
		}
		res, err = conn.client.RoundTrip(once)
		if err == nil {
			// Go's transport does not hear of ctx while it waits for room to send (awaitFlowControl).
			body := res.Body
			stop := context.AfterFunc(ctx, func() { _ = body.Close() })
			res.Body = &streamBody{ReadCloser: body, done: func() {
				stop()
				t.streams.put(conn)
			}}
			return res, nil
		}
		t.streams.put(conn)
		if sent.Load() && !unbegun(err) || ctx.Err() != nil {
			return nil, err
		}
		c.repeated = c.repeated || sent.Load()
		err = fmt.Errorf("%w: %w", errUnsent, err)
	}
	return nil, err
}

// feedOf returns the feed of the caller's body.
func (c *call) feedOf(out *http.Request) *feed {
	if c.feed == nil {
		c.feed = newFeed(out.Body.(*body), c.in.Body)
	}
	return c.feed
}

// unbegun reports whether the function's server says of a call that it has not begun it
// (RFC 9113 section 8.7).
func unbegun(err error) bool {
	var reset streamError
	return errors.As(err, &reset) && reset.Code == refusedStream || strings.HasSuffix(err.Error(), goneAway)
}

// goneAway ends net/http's error of a call that GOAWAY refuses. It has no other sign.
const goneAway = "received Server's graceful shutdown GOAWAY"

const refusedStream = 7 // RFC 9113 section 7

// streamError is what net/http's error of a stream that was reset turns into.
type streamError struct {
	StreamID, Code uint32
	Cause          error
}

func (streamError) Error() string { return "the call was reset" }

// streamBody is the body of an answer that comes over a shared connection.
type streamBody struct {
	io.ReadCloser
	done func()
}

// Close gives the connection back. It is called once, by ReverseProxy.
func (b *streamBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

// streams are the connections to one target over which calls go by HTTP/2.
type streams struct {
	transport *http.Transport // makes the connections; closes those that are idle for too long

	mu     sync.Mutex // guards the fields below:
	conns  []*streamConn
	closed bool // none is kept without calls any longer
}

// streamConn is a connection that calls share.
type streamConn struct {
	calls int           // that use it, or wait for it; guarded by streams.mu
	ready chan struct{} // closed when the fields below are set:

	client *http.ClientConn
	err    error // why there is none
}

// setTransport makes the connections those of a dial function.
func (s *streams) setTransport(like *http.Transport, dial func(context.Context) (net.Conn, error)) {
	s.transport = like.Clone()
	s.transport.Protocols = new(http.Protocols)
	s.transport.Protocols.SetUnencryptedHTTP2(true)
	s.transport.HTTP2 = &http.HTTP2Config{
		MaxReceiveBufferPerStream: streamWindow,
		WriteByteTimeout:          wire.SilentWrite, // a function reads its connections, whatever its calls do
	}
	s.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := dial(ctx)
		if err == nil {
			wire.Demand(plainOf(conn), wire.PeerSilence)
		}
		return conn, err
	}
}

// take returns a connection for one more call, which gives it back with put.
func (s *streams) take(ctx context.Context) (*streamConn, error) {
	s.mu.Lock()
	s.drop((*streamConn).spent)
	// The first that has room: others can become idle.
	i := slices.IndexFunc(s.conns, func(c *streamConn) bool { return c.calls < streamsEach })
	var conn *streamConn
	switch {
	case i >= 0:
		conn = s.conns[i]
	case len(s.conns) == streamConns:
		s.mu.Unlock()
		return nil, errFull
	default:
		conn = &streamConn{ready: make(chan struct{})}
		s.conns = append(s.conns, conn)
	}
	conn.calls++
	s.mu.Unlock()
	if i < 0 {
		s.open(ctx, conn)
	}
	select {
	case <-conn.ready:
		if conn.err == nil {
			return conn, nil
		}
		s.put(conn)
		return nil, conn.err
	case <-ctx.Done():
		s.put(conn)
		return nil, ctx.Err()
	}
}

// open connects. Other calls may wait for it, so that it does not end with ctx.
func (s *streams) open(ctx context.Context, conn *streamConn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialLimit)
	defer cancel()
	conn.client, conn.err = s.transport.NewClientConn(ctx, "http", "function:80")
	close(conn.ready)
}

// spent reports whether a connection takes no more calls.
func (c *streamConn) spent() bool {
	select {
	case <-c.ready:
		return c.err != nil || c.client.Available() == 0 && c.calls < streamsEach
	default:
		return false // it is being made
	}
}

// drop removes connections from the list and closes those that no call uses. mu is held.
func (s *streams) drop(which func(*streamConn) bool) {
	s.conns = slices.DeleteFunc(s.conns, func(c *streamConn) bool {
		drops := which(c)
		if drops && c.calls == 0 {
			c.close()
		}
		return drops
	})
}

// put ends the use of a connection by a call.
func (s *streams) put(conn *streamConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conn.calls--; conn.calls == 0 && (s.closed || conn.spent()) {
		conn.close() // it may have been dropped before
		s.drop(func(c *streamConn) bool { return c == conn })
	}
}

// close may be called more than once.
func (c *streamConn) close() {
	if c.client != nil {
		_ = c.client.Close()
	}
}

// close closes the connections without calls, and each of the others after its last call.
func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop(func(c *streamConn) bool { return c.calls == 0 })
}

// feed is the caller's body on its way over HTTP/2. It is read by a goroutine of its own,
// since what reads it for a connection must be able to let go of it at any time: the call
// may go on over another.
type feed struct {
	body      *body
	caller    io.Closer // of what body reads
	announced []string  // the trailers; nil: there are none
	ended     chan struct{}

	mu     sync.Mutex // guards the fields below:
	turned sync.Cond  // some of them have changed
	data   []byte     // what was read: all of it, or what was not taken
	taken  int        // of data
	all    bool       // data is all that was read
	err    error      // of the caller's body
	now    *feedReader
	closed bool
}

const (
	// feedRoom is how much of a body is read ahead, in bytes.
	feedRoom = 32 << 10
	// feedKept is how much of the beginning is kept: what a function's server lets be sent of
	// a call that it has not begun, and what is read ahead then.
	feedKept = 128<<10 + feedRoom
	// feedLeast is the least that a read has room for: many messages are small, and many
	// callers silent.
	feedLeast = 4 << 10
)

func newFeed(b *body, caller io.Closer) *feed {
	f := &feed{body: b, caller: caller, all: true, ended: make(chan struct{})}
	f.turned.L = &f.mu
	if b.trailer != nil { // which fill changes
		f.announced = slices.AppendSeq([]string{}, maps.Keys(b.trailer))
	}
	go f.fill()
	return f
}

// fill reads the body, as far ahead as there is room.
func (f *feed) fill() {
	defer close(f.ended)
	for {
		f.mu.Lock()
		for !f.closed && len(f.data)-f.taken >= feedRoom {
			f.turned.Wait()
		}
		if f.closed {
			f.mu.Unlock()
			return
		}
		if !f.all {
			f.data = f.data[:copy(f.data, f.data[f.taken:])]
			f.taken = 0
		}
		f.data = slices.Grow(f.data, feedLeast)
		room := f.data[len(f.data):cap(f.data)] // nobody else looks there
		f.mu.Unlock()
		n, err := f.body.Read(room)
		f.mu.Lock()
		f.data = f.data[:len(f.data)+n]
		f.all = f.all && len(f.data) <= feedKept && !f.body.call.answered.Load()
		f.err = err
		f.turned.Broadcast()
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// close ends the reading of the caller's body.
func (f *feed) close() {
	f.mu.Lock()
	f.closed = true
	f.turned.Broadcast()
	f.mu.Unlock()
	_ = f.caller.Close()
	<-f.ended
}

// reader returns the body for a request, from its beginning. Readers before it end.
func (f *feed) reader(r *http.Request) (*feedReader, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.all {
		return nil, errClosed
	}
	f.taken = 0
	f.now = &feedReader{feed: f}
	if f.announced != nil {
		r.Trailer = make(http.Header)
		for _, name := range f.announced {
			r.Trailer[name] = nil
		}
		f.now.trailer = r.Trailer
	}
	f.turned.Broadcast()
	return f.now, nil
}

// feedReader reads the body for one request.
type feedReader struct {
	feed    *feed
	trailer http.Header // of the request, filled at the end; nil for none
}

// Read implements io.Reader.
func (r *feedReader) Read(p []byte) (int, error) {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.now == r && f.taken == len(f.data) && f.err == nil {
		f.turned.Wait()
	}
	if f.now != r {
		return 0, errClosed
	}
	n := copy(p, f.data[f.taken:])
	f.taken += n
	f.turned.Broadcast()
	if n > 0 || f.err == nil {
		return n, nil
	}
	if errors.Is(f.err, io.EOF) && r.trailer != nil {
		maps.Copy(r.trailer, f.body.trailer)
	}
	return 0, f.err
}

// Close lets go of the body. It may be called at any time.
func (r *feedReader) Close() error {
	f := r.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.now == r {
		f.now = nil
		f.turned.Broadcast()
	}
	return nil
}
