package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

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
// It is asked for when net/http is about to read: so it runs in the same goroutine, a
// connection changes from one reader to the other as often as it likes, and nothing is
// handed over. It must read whole requests alone, since what has been read of the next
// one is net/http's too.
type Early struct {
	conn   *framedConn
	server *server
	reader EarlyReader

	state   atomic.Int32 // an http.ConnState
	unread  []byte       // net/http reads it first
	hasRead bool
	ended   bool // nothing more is read
	first   [1]byte
	raw     syscall.RawConn // nil before the first use, and where bytes are not what they seem
	fill    filling
	until   time.Time // the limit that was set for reads

	standing standing // what the last host may
	host     string
	ctx      context.Context // of the requests that come by the connection

	serving bool       // a request, or about to
	mu      sync.Mutex // guards the fields below:
	waiting bool       // for a request
	closing bool
}

// standing is what callers of a connection may do, as far as it does not depend on a
// request's headers.
type standing struct {
	known bool
	err   error // why none of their requests is served here
	asked request
}

// idleSlack is how much shorter than wire.IdleLimit a connection may wait: setting the
// limit anew for each request costs more than reading the request.
const idleSlack = wire.IdleLimit / 8

// lookout returns when the caller has closed its side, or at the limit for reads.
// net/http reads while a handler runs, to notice the former. What it reads would be the
// beginning of the next request, so it gets nothing.
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
	err := e.reader.Serve()
	e.serves(false)
	if err != nil {
		e.ended = true
		return io.EOF // net/http closes without an answer of its own
	}
	// It is the limit that net/http would have set now.
	e.until = time.Time{}
	return e.conn.SetReadDeadline(time.Now().Add(wire.HeaderLimit))
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
	if !e.rest(true) {
		return 0, io.EOF
	}
	defer e.rest(false)
	limit := wire.IdleLimit
	if !e.hasRead {
		limit = wire.HeaderLimit
	}
	if now := time.Now(); e.until.Sub(now) < limit-idleSlack {
		e.until = now.Add(limit)
		if err := e.conn.SetReadDeadline(e.until); err != nil {
			return 0, err
		}
	}
	if e.raw == nil {
		return e.waitByte(get)
	}
	e.fill.get, e.fill.put = get, put
	if err := e.raw.Read(e.fill.read); err != nil {
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
	if n, err := e.conn.Conn.Read(e.first[:]); n == 0 {
		return 0, err
	}
	e.begun()
	buf := get()
	buf[0] = e.first[0]
	n, err := e.conn.Conn.Read(buf[1:]) // what TLS has of the record, or the rest of a first request
	return n + 1, err
}

// begun notes that the caller has begun to send.
func (e *Early) begun() {
	if e.hasRead {
		return
	}
	e.hasRead = true
	e.server.greeting.note(e.conn, http.StateActive)
	below, ok := e.conn.Conn.(*patientConn)
	if secure, hasTLS := e.conn.Conn.(*secureConn); hasTLS && secure.tls.Load() == nil {
		below, ok = secure.patientConn, true
	}
	if !ok {
		return
	}
	if conn, isPlain := below.Conn.(syscall.Conn); isPlain {
		e.raw, _ = conn.SyscallConn()
		e.fill.read = e.fill.try
	}
}

// rest says that the connection waits for a request, or no longer. It reports whether
// requests are still read.
func (e *Early) rest(waiting bool) bool {
	e.serves(!waiting)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = waiting
	return !e.closing
}

// serves counts the connection among those with a request.
func (e *Early) serves(serving bool) {
	if e.serving == serving { // one goroutine changes it
		return
	}
	if e.serving = serving; serving {
		e.server.early.serving.Add(1)
	} else if e.server.early.serving.Add(-1) == 0 {
		select {
		case e.server.early.drained <- struct{}{}:
		default:
		}
	}
}

// stop makes the connection end after the request that is being served. It may be called
// at any time.
func (e *Early) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing = true; e.waiting {
		_ = e.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// Closing says whether the connection should end.
func (e *Early) Closing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closing
}

