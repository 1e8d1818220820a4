package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// ripe is how long a link that carried one call must have been idle before it carries one
// that cannot be repeated: a function that closes its connections after an answer, and
// does not say so, has closed it by then.
const ripe = 5 * time.Millisecond

// distrust is how long calls that cannot be repeated get new links after an idle link
// was closed just as a call was sent over it.
const distrust = time.Minute

// errLongHead is why an answer is not read any further.
var errLongHead = errors.New("the head of its answer is too long")

// link is a connection to a function. One call at a time uses it, in its own
// goroutine.
type link struct {
	net.Conn
	in     *bufio.Reader
	raw    syscall.RawConn
	tls    bool
	probe  func(fd uintptr) bool // sets open
	open   bool
	room   int64       // bytes that may still be read of an answer's head
	sent   bool        // something of the request may have arrived
	heard  bool        // something of the answer has come
	detach func() bool // keeps the link open when the call is canceled; false: it is closed
	since  time.Time   // when it became idle
	calls  int         // that it has carried
	trade  trade       // of the fast lane
}

func newLink(conn net.Conn) (*link, error) {
	below := plainOf(conn)
	raw, err := below.(syscall.Conn).SyscallConn()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	wire.Demand(below, wire.PeerSilence) // a function reads its heads and small bodies at once
	l := &link{Conn: conn, raw: raw, tls: below != conn}
	l.trade.try = l.step
	l.probe = func(fd uintptr) bool {
		var b [1]byte
		_, err := syscall.Read(int(fd), b[:])
		l.open = errors.Is(err, syscall.EAGAIN)
		return true
	}
	return l, nil
}

// plainOf returns the connection below TLS, or the connection itself.
func plainOf(conn net.Conn) net.Conn {
	if secure, ok := conn.(*tls.Conn); ok {
		return secure.NetConn()
	}
	return conn
}

func (l *link) Read(p []byte) (int, error) {
	if l.room == 0 {
		return 0, errLongHead
	}
	n, err := l.Conn.Read(p[:min(int64(len(p)), l.room)])
	l.room -= int64(n)
	l.heard = l.heard || n > 0
	return n, err
}

// usable says whether an idle link is still open. What a function sends unasked must
// not be taken for the answer to the next call, so a link with anything to read counts
// as closed.
func (l *link) usable() bool {
	l.open = false
	_ = l.raw.Read(l.probe)
	return l.open && (!l.tls || l.drained())
}

// quiet says whether an idle connection is open and nothing has come on it. Unlike
// usable it may be asked while a reader waits.
func quiet(conn net.Conn) bool {
	c, ok := plainOf(conn).(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN)
	})
	return err == nil && open
}

// drained says whether TLS has nothing that came together with the answer before.
func (l *link) drained() bool {
	if l.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	_, err := l.Conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded) && l.SetReadDeadline(time.Time{}) == nil
}

// ask sends a request, the one that came in as in, and reads the head of its answer.
// Interim answers pass to w. The link closes when ctx is canceled, until detach is
// called.
func (l *link) ask(ctx context.Context, w http.ResponseWriter, in *http.Request, request []byte) (*http.Response, error) {
	if l.in == nil {
		l.in = bufio.NewReader(l)
	}
	if !l.trade.until.IsZero() {
		if err := l.limit(time.Time{}); err != nil {
			return nil, err
		}
	}
	l.detach = context.AfterFunc(ctx, func() { _ = l.Close() })
	l.heard = false
	n, err := l.Write(request)
	l.sent = n > 0
	if err != nil {
		return nil, err
	}
	for {
		l.room = answerHead
		res, err := http.ReadResponse(l.in, in)
		if err != nil {
			return nil, err
		}
		if res.StatusCode < 100 || res.StatusCode > 199 || res.StatusCode == http.StatusSwitchingProtocols || !http1x(res) {
			l.room = math.MaxInt64
			return res, nil
		}
		passInterim(w, res)
	}
}

// tunnel makes the link one on which the function may leave unread what is sent.
func (l *link) tunnel() {
	wire.Demand(plainOf(l.Conn), 0)
}

// cancel closes a link whose call is not done with it.
func (l *link) cancel() {
	l.detach()
	_ = l.Close()
}

// links are the idle connections to one target.
type links struct {
	dial func(context.Context) (net.Conn, error)
	idle time.Duration // how long they are kept

	failedAt atomic.Int64 // when an idle link last failed a call, in unix nanoseconds

	mu     sync.Mutex // guards the fields below:
	free   []*link    // the one used last is the last
	timer  *time.Timer
	closed bool // no link is kept any longer
}

// trusted says whether a call that cannot be repeated may take an idle link: not while
// the function closes connections sooner than we do.
func (s *links) trusted() bool {
	return time.Now().UnixNano()-s.failedAt.Load() > int64(distrust)
}

// get returns a link, reused or new, for a call that can be repeated or cannot.
func (s *links) get(ctx context.Context, repeatable bool) (l *link, reused bool, err error) {
	if l := s.take(repeatable); l != nil {
		return l, true, nil
	}
	l, err = s.fresh(ctx)
	return l, false, err
}

// take returns an idle link, nil if there is none for such a call.
func (s *links) take(repeatable bool) *link {
	for l := s.untested(repeatable); l != nil; l = s.untested(repeatable) {
		if l.tls || l.usable() { // of TLS untested has looked
			return l
		}
		_ = l.Close()
	}
	return nil
}

// untested is take for calls that look by themselves whether the link is still open, where
// it can be done as they send.
func (s *links) untested(repeatable bool) *link {
	if !repeatable && !s.trusted() {
		return nil
	}
	for l := s.pop(repeatable); l != nil; l = s.pop(repeatable) {
		if !l.tls || l.usable() {
			return l
		}
		_ = l.Close()
	}
	return nil
}

// fresh returns a new link.
func (s *links) fresh(ctx context.Context) (*link, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return newLink(conn)
}

func (s *links) pop(repeatable bool) *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := len(s.free) - 1
	if !repeatable {
		now := time.Now()
		for at >= 0 && s.free[at].calls < 2 && now.Sub(s.free[at].since) < ripe {
			at--
		}
	}
	if at < 0 {
		return nil
	}
	l := s.free[at]
	s.free = slices.Delete(s.free, at, at+1)
	return l
}

// put takes a link back after a whole answer.
func (s *links) put(l *link) {
	if !l.detach() || l.in != nil && l.in.Buffered() > 0 || !s.add(l) {
		_ = l.Close()
	}
}

func (s *links) add(l *link) bool {
	l.since = time.Now()
	l.calls++
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.free) == idlePerTarget {
		return false
	}
	s.free = append(s.free, l)
	if s.timer == nil {
		s.timer = time.AfterFunc(s.idle, s.sweep)
	}
	return true
}

// sweep closes what has been idle for too long.
func (s *links) sweep() {
	s.mu.Lock()
	now := time.Now()
	n := 0
	for n < len(s.free) && now.Sub(s.free[n].since) >= s.idle {
		n++
	}
	old := slices.Clone(s.free[:n])
	s.free = slices.Delete(s.free, 0, n)
	if len(s.free) > 0 {
		s.timer.Reset(s.idle - now.Sub(s.free[0].since))
	} else {
		s.timer = nil
	}
	s.mu.Unlock()
	for _, l := range old {
		_ = l.Close()
	}
}

// close closes the idle links, and each of the others when it is put back.
func (s *links) close() {
	s.mu.Lock()
	old := s.free
	s.free, s.closed = nil, true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	for _, l := range old {
		_ = l.Close()
	}
}
