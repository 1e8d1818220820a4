package serve

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// mostLate is how many connections are accepted while a server drains: as many as can wait in
// a socket of the agent.
const mostLate = 128

// listener counts what passes over its connections.
type listener struct {
	net.Listener
	traffic *traffic
}

// Accept returns a connection with all methods of the one that it wraps.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) { // by drain
		conn, err = l.waiting()
	}
	if err != nil {
		return nil, err
	}
	switch c := conn.(type) {
	case *net.TCPConn:
		return &tcpConn{TCPConn: c, passed: passed{traffic: l.traffic}}, nil
	case *net.UnixConn:
		return &unixConn{UnixConn: c, passed: passed{traffic: l.traffic}}, nil
	}
	return conn, nil // inherit makes no others
}

// waiting returns a connection that has been made and not accepted yet, net.ErrClosed when
// there is none. To close the listener would reset it, and its caller cannot know that
// nothing has been done. Where the next process listens as well, as it does while a function
// is replaced, there is always one more: that one takes what is past mostLate.
func (l listener) waiting() (net.Conn, error) {
	raw, err := l.Listener.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	if l.traffic.late.Add(1) > mostLate {
		return nil, net.ErrClosed
	}
	fd, failure := -1, error(syscall.EINTR)
	err = raw.Control(func(socket uintptr) {
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		for errors.Is(failure, syscall.EINTR) || errors.Is(failure, syscall.ECONNABORTED) { // which one that has gone leaves
			fd, _, failure = syscall.Accept(int(socket))
		}
		if failure == nil {
			syscall.CloseOnExec(fd)
		}
	})
	if err != nil || failure != nil {
		return nil, net.ErrClosed
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close() // FileConn makes another descriptor
	return net.FileConn(f)
}

// takeable is a connection that a handler can take over.
type takeable interface {
	// take sets what is called when the connection is closed.
	take(closed func())
}

// passed counts what passes over a connection.
type passed struct {
	traffic *traffic
	closed  atomic.Pointer[func()]
}

func (p *passed) take(closed func()) { p.closed.Store(&closed) }

func (p *passed) close() {
	if closed := p.closed.Load(); closed != nil {
		(*closed)()
	}
}

func (p *passed) in(n int64)  { p.traffic.received.Add(n) }
func (p *passed) out(n int64) { p.traffic.sent.Add(n) }

type tcpConn struct {
	*net.TCPConn
	passed
}

var (
	_ io.ReaderFrom = (*tcpConn)(nil)
	_ io.WriterTo   = (*tcpConn)(nil)
	_ takeable      = (*tcpConn)(nil)
	_ takeable      = (*unixConn)(nil)
)

func (c *tcpConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.in(int64(n))
	return n, err
}

func (c *tcpConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.out(int64(n))
	return n, err
}

// ReadFrom sends a file by the kernel alone.
func (c *tcpConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	c.out(n)
	return n, err
}

// WriteTo is ReadFrom in the other direction.
func (c *tcpConn) WriteTo(w io.Writer) (int64, error) {
	n, err := c.TCPConn.WriteTo(w)
	c.in(n)
	return n, err
}

func (c *tcpConn) Close() error {
	defer c.close()
	return c.TCPConn.Close()
}

type unixConn struct {
	*net.UnixConn
	passed
}

func (c *unixConn) Read(p []byte) (int, error) {
	n, err := c.UnixConn.Read(p)
	c.in(int64(n))
	return n, err
}

func (c *unixConn) Write(p []byte) (int, error) {
	n, err := c.UnixConn.Write(p)
	c.out(int64(n))
	return n, err
}

func (c *unixConn) Close() error {
	defer c.close()
	return c.UnixConn.Close()
}
