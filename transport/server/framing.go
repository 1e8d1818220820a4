package server

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// linger is how long a caller may take to read that it was refused, as in net/http.
const linger = 500 * time.Millisecond

// framed is a listener whose connections pass HTTP/1 requests on only while it is
// certain where each ends. net/http accepts what other programs read differently, and
// hides it from handlers: a length beside chunks, chunks in HTTP/1.0, two equal
// lengths, lines that end without CR, folded lines. Behind a gateway, bytes of a body
// could become the next request (RFC 9112 section 11.2).
//
// In the place of such bytes net/http is given some that it refuses: it answers the
// requests before, then 400, and closes. All else passes unchanged. HTTP/2 is not
// checked, nor what follows a request for a websocket or for the door.
type framed struct {
	net.Listener
	silence time.Duration // how long a write may take without any progress
	tls     *tls.Config   // of callers that begin with it; nil: none does
	public  bool          // everybody may call functions here, and do nothing else
	trust   *Trust        // users of this machine; nil: it does not matter whose a connection is
	share   *share        // its places for connections; nil: there is no limit
	server  *server       // to which its connections belong; nil: to none
}

// Accept implements net.Listener.
func (l framed) Accept() (net.Conn, error) {
	conn, c, err := l.accept()
	if err != nil {
		return nil, err
	}
	c.prelude, _ = conn.(*preludeConn)
	patient := &patientConn{Conn: conn, silence: l.silence}
	if c.Conn = patient; l.tls != nil {
		c.Conn = &secureConn{patientConn: patient, config: l.tls}
	}
	if l.server != nil {
		if c.server = l.server; l.server.cfg.Early != nil {
			c.early = &Early{conn: c, server: l.server}
			c.early.reader = l.server.cfg.Early(c.early)
			if c.seat != nil {
				c.seat.readBy(c.early)
			}
		}
		l.server.conns.add(c)
	}
	return c, nil
}

// accept returns the next connection for which there is a place.
func (l framed) accept() (net.Conn, *framedConn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, nil, err
		}
		c := &framedConn{public: l.public}
		if l.trust != nil {
			c.end = endOf(conn, *l.trust)
		}
		if l.share == nil {
			return conn, c, nil
		}
		_, gateway := conn.(*preludeConn)
		if c.seat = l.share.enter(conn, c.end, gateway); c.seat != nil {
			return conn, c, nil
		}
		_ = conn.Close()
	}
}

// framedConn is one connection. One goroutine at a time reads it.
type framedConn struct {
	net.Conn
	prelude *preludeConn // nil: there can be none
	public  bool
	end     *end   // nil where everybody is served alike
	seat    *seat  // nil where there is no limit
	early   *Early // nil: net/http reads all requests
	server  *server
	closed  sync.Once
	in      framing
	instead []byte      // what net/http is given in the place of refused bytes
	refused atomic.Bool // nothing more is read
	greeted atomic.Bool // a request of it has reached its handler
	// hijacked says that a handler has taken the connection over, as for a tunnel.
	hijacked atomic.Bool
	// certified is what the client's certificate said when it was last verified.
	certified atomic.Pointer[certified]
}

// Read implements net.Conn.
func (c *framedConn) Read(p []byte) (int, error) {
	for {
		if len(c.instead) > 0 {
			n := copy(p, c.instead)
			c.instead = c.instead[n:]
			return n, nil
		}
		if c.refused.Load() {
			return 0, io.EOF
		}
		if c.early != nil && c.in.place == atRequest {
			switch http.ConnState(c.early.state.Load()) {
			case http.StateNew, http.StateIdle:
				if err := c.early.serve(); err != nil {
					return 0, err
				}
			case http.StateActive:
				if c.early.raw != nil {
					return 0, c.early.lookout()
				}
			default:
			}
		}
		n, err := c.read(p)
		if c.in.place == atRequest && !c.in.begun {
			c.in.http2 = c.agreedHTTP2()
		}
		good, instead := c.in.take(p[:n])
		if instead != "" {
			c.instead, err = []byte(instead), nil
			c.refused.Store(true)
			if c.in.http2 { // the caller would take no answer for one
				c.instead, err = nil, &net.OpError{Op: "read", Err: errNotHTTP2}
			}
		}
		if good > 0 || err != nil || len(p) == 0 {
			return good, err
		}
	}
}

