package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
)

const (
	copyBuffer = 32 << 10             // bytes, as io.Copy's
	headLag    = 5 * time.Millisecond // how long the head of an answer waits for its body, to be sent with it
)

// begins notes that the head of the answer has come, and returns what is wrong with it.
func (c *call) begins(res *http.Response) error {
	inTime := c.limit.Stop()
	c.answered.Store(true)
	if c.in.ContentLength != 0 && !c.bodyRead.Load() {
		c.limit.Reset(c.Silence)
	} else {
		c.limit.Stop()
	}
	c.head = time.Since(c.begun)
	switch {
	case !inTime: // else it would be chance which answer of a function that gives up at its limit is sent
		return errLimit
	case !c.http2 && !http1x(res):
		return fmt.Errorf("it has the protocol %s", res.Proto)
	case res.StatusCode < 100:
		return fmt.Errorf("it has the status %d", res.StatusCode)
	case res.StatusCode == http.StatusSwitchingProtocols && !c.tunnel:
		return errors.New("it switched protocols unasked")
	case c.out.socket != nil:
		return c.out.socket.check(res)
	}
	return nil
}

// http1x says whether an answer, or an interim one, is of a protocol that functions are asked
// by: HTTP/1.1, or what answers it.
func http1x(res *http.Response) bool {
	return res.ProtoMajor == 1 && res.ProtoMinor <= 1
}

// adapt adds to the answer what the gateway says to the caller.
func (c *call) adapt(res *http.Response) {
	forward.Prune(res.Trailer)
	if len(res.TransferEncoding) > 0 { // net/http leaves it in answers to HEAD
		res.Header.Del("Content-Length")
	}
	c.compress(res)
	if c.own {
		forward.Relocate(res.Header, c.in.Host, c.prefix)
	} else {
		maps.DeleteFunc(res.Header, func(name string, _ []string) bool { return forward.Widens(name) })
	}
	res.Header[forward.RequestID] = c.id[:]
	if _, ok := res.Header["Content-Type"]; !ok {
		c.out.Header()["Content-Type"] = nil // else the server would guess it
	}
	c.out.rest = res.ContentLength
	if c.unread() {
		// The rest of the body would be taken for the next request.
		c.out.Header().Set("Connection", "close")
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		c.out.status = res.StatusCode // it is not sent by WriteHeader
		c.out.Header().Del("Connection")
	}
}

// unread says whether the answer is sent before the caller's body has come whole, on
// a connection that would carry another request after it.
func (c *call) unread() bool {
	return c.in.ProtoMajor == 1 && c.in.ContentLength != 0 && !c.bodyRead.Load()
}

// response is the answer to the caller. It sends each part on as it comes. Where
// the length is known the last part is left to the server, which joins the head of
// the answer to it: a short answer is one write instead of two.
type response struct {
	http.ResponseWriter
	proto   int           // of the caller, 10 for HTTP/1.0
	silence time.Duration // how long a part may take to be sent; 0: the connection sees to it
	rest    int64         // bytes of the declared length still to come; negative without one
	status  int           // 0: none was sent
	bytes   int64         // of the body, so far
	socket  *socket       // the caller asks for a websocket over HTTP/2; nil: it does not
}

// WriteHeader implements http.ResponseWriter.
func (o *response) WriteHeader(status int) {
	if status > 199 {
		o.status = status
	} else if o.proto < 11 {
		return // callers of HTTP/1.0 know no interim answers
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *response) Write(p []byte) (int, error) {
	caller := http.NewResponseController(o.ResponseWriter)
	if o.silence > 0 {
		_ = caller.SetWriteDeadline(time.Now().Add(o.silence))
	}
	n, err := o.ResponseWriter.Write(p)
	o.bytes += int64(n)
	if o.rest -= int64(n); o.rest == 0 || err != nil {
		return n, err
	}
	if err = caller.Flush(); err == nil && o.silence > 0 {
		// The caller has taken the part. The deadline would end the call while the function
		// is silent.
		err = caller.SetWriteDeadline(time.Time{})
	}
	return n, err
}

// reset resets the connection of a caller of HTTP/1.0 whose answer is not whole. If it
// were only closed, the caller would take the answer for whole.
func (o *response) reset() {
	if o.proto > 10 {
		return
	}
	conn, _, err := http.NewResponseController(o.ResponseWriter).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// Hijack implements http.Hijacker. The connection first reads what the caller has sent
// already.
func (o *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if o.socket != nil {
		return o.socket.open(o)
	}
	conn, rw, err := http.NewResponseController(o.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := rw.Peek(rw.Reader.Buffered())
	return hijackedConn{conn, io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)}, rw, nil
}

// hijackedConn is a caller's connection that has become a tunnel.
type hijackedConn struct {
	net.Conn
	in io.Reader
}

func (c hijackedConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// CloseWrite tells the caller that the function sends no more.
func (c hijackedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Unwrap is for http.ResponseController.
func (o *response) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// buffers is the pool of the buffers that answers are copied with.
type buffers struct{}

var pool = sync.Pool{New: func() any { return new([copyBuffer]byte) }}

func (buffers) Get() []byte  { return pool.Get().(*[copyBuffer]byte)[:] }
func (buffers) Put(b []byte) { pool.Put((*[copyBuffer]byte)(b)) }
