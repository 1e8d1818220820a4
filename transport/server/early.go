package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// EarlyReader reads the requests of one connection before net/http does.
type EarlyReader interface {
	// Serve answers requests until one comes that it leaves to net/http. An error ends the
	// connection.
	Serve() error
	// Abort ends the request that is being served. It is called from another goroutine.
	Abort()
	// Close is called once the connection is closed.
	Close()
}

// Early is a connection between two requests, before net/http reads the next one.
// Config.Early may read and answer requests there, and leaves to net/http what it has
// not read. One goroutine uses it at a time, except where a method says otherwise.
//
// A connection begins here (see acceptEarly), and is net/http's from the first request on
// that is left to it. From then on Early is asked for when net/http is about to read: it
// runs in the same goroutine, and a connection changes from one reader to the other as
// often as it likes. It must read whole requests alone, since what has been read of the
// next one is net/http's too.
type Early struct {
	conn   *framedConn
	server *server
	reader EarlyReader

	state   atomic.Int32 // an http.ConnState
	left    bool         // the next request has been left to net/http already
	passed  bool         // net/http has the connection
	unread  []byte       // net/http reads it first
	hasRead bool
	ended   bool // nothing more is read
	first   [1]byte
	raw     syscall.RawConn // reads the socket itself; nil: the first byte is to come, or TLS is spoken
	fill    filling
	until   time.Time // the limit that was set for reads

	host  string // of the last request
	known bool   // the rights are those of callers who address host
	rights
	peer, scheme string          // of the last request
	ctx          context.Context // of the requests that come by the connection

	serving bool       // a request, or about to
	mu      sync.Mutex // guards the fields below:
	waiting bool       // for a request
	closing bool
	parking parkable
}

// rights are what the caller may do without a token when it addresses some host.
type rights struct {
	asked   request
	usual   bool    // net/http is not needed to tell
	callers bool    // it may call functions that are public
	private ternary // it may call functions that are private
}

// ternary is an answer that may not be known yet.
type ternary int

// The answers.
const (
	unknown ternary = iota
	no
	yes
)

// idleSlack is the part of its limit by which a connection may wait shorter, an eighth: setting
// the limit anew for each request costs more than reading the request.
const idleSlack = 8

// lookout returns when the caller has closed its side, or at the limit for reads. net/http
// reads while a handler runs, to notice that the caller leaves. It must get no byte then: that
// would be the first of the next request, which may be Config.Early's to read.
func (e *Early) lookout() error {
	if len(e.unread) > 0 {
		return e.wait(func(uintptr) bool { return false })
	}
	return e.wait(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return n == 0 && err == nil || err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
}

// wait returns io.EOF when over says so, or an error at the limit for reads.
func (e *Early) wait(over func(fd uintptr) bool) error {
	if err := e.raw.Read(over); err != nil {
		return err
	}
	return io.EOF
}

// serve lets Config.Early read requests, and returns when net/http is to go on.
func (e *Early) serve() error {
	if e.ended {
		return io.EOF
	}
	defer e.serves(false)
	if !e.left {
		if err := e.reader.Serve(); err != nil {
			if errors.Is(err, errParked) {
				return err
			}
			e.ended = true
			return io.EOF // net/http closes without an answer of its own
		}
	}
	e.left = false
	// It is the limit that net/http would have set now.
	e.until = time.Time{}
	return e.conn.SetReadDeadline(time.Now().Add(e.server.cfg.HeadLimit))
}

// Wait waits for the next bytes of the caller and reads them into the buffer that get
// returns. Where there are none yet it gives that back with put: a connection that waits
// has no buffer.
func (e *Early) Wait(get func() []byte, put func()) (int, error) {
	if len(e.unread) > 0 {
		n := copy(get(), e.unread)
		e.unread = e.unread[n:]
		return n, nil
	}
	limit := e.server.cfg.IdleLimit
	if !e.hasRead {
		limit = e.server.cfg.HeadLimit
	}
	if now := time.Now(); e.until.Sub(now) < limit-limit/idleSlack {
		e.until = now.Add(limit)
		if err := e.conn.SetReadDeadline(e.until); err != nil {
			e.rest(false) // it may have been parked
			return 0, err
		}
	}
	if !e.rest(true) && !e.comes() {
		e.rest(false)
		return 0, io.EOF
	}
	if e.raw == nil {
		defer e.rest(false)
		return e.waitByte(get)
	}
	e.fill.get, e.fill.put = get, put
	err := e.raw.Read(e.fill.read)
	if err != nil && e.tired(err) {
		return 0, errParked // it still waits
	}
	defer e.rest(false)
	if err != nil && e.spared(err) {
		err = e.raw.Read(e.fill.read)
	}
	if err != nil {
		return 0, err
	}
	if e.fill.err == nil && e.fill.n == 0 {
		return 0, io.EOF
	}
	return max(0, e.fill.n), e.fill.err
}

// filling is one wait for bytes. It is part of the connection, since a closure would be
// allocated each time.
type filling struct {
	get  func() []byte
	put  func()
	read func(fd uintptr) bool // try
	n    int
	err  error
}

// try reads what is there, and returns false if nothing is.
func (f *filling) try(fd uintptr) bool {
	for {
		f.n, f.err = syscall.Read(int(fd), f.get())
		if errors.Is(f.err, syscall.EAGAIN) {
			f.put()
			return false
		}
		if !errors.Is(f.err, syscall.EINTR) {
			return true
		}
	}
}

// waitByte waits where the bytes of the connection are not those of the request: its
// first one tells whether TLS is spoken.
func (e *Early) waitByte(get func() []byte) (int, error) {
	n, err := e.conn.Conn.Read(e.first[:])
	if n == 0 && e.spared(err) {
		n, err = e.conn.Conn.Read(e.first[:])
	}
	if n == 0 {
		return 0, err
	}
	if e.rest(false); e.Closing() { // the limit for reads may be that of a connection that waits
		if err := e.conn.SetReadDeadline(time.Now().Add(e.server.cfg.HeadLimit)); err != nil {
			return 0, err
		}
	}
	e.begun()
	buf := get()
	buf[0] = e.first[0]
	n, err = e.conn.Conn.Read(buf[1:]) // what TLS has of the record, or the rest of a first request
	if conn := e.lower(); conn != nil {
		e.raw, _ = conn.SyscallConn()
		e.fill.read = e.fill.try
	}
	return n + 1, err
}

// spared reports whether the connection goes on although stop has ended its wait: a request
// has begun to come, and its caller would not send it again.
func (e *Early) spared(ended error) bool {
	if !errors.Is(ended, os.ErrDeadlineExceeded) || !e.stopped() || !e.comes() {
		return false
	}
	e.until = time.Time{}
	return e.conn.SetReadDeadline(time.Now().Add(e.server.cfg.HeadLimit)) == nil
}

// comes reports whether bytes of the caller wait to be read.
func (e *Early) comes() (some bool) {
	e.Descriptor(func(fd uintptr) {
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		some = n > 0 && err == nil
	})
	return some
}

// waits reports whether the connection waits for a request of which nothing has come. Any
// goroutine may ask.
func (e *Early) waits() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.waiting && !e.comes()
}

