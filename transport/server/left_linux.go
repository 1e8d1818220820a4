package server

import (
	"net/http"

	"golang.org/x/sys/unix"
)

// Left reports whether the caller of a request has closed its side of the connection. It
// is for handlers that do not read the request's body yet: net/http does not notice then.
func Left(r *http.Request) (left bool) {
	conn := connOf(r)
	if conn == nil {
		return false
	}
	socket := conn.socket()
	if socket == nil {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		look := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}} //nolint:gosec // descriptors are small
		n, err := unix.Poll(look, 0)
		left = err == nil && n > 0
	})
	return left || err != nil
}