// Read reads more of a request that has begun, for at most limit.
func (e *Early) Read(p []byte, limit time.Duration) (int, error) {
	e.until = time.Time{}
	if err := e.conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
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
	below := e.conn.Conn
	if secure, ok := below.(*secureConn); ok {
		below = secure.patientConn
	}
	if patient, ok := below.(*patientConn); ok {
		below = patient.Conn
	}
	conn, ok := below.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(do)
	}
}

// Peer returns the other end of the connection, host:port.
func (e *Early) Peer() string { return e.conn.RemoteAddr().String() }

// Secure says whether the caller speaks TLS.
func (e *Early) Secure() bool { return e.conn.tlsState() != nil }

// Public says whether the connection came by a listener for everybody.
func (e *Early) Public() bool { return e.conn.public }

// Strict says whether answers tell browsers to come by TLS alone, as value.
func (e *Early) Strict() (value string, ok bool) {
	return strictTransport, e.conn.public && e.server.cfg.TLS != nil
}

// Served says whether requests to a host are served without a look at headers that
// concern who calls: Authorization, Origin and what gateways set. The others are to be
// left to net/http.
func (e *Early) Served(host []byte) bool {
	if !e.standing.known || e.host != string(host) {
		e.host = string(host)
		e.standing = e.look()
	}
	return e.standing.err == nil
}

var errUnusual = errors.New("it takes net/http to tell")

// look finds out what callers of the host may do.
func (e *Early) look() standing {
	s, c := e.server, e.conn
	st := standing{known: true, err: errUnusual}
	secure := c.tlsState()
	switch {
	case !validHost(e.host), secure != nil && len(secure.PeerCertificates) > 0, c.prelude != nil:
		return st
	case c.public:
		if peer, err := netip.ParseAddrPort(e.Peer()); s.cfg.TLS != nil && secure == nil || err != nil || gateways(s.cfg.Gateways).trust(peer.Addr()) {
			return st
		}
		st.err = nil
		return st
	}
	st.asked = request{peer: e.Peer(), host: e.host, page: noPage, scope: wire.ScopeInvoke}
	if c.end != nil {
		st.asked.local, st.asked.uid = c.end.local, c.end.peer.UID
	}
	_, st.err = s.access.check(st.asked)
	return st
}

// May says whether the caller, who was found to be Served, may call a function.
func (e *Early) May(name string, public bool) bool {
	if public || e.conn.public {
		return public
	}
	if e.conn.end != nil && !e.server.access.insecure {
		e.standing.asked.local = e.conn.end.surely()
	}
	return e.server.access.admit(e.standing.asked, name, false, false) == nil
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
	return true
}

// End says that the request was answered.
func (e *Early) End() { e.server.inFlight.RUnlock() }

// Request returns a request that was read as the handlers of net/http would get it.
func (e *Early) Request(head []byte) (*http.Request, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return nil, err
	}
	if e.ctx == nil {
		e.ctx = context.WithValue(context.WithValue(e.server.requests, accessKey{}, e.server.access), connKey{}, e.conn)
	}
	r.RemoteAddr, r.TLS = e.Peer(), e.conn.tlsState()
	return r.WithContext(e.ctx), nil
}

// earlyConns are the connections of a server that Config.Early reads.
type earlyConns struct {
	serving atomic.Int64  // how many of them have a request
	drained chan struct{} // holds a value after the last; has room for one

	mu     sync.Mutex // guards the fields below:
	all    map[*Early]bool
	closed bool
}

func (s *earlyConns) add(e *Early) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[e] = true
	e.closing = s.closed
}

func (s *earlyConns) remove(e *Early) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, e)
}

// stop makes each of them end after its request, and waits for that until ctx is done.
// It then ends the requests, too.
func (s *earlyConns) stop(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	for e := range s.all {
		e.stop()
	}
	s.mu.Unlock()
	for s.serving.Load() > 0 {
		select {
		case <-s.drained:
		case <-ctx.Done():
			s.cancel()
			return
		}
	}
}

// cancel ends the requests.
func (s *earlyConns) cancel() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.all {
		e.reader.Abort()
	}
}