// read reads what comes next: what was read too early, then what the caller sends.
func (c *framedConn) read(p []byte) (int, error) {
	if c.early != nil && len(c.early.unread) > 0 {
		n := copy(p, c.early.unread)
		c.early.unread = c.early.unread[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// Close implements net.Conn. After a refusal it reads for a moment what the caller
// still sends: a connection that is closed with unread bytes is reset, and the answer
// does not arrive.
func (c *framedConn) Close() error {
	c.closed.Do(func() {
		if c.seat != nil {
			c.seat.leave()
		}
		if c.early != nil {
			c.early.reader.Close()
		}
		if c.server != nil {
			c.server.conns.remove(c)
		}
	})
	if c.refused.Load() && c.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(linger))
		_, _ = io.CopyN(io.Discard, c.Conn, wire.MaxHeader)
	}
	return c.Conn.Close()
}

// CloseWrite says that no more is sent. net/http and tunnels ask for it.
func (c *framedConn) CloseWrite() error { return closeWrite(c.Conn) }

// SetLinger says how Close works: with 0 the connection is reset.
func (c *framedConn) SetLinger(seconds int) error { return setLinger(c.Conn, seconds) }

// tlsState returns what is known of the caller's TLS, nil without it.
func (c *framedConn) tlsState() *tls.ConnectionState {
	if conn, ok := c.Conn.(*secureConn); ok {
		return conn.connectionState()
	}
	return nil
}

var errNotHTTP2 = errors.New("the caller does not speak the HTTP/2 that it agreed to")

// agreedHTTP2 reports whether the caller has agreed, in TLS, to speak HTTP/2.
func (c *framedConn) agreedHTTP2() bool {
	state := c.tlsState()
	return state != nil && state.NegotiatedProtocol == "h2"
}

// framing is the place in a stream of requests up to which it was read.
type framing struct {
	place place
	begun bool   // with a request, so that it is not HTTP/2
	http2 bool   // nothing else may come
	line  []byte // the beginning of one that comes in pieces
	left  uint64 // bytes of a body, or a chunk
	head  framingHead
}

// framingHead is what a head says about the end of its request.
type framingHead struct {
	blank   bool // an empty line came before
	old     bool // HTTP/1.0
	length  bool // there is a Content-Length
	coded   bool // there is a Transfer-Encoding
	chunked bool // it is chunked
	upgrade bool // what follows is no HTTP
}

// place is the part of a request that the next byte belongs to.
type place int

const (
	atRequest place = iota
	afterCR         // of an empty line before a request
	inRequestLine
	inHead
	inBody // of known length
	atChunk
	inChunk
	afterChunk
	inTrailer
	opaque // what follows is not checked
)

// What net/http refuses, in the place of the rest of a line of a head, of a chunk's
// first line, of its end, or of a trailer.
const (
	badLine    = "\r\x00\r\n\r\n"
	badSize    = "\r\x00\r\n"
	badEnd     = "\x00\x00"
	badTrailer = "\r\n:\r\n\r\n"
)

// insteadOf returns what is passed on in the place of the end of a bad line.
func insteadOf(at place, line []byte) string {
	switch {
	case at == atChunk:
		return badSize
	case at == afterChunk:
		return badEnd
	case at == inTrailer && len(line) == 0:
		return strings.TrimPrefix(badTrailer, "\r\n") // which would end the trailers
	case at == inTrailer:
		return badTrailer
	}
	return badLine
}

// take checks the next bytes. The first good of them are to be passed on; if some are
// bad, then instead, and nothing more. take removes an empty line before a request,
// which some old clients send after a body, from p.
func (f *framing) take(p []byte) (good int, instead string) {
	i := 0
	if f.http2 && f.place <= inRequestLine && !f.opensHTTP2(p) {
		return 0, badLine
	}
	for i < len(p) {
		switch f.place {
		case opaque:
			return len(p), ""
		case inBody, inChunk:
			n := min(f.left, uint64(len(p)-i))
			f.left -= n
			i += int(n)
			if f.left > 0 {
				return len(p), ""
			}
			if f.place == inBody {
				f.next()
			} else {
				f.place = afterChunk
			}
			continue
		case atRequest, afterCR:
			switch b := p[i]; {
			case f.place == afterCR && b == '\n':
				f.place, f.head.blank = atRequest, true
			case f.place == atRequest && b == '\r' && !f.head.blank:
				f.place = afterCR
			case f.place == atRequest && isToken(b):
				f.place = inRequestLine
				continue
			default:
				return i, badLine
			}
			p = append(p[:i], p[i+1:]...)
			continue
		}
		end := bytes.IndexByte(p[i:], '\n')
		if end < 0 {
			f.line = append(f.line, p[i:]...) // as long as net/http asks for more
			return len(p), ""
		}
		line := p[i : i+end]
		if len(f.line) > 0 {
			line = append(f.line, line...)
			f.line = nil
		}
		at := f.place
		if text, whole := bytes.CutSuffix(line, []byte("\r")); !whole || !f.takeLine(text) {
			return i + end, insteadOf(at, line)
		}
		i += end + 1
	}
	return len(p), ""
}

// preface is the first line of HTTP/2 (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0"

// opensHTTP2 reports whether p goes on with the preface, as far as it has come.
func (f *framing) opensHTTP2(p []byte) bool {
	come := string(f.line) + string(p[:min(len(p), len(preface))])
	return strings.HasPrefix(preface, come[:min(len(come), len(preface))])
}

// next begins the next request.
func (f *framing) next() {
	f.place, f.head = atRequest, framingHead{}
}

// takeLine checks a whole line.
func (f *framing) takeLine(text []byte) bool {
	switch f.place {
	case inRequestLine:
		if !f.begun && string(text) == preface {
			f.place = opaque
			return true
		}
		f.begun, f.place = true, inHead
		f.head.old = bytes.HasSuffix(text, []byte(" HTTP/1.0"))
		return f.head.old || bytes.HasSuffix(text, []byte(" HTTP/1.1"))
	case inHead:
		if len(text) == 0 {
			return f.takeHead()
		}
		return f.takeHeader(text)
	case atChunk:
		return f.takeSize(text)
	case afterChunk:
		f.place = atChunk
		return len(text) == 0
	case inTrailer:
		if len(text) == 0 {
			f.next()
			return true
		}
		return isField(text)
	}
	return false
}

// takeHeader checks a header line.
func (f *framing) takeHeader(text []byte) bool {
	if text[0] == ' ' || text[0] == '\t' {
		return false // it belongs to the line before
	}
	name, value, _ := bytes.Cut(text, []byte(":"))
	h := &f.head
	switch len(name) { // most lines are done with here
	case len("Content-Length"):
		if !bytes.EqualFold(name, []byte("Content-Length")) {
			return true
		}
		var ok bool
		again := h.length
		h.length = true
		f.left, ok = number(bytes.Trim(value, " \t"), 10)
		return ok && !again
	case len("Transfer-Encoding"):
		if !bytes.EqualFold(name, []byte("Transfer-Encoding")) {
			return true
		}
		again := h.coded
		h.coded = true
		h.chunked = bytes.EqualFold(bytes.Trim(value, " \t"), []byte("chunked"))
		return !again
	case len("Upgrade"):
		if bytes.EqualFold(name, []byte("Upgrade")) && takesOver(string(bytes.Trim(value, " \t"))) {
			h.upgrade = true
		}
	}
	return true
}

// takeHead checks a whole head.
func (f *framing) takeHead() bool {
	h := f.head
	switch upgrade := h.upgrade && !h.old; {
	case h.coded && (h.old || h.length || upgrade), upgrade && f.left > 0:
		return false
	case upgrade, h.coded && !h.chunked: // which net/http refuses, and closes
		f.place = opaque
	case h.chunked:
		f.place = atChunk
	case f.left > 0:
		f.place = inBody
	default:
		f.next()
	}
	return true
}

// takeSize checks the first line of a chunk.
func (f *framing) takeSize(text []byte) (ok bool) {
	digits, extension, _ := bytes.Cut(text, []byte(";"))
	if f.left, ok = number(digits, 16); !ok || bytes.IndexByte(extension, '\r') >= 0 {
		return false
	}
	f.place = inChunk
	if f.left == 0 {
		f.place = inTrailer
	}
	return true
}

// number parses at most fifteen digits, which fit an int64, and nothing else.
func number(digits []byte, base int) (uint64, bool) {
	for _, b := range digits {
		hex := 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F'
		if (b < '0' || b > '9') && (base != 16 || !hex) {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(string(digits), base, 64)
	return n, err == nil && len(digits) <= 15
}

// isField reports whether a line can be a field: net/http takes a trailer whose name
// ends with a space (RFC 9112 section 5.1).
func isField(text []byte) bool {
	name, _, ok := bytes.Cut(text, []byte(":"))
	for _, b := range name {
		ok = ok && isToken(b)
	}
	return ok && len(name) > 0
}

// isToken reports whether a byte can stand in a method or a name (RFC 9110 section 5.6.2).
func isToken(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0
}