// begun notes that the caller has begun to send.
func (e *Early) begun() {
	if e.hasRead {
		return
	}
	e.hasRead = true
	e.server.greeting.note(e.conn, http.StateActive)
}

// lower returns the connection whose bytes are those of the requests, nil if there is
// none: with TLS, and while some are kept that came with the PROXY protocol's.
func (e *Early) lower() syscall.Conn {
	if secure, ok := e.conn.Conn.(*secureConn); ok && (!secure.told || secure.tls.Load() != nil) {
		return nil
	}
	if prelude := e.conn.prelude; prelude != nil && (!prelude.done || len(prelude.early) > 0) {
		return nil
	}
	return e.socket()
}

// socket is that of the connection.
func (e *Early) socket() syscall.Conn { return e.conn.socket() }

// socket returns the connection as the kernel knows it.
func (c *framedConn) socket() syscall.Conn {
	below := c.Conn
	if secure, ok := below.(*secureConn); ok {
		below = secure.patientConn
	}
	if patient, ok := below.(*patientConn); ok {
		below = patient.Conn
	}
	if prelude, ok := below.(*preludeConn); ok {
		below = prelude.Conn
	}
	conn, _ := below.(syscall.Conn)
	return conn
}

// rest says that the connection waits for a request, or no longer. It reports whether
// requests are still read.
func (e *Early) rest(waiting bool) bool {
	if !waiting {
		e.serves(true)
	}
	e.mu.Lock()
	if e.waiting != waiting {
		e.server.conns.rests(waiting)
	}
	e.waiting = waiting
	e.rests()
	open := !e.closing && !e.parking.expired
	e.mu.Unlock()
	if waiting {
		e.serves(false)
	}
	return open
}

// serves counts the connection among those with a request.
func (e *Early) serves(serving bool) {
	if e.serving == serving { // one goroutine changes it
		return
	}
	if e.serving = serving; serving {
		e.server.conns.serving.Add(1)
	} else if e.server.conns.serving.Add(-1) == 0 {
		e.server.conns.wake()
	}
}

// stop makes the connection end after the request that is being served. It may be called
// at any time.
func (e *Early) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing = true; e.waiting && !e.resume(false) {
		_ = e.conn.SetReadDeadline(past)
	}
}

// Closing says whether the connection should end.
func (e *Early) Closing() bool { return e.server.conns.leaving.Load() || e.stopped() }

// stopped says whether the connection ends after the request that is being served.
func (e *Early) stopped() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing
}

// Read reads more of a request that has begun, if it comes before a time.
func (e *Early) Read(p []byte, until time.Time) (int, error) {
	e.until = time.Time{}
	if err := e.conn.SetReadDeadline(until); err != nil {
		return 0, err
	}
	return e.conn.Conn.Read(p)
}

// Write sends bytes to the caller. It fails when the caller takes nothing for a while.
func (e *Early) Write(p []byte) (int, error) { return e.conn.Conn.Write(p) }

