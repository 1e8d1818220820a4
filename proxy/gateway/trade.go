package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// errStale is why nothing was sent over a link: it was closed while it was idle, or
// something came on it that nobody has asked for.
var errStale = errors.New("the connection was closed while it was idle")

// trade is how the fast lane uses a link: it sees that nothing has come, sends a request,
// waits, and reads the answer. net.Conn would try to read before it waits, in vain: no
// function has answered by then. The wait begins before all of that, so that what comes in
// between, the answer or the end, is not missed: the runtime tells of each once.
type trade struct {
	try     func(fd uintptr) bool // step; a closure would be allocated each time
	request []byte                // what has not been sent
	tested  bool                  // that nothing has come before the request
	until   time.Time             // when reads fail; zero: never
	by      time.Time             // when the call is over
	buf     []byte
	n       int
	err     error
}

// send makes a request go out with the next read.
func (l *link) send(request []byte) { l.trade.request, l.trade.tested = request, false }

// step sends the request, or reads, and says whether there is nothing to wait for.
func (l *link) step(fd uintptr) bool {
	t := &l.trade
	if len(t.request) > 0 {
		if !t.tested {
			if l.probe(fd); !l.open {
				t.err = errStale
				return true
			}
			t.tested = true
		}
		var n int
		n, t.err = writeTo(fd, t.request)
		l.sent = l.sent || n > 0
		t.request = t.request[max(0, n):]
		return t.err != nil || len(t.request) > 0
	}
	t.n, t.err = readFrom(fd, t.buf)
	return !errors.Is(t.err, syscall.EAGAIN)
}

func writeTo(fd uintptr, p []byte) (n int, err error) {
	for {
		if n, err = syscall.Write(int(fd), p); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

func readFrom(fd uintptr, p []byte) (n int, err error) {
	for {
		if n, err = syscall.Read(int(fd), p); !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// readBy reads what comes before a time. The limit is set as seldom as possible: that
// costs more than many a call.
func (l *link) readBy(p []byte, by time.Time, limit time.Duration) (int, error) {
	t := &l.trade
	t.by = by
	if t.until.IsZero() || t.until.After(by) || by.Sub(t.until) > limit/2 {
		if err := l.limit(by); err != nil {
			return 0, err
		}
	}
	for {
		n, err := l.take(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if !time.Now().Before(by) {
			return 0, errLimit
		}
		if err := l.limit(by); err != nil {
			return 0, err
		}
	}
}

// take sends what is to be sent, and reads what comes then.
func (l *link) take(p []byte) (int, error) {
	t := &l.trade
	if l.tls {
		if len(t.request) > 0 {
			request := t.request
			t.request = nil
			n, err := l.writeBy(request)
			if l.sent = n > 0; err != nil {
				return 0, err
			}
		}
		return l.Conn.Read(p)
	}
	t.buf, t.n, t.err = p, 0, nil
	if err := l.raw.Read(t.try); err != nil {
		return 0, err
	}
	if len(t.request) > 0 && (t.err == nil || errors.Is(t.err, syscall.EAGAIN)) { // the kernel has no room for all of it
		rest := t.request
		t.request = nil
		n, err := l.writeBy(rest)
		if l.sent = l.sent || n > 0; err != nil {
			return 0, err
		}
		return l.Conn.Read(p)
	}
	if errors.Is(t.err, errStale) {
		t.request = nil
		return 0, errStale
	}
	if t.err != nil {
		return 0, opError(t.err, len(t.request) > 0)
	}
	if t.n == 0 {
		return 0, io.EOF
	}
	return t.n, nil
}

// writeBy writes all of p, within the limit of the call: the function may not read.
func (l *link) writeBy(p []byte) (int, error) {
	if err := l.SetWriteDeadline(l.trade.by); err != nil {
		return 0, err
	}
	n, err := l.Write(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if secure, ok := l.Conn.(*tls.Conn); ok {
			_ = secure.NetConn().Close() // TLS would try to say so, for seconds
		}
		return n, errLimit
	}
	if err != nil {
		return n, err
	}
	return n, l.SetWriteDeadline(time.Time{})
}

// opError is an error as package net would have it.
func opError(err error, writing bool) error {
	op := "read"
	if writing {
		op = "write"
	}
	return &net.OpError{Op: op, Err: os.NewSyscallError(op, err)}
}

// read reads what comes, without a limit.
func (l *link) read(p []byte) (int, error) {
	for {
		n, err := l.Conn.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || l.trade.until.IsZero() {
			return n, err
		}
		if err := l.limit(time.Time{}); err != nil {
			return 0, err
		}
	}
}

// limit sets until when reads wait; zero: for ever.
func (l *link) limit(until time.Time) error {
	l.trade.until = until
	return l.SetReadDeadline(until)
}
