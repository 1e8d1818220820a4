package serve

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// settled is when a function that opens listeners of its own at its start has them.
const settled = time.Second

// tellListens says which TCP sockets besides the platform's the process listens on:
// callers do not come there, and further processes of the function find the port
// taken.
func tellListens(to io.Writer, ours []net.Listener) {
	known := make(map[string]bool)
	for _, l := range ours {
		known[l.Addr().String()] = true
	}
	entries, _ := os.ReadDir("/dev/fd") // where there is none, nothing is said
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		addr := listensAt(fd)
		if addr == "" || known[addr] {
			continue
		}
		known[addr] = true
		fmt.Fprintf(to, "serve: the function listens on %s by itself; its callers come to the platform's own sockets, not there\n", addr)
	}
}

// listensAt is the address of a descriptor that is a listening TCP socket, else "".
func listensAt(fd int) string {
	if listens, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN); err != nil || listens == 0 {
		return ""
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		return ""
	}
	switch at := name.(type) {
	case *syscall.SockaddrInet4:
		return (&net.TCPAddr{IP: at.Addr[:], Port: at.Port}).String()
	case *syscall.SockaddrInet6:
		return (&net.TCPAddr{IP: at.Addr[:], Port: at.Port}).String()
	}
	return ""
}
