package conformance

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// patience bounds each wait of a case.
const patience = 10 * time.Second

// exchange is a case while it runs.
type exchange struct {
	Case
	Options
	name    string // of the function
	address string // of the gateway
	running sync.WaitGroup

	mu      sync.Mutex // guards the fields below:
	err     error      // the first thing that was wrong
	over    bool       // the caller is done: what the function's scripts miss now is no fault
	conns   []net.Conn
	dialed  int       // connections that the gateway opened
	seen    []message // requests that reached the function whole
	signals map[string]chan struct{}
}

// fail notes what is wrong.
func (x *exchange) fail(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err == nil && !x.over {
		x.err = fmt.Errorf(format, args...)
	}
}

func (x *exchange) failed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err != nil
}

// signal returns the channel that is closed when something has happened.
func (x *exchange) signal(what string) chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.signals == nil {
		x.signals = map[string]chan struct{}{}
	}
	if x.signals[what] == nil {
		x.signals[what] = make(chan struct{})
	}
	return x.signals[what]
}

// tell says to the other side, once, that something has happened.
func (x *exchange) tell(what string) { close(x.signal(what)) }

// await waits until the other side has told of something.
func (x *exchange) await(what string) {
	if x.failed() {
		return
	}
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-x.signal(what):
	case <-limit.C:
		x.fail("never happened: %s", what)
	}
}

// requests returns what has reached the function whole.
func (x *exchange) requests() []message {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.seen
}

// run plays the case against the gateway at an address, with the function behind l.
func (x *exchange) run(l net.Listener) error {
	x.running.Go(func() { x.serve(l) })
	caller := x.dial()
	x.caller(caller)
	x.mu.Lock()
	x.over = true
	for _, conn := range x.conns {
		_ = conn.Close()
	}
	err := x.err
	x.mu.Unlock()
	_ = l.Close()
	x.running.Wait()
	return err
}

// serve runs the function's script on each connection.
func (x *exchange) serve(l net.Listener) {
	script := x.function
	if script == nil {
		script = answering(ok)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		e := x.end(conn.(*net.TCPConn))
		if e == nil {
			return
		}
		x.mu.Lock()
		e.n = x.dialed
		x.dialed++
		x.mu.Unlock()
		x.running.Go(func() {
			defer e.close()
			script(e)
		})
	}
}

// dial connects another caller to the gateway.
func (x *exchange) dial() *end {
	conn, err := net.Dial("tcp", x.address)
	if err != nil {
		x.fail("%w", err)
		return &end{exchange: x}
	}
	var caller stream = conn.(*net.TCPConn)
	if x.TLS != nil {
		caller = tls.Client(conn, x.TLS)
	}
	e := x.end(caller)
	e.path = "/functions/" + x.name
	return e
}

// stream is a connection that can be closed for writing alone.
type stream interface {
	net.Conn
	CloseWrite() error
}

func (x *exchange) end(conn stream) *end {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		_ = conn.Close()
		return nil
	}
	x.conns = append(x.conns, conn)
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &end{exchange: x, conn: conn, in: bufio.NewReader(conn)}
}

// end is a caller's or a function's end of a connection. After the first failure of
// the case its methods do nothing and return what is empty.
type end struct {
	*exchange
	conn stream
	in   *bufio.Reader
	path string // of the function at the gateway; "" at the function's end
	n    int    // which connection of the function it is
	body *bodyReader
}

// text is what a caller sends: {f} stands for the path of the function.
func (e *end) text(s string) string {
	if e.path == "" {
		return s
	}
	s = strings.ReplaceAll(s, "Host: h\r\n", "Host: h\r\n"+e.Line)
	return strings.ReplaceAll(strings.ReplaceAll(s, "{f}", e.path), "{gateway}", e.address)
}

