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

// Listen opens the listener that a flag names: "9000", ":9000" or "host:9000". What
// cannot be an address here is an ErrInvalid.
func Listen(flag, addr string) (net.Listener, error) {
	given := addr
	if !strings.Contains(addr, ":") {
		addr = ":" + addr
	}
	invalid := func(why string, args ...any) error {
		return proto.Errorf(proto.ErrInvalid, "-%s %q: %s", flag, given, fmt.Sprintf(why, args...)).
			WithHint(`an address is host:port or :port, such as "localhost:8080"`)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, invalid("it is not of the form host:port")
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, invalid("the port is not a number from 0 to 65535")
	}
	l, err := net.Listen("tcp", addr)
	unresolved := new(net.DNSError)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, proto.Errorf(proto.ErrConflict, "the address %s is in use by another process", addr).
			WithHint("if it runs here already, stop it; or choose another one with -" + flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, invalid("%s is no address of this machine", host)
	case errors.Is(err, syscall.EACCES):
		return nil, proto.Errorf(proto.ErrForbidden, "this user may not listen on port %s", port).
			WithHint("choose one from 1024 on with -" + flag)
	case errors.As(err, &unresolved):
		return nil, invalid("the host %s has no address that can be found", host)
	case err != nil:
		return nil, fmt.Errorf("-%s %s: %w", flag, addr, err)
	}
	return l, nil
}

// Address is a value of a flag that names a listener.
type Address struct{ Flag, Value string }

// Distinct is an ErrInvalid if two of a program's own listeners would be the same: the
// system would tell of the second alone, that some program has its port.
func Distinct(list ...Address) error {
	for i, a := range list {
		for _, b := range list[:i] {
			if !clash(a.Value, b.Value) {
				continue
			}
			both := "-" + b.Flag + " and -" + a.Flag
			if a.Flag == b.Flag {
				both = "two of -" + a.Flag
			}
			return proto.Errorf(proto.ErrInvalid, "%s are the same address, %s", both, a.Value).WithHint("give each a port of its own")
		}
	}
	return nil
}

// clash reports whether two addresses cannot both be listened on.
func clash(a, b string) bool {
	hostA, portA := split(a)
	hostB, portB := split(b)
	return portA == portB && strings.Trim(portA, "0") != "" && (hostA == hostB || hostA == "" || hostB == "")
}

// split takes an address apart; the host is "" where all are meant.
func split(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", addr
	}
	ip := net.ParseIP(host)
	switch {
	case host == "localhost":
		host = "127.0.0.1"
	case ip.Equal(net.IPv4zero), ip.Equal(net.IPv6unspecified):
		host = ""
	}
	return host, port
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

// Fail prints why the process exits and what to do about it, and returns the exit
// code: Usage for a flag's value that cannot be, else 1.
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
