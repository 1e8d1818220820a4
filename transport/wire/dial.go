package wire

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// PeerSilence is how long a machine may be silent before connections to it end: as long
// as a watch may hear nothing.
const PeerSilence = WatchSilence

// keepalive finds out whether a machine to which nothing is sent is still there.
var keepalive = net.KeepAliveConfig{Enable: true, Idle: PeerSilence - 2*time.Second, Interval: time.Second, Count: 2}

// Dial connects to a TCP address, which it takes literally. The connection fails once the
// other machine has not answered for PeerSilence while nothing was sent; Demand is for
// while something is.
func Dial(ctx context.Context, addr string, limit time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: limit}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err == nil && remote(conn) {
		_ = conn.(*net.TCPConn).SetKeepAliveConfig(keepalive) // without it, only the time is longer
	}
	return conn, err
}

// Demand makes a connection of Dial fail when what is sent is not acknowledged within a
// limit; 0: the system's, of many minutes. It is not for what the other side may leave
// unread for that long, since the kernel counts that too.
func Demand(conn net.Conn, limit time.Duration) {
	if remote(conn) {
		demand(conn.(*net.TCPConn), limit)
	}
}

// remote says whether a connection leads to another machine.
func remote(conn net.Conn) bool {
	to, ok := conn.RemoteAddr().(*net.TCPAddr)
	_, tcp := conn.(*net.TCPConn)
	return ok && tcp && !to.IP.IsLoopback()
}

// IsCutOff reports whether a connection failed since the other machine does not answer.
func IsCutOff(err error) bool {
	for _, why := range []error{syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN} {
		if errors.Is(err, why) {
			return true
		}
	}
	return false
}
