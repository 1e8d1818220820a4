package flags

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Listen opens the listener that a flag names: "9000", ":9000" or "host:9000".
func Listen(flag, addr string) (net.Listener, error) {
	if !strings.Contains(addr, ":") {
		addr = ":" + addr
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, proto.Errorf(proto.ErrConflict, "the address %s is in use by another program", addr).
			WithHint("choose another one with -" + flag)
	}
	if err != nil {
		return nil, fmt.Errorf("-%s %s: %w", flag, addr, err)
	}
	return l, nil
}

// Port is the port of a listener.
func Port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// Shown is the address of a flag as it was given, with the port that was bound;
// every stands for a host that was not given.
func Shown(addr string, l net.Listener, every string) string {
	host, _, _ := net.SplitHostPort(addr) // of a bare port, none
	switch {
	case host == "":
		host = every
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(Port(l))
}

// Fail says what ended the program, and how to proceed, and returns the exit
// code: Usage for a value of a flag that cannot be, else 1.
func (s *Set) Fail(err error) int {
	e := proto.AsError(err)
	if e.Kind == proto.ErrInvalid { // the value of a flag
		return s.Failf("%s", strings.TrimSuffix(e.Message+"; "+e.Hint, "; "))
	}
	_, _ = fmt.Fprintf(s.stderr, "%s: %s\n", s.Name(), e.Message)
	if e.Hint != "" {
		_, _ = fmt.Fprintf(s.stderr, "hint: %s\n", e.Hint)
	}
	return 1
}
