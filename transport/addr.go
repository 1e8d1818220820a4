package transport

import (
	"net"
	"strconv"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// NormalizeAddr returns the host:port that an address means. "http://" may
// precede it and a slash may follow it; without a host it is localhost. Anything
// else is an ErrInvalid that says what is wrong.
func NormalizeAddr(addr string) (string, error) {
	host, secure, err := ParseAddr(addr)
	if secure && err == nil {
		return "", proto.Errorf(proto.ErrInvalid, "address %.100q: only http:// may precede it", addr).
			WithHint(`an address is host:port, such as "localhost:9000"`)
	}
	return host, err
}

// ParseAddr returns the host:port that an address means, as NormalizeAddr does, and
// whether "https://" precedes it.
func ParseAddr(addr string) (host string, secure bool, err error) {
	bad := func(why string) (string, bool, error) {
		return "", false, proto.Errorf(proto.ErrInvalid, "address %.100q: %s", addr, why).
			WithHint(`an address is host:port, such as "localhost:9000"`)
	}
	s := strings.ToLower(strings.TrimSpace(addr))
	if s == "" {
		return "", false, proto.Errorf(proto.ErrInvalid, "an address is missing").
			WithHint(`an address is host:port, such as "localhost:9000"`)
	}
	if scheme, rest, found := strings.Cut(s, "://"); found {
		if secure = scheme == "https"; !secure && scheme != "http" {
			return bad("only http:// or https:// may precede it")
		}
		s = rest
	}
	name, port, err := net.SplitHostPort(strings.TrimSuffix(s, "/"))
	if err != nil {
		return bad("it has no port")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return bad("the port is not a number from 1 to 65535")
	}
	if name == "" {
		name = "localhost"
	}
	if strings.ContainsFunc(name, func(r rune) bool { return !hostRune(r) }) {
		return bad("the host holds characters that no host has")
	}
	return net.JoinHostPort(name, port), secure, nil
}

// hostRune reports whether a host name or an IP address, lower case, may hold r.
func hostRune(r rune) bool {
	return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || strings.ContainsRune("-._:%", r)
}

// isLocal reports whether a normalized address is of this machine.
func isLocal(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