// send sends some bytes. What the other side does not take is no failure: it may have
// answered already.
func (e *end) send(s string) bool {
	if e.conn == nil || e.failed() {
		return false
	}
	_, err := io.WriteString(e.conn, e.text(s))
	return err == nil
}

// sendEach sends each byte by itself.
func (e *end) sendEach(s string) {
	s = e.text(s)
	for i := range len(s) {
		if e.conn == nil || e.failed() {
			return
		}
		if _, err := e.conn.Write([]byte{s[i]}); err != nil {
			return
		}
	}
}

func (e *end) close() {
	if e.conn != nil {
		_ = e.conn.Close()
	}
}

// closeWrite says that nothing more is sent.
func (e *end) closeWrite() {
	if e.conn != nil {
		_ = e.conn.CloseWrite()
	}
}

// closed waits until the other side closes, having sent nothing more.
func (e *end) closed() {
	if e.conn == nil || e.failed() {
		return
	}
	_ = e.conn.SetReadDeadline(time.Now().Add(patience))
	b, err := e.in.ReadByte()
	var slow net.Error
	switch {
	case err == nil:
		rest, _ := e.in.Peek(e.in.Buffered())
		e.fail("bytes where nothing should come: %.100q", string(b)+string(rest))
	case errors.As(err, &slow) && slow.Timeout():
		e.fail("the connection is not closed")
	}
}

// head reads a head, and prepares to read the body. At a caller's end it collects
// interim answers before it; method is that of the request, "" for any.
func (e *end) head(method string) (m message, came bool) {
	if e.conn == nil || e.failed() {
		return message{}, false
	}
	answers := e.path != ""
	if answers {
		method = cmp.Or(method, "GET")
	}
	_ = e.conn.SetReadDeadline(time.Now().Add(patience))
	var interim []message
	for {
		h, err := readHead(e.in)
		if err == nil && answers && h.status() < 200 && h.status() != 101 {
			interim = append(interim, h)
			continue
		}
		m, m.interim = h, interim
		var length int64
		if err == nil {
			m.framing, length, err = framingOf(m, method)
		}
		if err != nil {
			e.broken(err)
			return message{interim: interim}, false
		}
		e.body = &bodyReader{in: e.in, framing: m.framing, left: length}
		return m, true
	}
}

// broken notes why a message could not be read.
func (e *end) broken(err error) {
	e.body = nil
	var late net.Error
	if errors.Is(err, errMalformed) {
		e.fail("%w", err)
	} else if e.path != "" && errors.As(err, &late) && late.Timeout() {
		e.fail("no answer, or no more of it")
	}
}

// take returns the next n bytes of the body.
func (e *end) take(n int) string {
	if e.body == nil || e.failed() {
		return ""
	}
	b := make([]byte, n)
	got, err := io.ReadFull(e.body, b)
	if err != nil {
		e.fail("%q of a body, and then: %w", b[:got], err)
	}
	return string(b)
}

// rest reads the rest of a message.
func (e *end) rest(m message) message {
	if e.body == nil || e.failed() {
		return m
	}
	body, err := io.ReadAll(e.body)
	m.body = string(body)
	if err != nil {
		e.broken(err)
		return m
	}
	m.whole, m.trailers = true, e.body.trailers
	if e.path == "" {
		e.mu.Lock()
		e.seen = append(e.seen, m)
		e.mu.Unlock()
	}
	return m
}

// request reads the next request whole, at the function's end. False: none came.
func (e *end) request() (message, bool) {
	m, came := e.head("")
	if !came {
		return m, false
	}
	m = e.rest(m)
	return m, m.whole
}

// answer reads the next final answer whole, at the caller's end.
func (e *end) answer(method string) message {
	m, came := e.head(method)
	if !came {
		if !e.failed() {
			e.fail("no answer")
		}
		return m
	}
	if m = e.rest(m); !m.whole && !e.failed() {
		e.fail("the answer %q is cut after %.1000q", m.first, m.body)
	}
	return m
}
