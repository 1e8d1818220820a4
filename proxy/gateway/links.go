package gateway

import (
	"bufio"
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// distrust is how long calls that cannot be repeated get new links, after an idle one
// was closed while a call was sent over it.
const distrust = time.Minute

// errLongHead is why an answer is not read any further.
var errLongHead = errors.New("the head of its answer is too long")

// link is a connection to a function. One call at a time uses it, in its own
// goroutine.
type link struct {
	net.Conn
	in    *bufio.Reader
	raw   syscall.RawConn
	probe func(fd uintptr) bool // sets open
	open  bool
	room  int64       // bytes that may still be read before the head of an answer must have ended
	sent  bool        // something of the request may have arrived
	heard bool        // something of the answer has come
	stop  func() bool // keeps the link from closing with the call; false: it has
	since time.Time   // it has been idle
}

func newLink(conn net.Conn) (*link, error) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	l := &link{Conn: conn, raw: raw}
	l.in = bufio.NewReader(l)
	l.probe = func(fd uintptr) bool {
		var b [1]byte
		_, err := syscall.Read(int(fd), b[:])
		l.open = errors.Is(err, syscall.EAGAIN)
		return true
	}
	return l, nil
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

// idle says whether a link that no call uses is open still. What a function says
// unasked must not be taken for the answer to the next call: a link on which there
// is anything to read counts as closed.
func (l *link) idle() bool {
	l.open = false
	_ = l.raw.Read(l.probe)
	return l.open
}

// ask sends a request, which is in for the function, and reads the head of its
// answer. Interim answers pass to w. The link closes when ctx ends, until stop is
// called.
func (l *link) ask(ctx context.Context, w http.ResponseWriter, in *http.Request, request []byte) (*http.Response, error) {
	l.stop = context.AfterFunc(ctx, func() { _ = l.Close() })
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
		if res.StatusCode < 100 || res.StatusCode > 199 || res.StatusCode == http.StatusSwitchingProtocols {
			l.room = math.MaxInt64
			return res, nil
		}
		hint(w, res)
	}
}

// end closes the link before the call ends.
func (l *link) end() {
	l.stop()
	_ = l.Close()
}

// links are those of one target that no call uses.
type links struct {
	dial func(context.Context) (net.Conn, error)
	idle time.Duration // how long they are kept

	broke atomic.Int64 // when one last ended under a call, in unix nanoseconds

	mu    sync.Mutex // guards the below
	free  []*link    // the one used last is the last
	timer *time.Timer
	ended bool // none is kept any longer
}

// trusted says whether an idle link may be given a call that cannot be repeated: not
// while the function closes connections sooner than it is left idle here.
func (s *links) trusted() bool {
	return time.Now().UnixNano()-s.broke.Load() > int64(distrust)
}

// get returns a link, reused or new.
func (s *links) get(ctx context.Context) (l *link, reused bool, err error) {
	for l := s.pop(); l != nil; l = s.pop() {
		if l.idle() {
			return l, true, nil
		}
		_ = l.Close()
	}
	l, err = s.fresh(ctx)
	return l, false, err
}

// fresh returns a new link.
func (s *links) fresh(ctx context.Context) (*link, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	return newLink(conn)
}

func (s *links) pop() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.free) - 1
	if last < 0 {
		return nil
	}
	l := s.free[last]
	s.free[last] = nil
	s.free = s.free[:last]
	return l
}

// put takes a link back after a whole answer.
func (s *links) put(l *link) {
	if !l.stop() || l.in.Buffered() > 0 || !s.keep(l) {
		_ = l.Close()
	}
}

func (s *links) keep(l *link) bool {
	l.since = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || len(s.free) == idlePerTarget {
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

// close closes the links, also those in use, once they are put back.
func (s *links) close() {
	s.mu.Lock()
	old := s.free
	s.free, s.ended = nil, true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	for _, l := range old {
		_ = l.Close()
	}
}