// Unread gives net/http bytes that belong to the next request.
func (e *Early) Unread(p []byte) { e.unread = append(bytes.Clone(p), e.unread...) }

// Descriptor calls do with the connection's descriptor, unless it is closed already.
func (e *Early) Descriptor(do func(fd uintptr)) {
	e.conn.control(do)
}

// control calls do with the connection's descriptor, unless it is closed already.
func (c *framedConn) control(do func(fd uintptr)) {
	conn := c.socket()
	if conn == nil {
		return
	}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(do)
	}
}

// Public says whether the connection came by a listener for everybody.
func (e *Early) Public() bool { return e.conn.public }

// Strict says whether answers tell browsers to come by TLS alone, as value.
func (e *Early) Strict() (value string, ok bool) {
	return strictTransport, e.conn.public && e.server.cfg.TLS != nil
}

// Believed says whether the other end is a gateway that is believed about its callers.
func (e *Early) Believed() bool { return e.conn.prelude != nil }

// From returns where a request to a host comes from, and the host that its caller
// addressed, given what a gateway that is Believed says in its headers. It is not ok if the
// request is to be left to net/http.
func (e *Early) From(host []byte, said http.Header) (peer, scheme, addressed string, ok bool) {
	if !e.known || e.host != string(host) {
		e.host, e.known = string(host), true
		e.look()
	}
	addressed = e.host
	if e.Believed() {
		o, known := gateways(e.server.cfg.Gateways).origin(e.conn, said)
		if !known {
			return "", "", "", false
		}
		if e.peer, e.scheme = o.client.String(), "http"; o.scheme == "https" || e.conn.tlsState() != nil && o.scheme == "" {
			e.scheme = "https"
		}
		if o.host != "" {
			addressed = o.host
		}
	}
	ok = e.usual && (!e.conn.public || e.server.cfg.TLS == nil || e.scheme == "https")
	return e.peer, e.scheme, addressed, ok
}

// look finds out what callers of the host may do.
func (e *Early) look() {
	secure := e.conn.tlsState()
	e.peer, e.scheme = e.conn.RemoteAddr().String(), "http"
	if secure != nil {
		e.scheme = "https"
	}
	e.rights = rights{usual: validHost(e.host) && (secure == nil || len(secure.PeerCertificates) == 0)}
	if e.conn.public {
		e.callers = true
		return
	}
	e.asked = request{peer: e.peer, host: e.host, page: noPage, scope: wire.ScopeInvoke}
	if end := e.conn.end; end != nil {
		e.asked.local, e.asked.uid = end.local, end.peer.UID
	}
	if _, err := e.server.access.check(e.asked); err != nil {
		return
	}
	e.callers = true
}

// calls says whether callers may call functions that are not public. The kernel is asked
// once, if ever.
func (e *Early) calls() bool {
	if e.private == unknown {
		if e.conn.end != nil && !e.server.access.insecure {
			e.asked.local = e.conn.end.surely()
		}
		e.private = no
		if e.server.access.admit(e.asked, "", false, e.conn.public) == nil {
			e.private = yes
		}
	}
	return e.private == yes
}

// May says whether the caller may call a function, without a look at headers of web pages
// and gateways. The token is the value of an Authorization header that has one.
func (e *Early) May(name string, public bool, token string) bool {
	if token == "" {
		return e.callers && (public || e.calls())
	}
	asked := e.asked
	asked.bearer = e.bearer(token)
	if !e.conn.public {
		if _, err := e.server.access.check(asked); err != nil {
			return false
		}
		if e.calls() {
			return true
		}
		asked.local = e.asked.local // by its uid alone, a function is a person
	}
	return e.server.access.admit(asked, name, public, e.conn.public) == nil
}

// bearer returns what a token says. A wrong one is left to net/http, which finds it wrong
// once more and makes its sender wait.
func (e *Early) bearer(token string) (b bearer) {
	b.wrong = errTokenless
	if tokens := e.server.access.tokens; tokens != nil {
		b.who, b.wrong = tokens.Verify(auth.FromHeader(token))
	}
	b.clear = e.server.access.inClear(e.conn.end, e.peer, e.scheme)
	return b
}

// Begin says that a request is being served, unless the server has stopped. End must
// follow then.
func (e *Early) Begin() bool {
	if !e.server.inFlight.TryRLock() {
		return false
	}
	if e.conn.seat != nil {
		e.conn.seat.stay()
	}
	e.conn.seat.begin()
	return true
}

// End says that the request was answered.
func (e *Early) End() {
	e.conn.seat.end()
	e.server.inFlight.RUnlock()
}

// Request returns a request that was read as the handlers of net/http would get it.
func (e *Early) Request(head []byte) (*http.Request, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return nil, err
	}
	if e.ctx == nil {
		e.ctx = context.WithValue(context.WithValue(e.server.requests, accessKey{}, e.server.access), connKey{}, e.conn)
	}
	r.RemoteAddr, r.TLS = e.peer, e.conn.tlsState()
	return r.WithContext(e.ctx), nil
}
