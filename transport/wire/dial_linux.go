package wire

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// demand sets TCP_USER_TIMEOUT (tcp(7)).
func demand(conn *net.TCPConn, limit time.Duration) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // without it, only the time is longer
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(limit/time.Millisecond))
	})
}
