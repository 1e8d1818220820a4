package server

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// patientConn is a connection whose writes fail when the caller reads nothing for a
// while. One goroutine writes it.
type patientConn struct {
	net.Conn
	silence time.Duration // how long a write may take without any progress

	limited atomic.Int64 // when the limit of a write was set, in unix nanoseconds
	foreign atomic.Bool  // the server has set a limit of its own
}

// Write implements net.Conn. It fails when the caller reads nothing for a while.
func (c *patientConn) Write(p []byte) (written int, err error) {
	for {
		own := !c.foreign.Load()
		// A limit that is renewed now and then is nearly as long, and costs less.
		if now := time.Now(); own && now.UnixNano()-c.limited.Load() > int64(c.silence/8) {
			c.limited.Store(now.UnixNano())
			if err := c.Conn.SetWriteDeadline(now.Add(c.silence)); err != nil {
				return written, err
			}
		}
		n, err := c.Conn.Write(p[written:])
		written += n
		if !own || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}

// SetWriteDeadline implements net.Conn.
func (c *patientConn) SetWriteDeadline(t time.Time) error {
	c.foreign.Store(!t.IsZero())
	c.limited.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline implements net.Conn.
func (c *patientConn) SetDeadline(t time.Time) error {
	c.foreign.Store(!t.IsZero())
	c.limited.Store(0)
	return c.Conn.SetDeadline(t)
}

// CloseWrite says that no more is sent. net/http and tunnels ask for it.
func (c *patientConn) CloseWrite() error { return closeWrite(c.Conn) }

// SetLinger says how Close works: with 0 the connection is reset.
func (c *patientConn) SetLinger(seconds int) error { return setLinger(c.Conn, seconds) }

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func setLinger(conn net.Conn, seconds int) error {
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		return tcp.SetLinger(seconds)
	}
	return errors.ErrUnsupported
}
