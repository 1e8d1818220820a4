package gateway

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 demands it, and no secret depends on it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	_ "github.com/Ishan27g/ryo-faas/proxy/gateway/connect" // servers offer it
)

// socket is a stream of HTTP/2 over which a caller asks for a websocket (RFC 8441). The
// function gets a request of HTTP/1.1 that asks for the same.
type socket struct {
	caller io.ReadCloser // what it sends
	key    string        // asked of the function; callers of HTTP/2 send none
}

// asksForSocket says whether a request is such a stream. All else that CONNECT asks for is
// refused.
func asksForSocket(r *http.Request) bool {
	return r.ProtoMajor == 2 && r.Method == http.MethodConnect && slices.Equal(r.Header[protocolHeader], []string{"websocket"})
}

// protocolHeader is where net/http has the protocol that a request of CONNECT asks for.
const protocolHeader = ":protocol"

// newSocket returns the request for the function as well.
func newSocket(r *http.Request) (*socket, *http.Request) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	s := &socket{r.Body, base64.StdEncoding.EncodeToString(nonce[:])}
	in := r.WithContext(r.Context())
	in.Method, in.Body, in.ContentLength, in.Header = http.MethodGet, http.NoBody, 0, r.Header.Clone()
	delete(in.Header, protocolHeader)
	in.Header.Set("Connection", "Upgrade")
	in.Header.Set("Upgrade", "websocket")
	in.Header.Set("Sec-WebSocket-Key", s.key)
	return s, in
}

// check returns what is wrong with the function's answer: to callers of HTTP/2, any success
// is a websocket.
func (s *socket) check(res *http.Response) error {
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		sum := sha1.Sum([]byte(s.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see above
		if res.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
			return errors.New("it accepted another websocket than it was asked for")
		}
	case res.StatusCode < 300:
		return fmt.Errorf("%w: it answered %d", errNoSocket, res.StatusCode)
	}
	return nil
}

var errNoSocket = errors.New("no websocket was opened")

// open returns the stream as the connection that a caller of HTTP/1.1 would have.
func (s *socket) open(o *response) (net.Conn, *bufio.ReadWriter, error) {
	conn := socketConn{out: o, in: s.caller}
	return conn, bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(&socketHead{out: o})), nil
}

// socketHead takes the head of the function's answer, whose headers are the caller's already.
type socketHead struct {
	out  *response
	sent bool
}

func (h *socketHead) Write(p []byte) (int, error) {
	if h.sent {
		return len(p), nil
	}
	h.sent = true
	for _, name := range []string{"Connection", "Upgrade", "Sec-Websocket-Accept", "Content-Length"} {
		h.out.Header().Del(name)
	}
	h.out.WriteHeader(http.StatusOK)
	return len(p), http.NewResponseController(h.out.ResponseWriter).Flush()
}

// socketConn is the stream, once it is a tunnel. It ends as a whole: a server of HTTP/2 ends
// its side by returning.
type socketConn struct {
	net.Conn // nil: who copies reads, writes and closes
	out      *response
	in       io.ReadCloser
}

func (c socketConn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c socketConn) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c socketConn) Close() error                { return c.in.Close() }
