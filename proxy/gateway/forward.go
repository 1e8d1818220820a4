package gateway

import (
	"crypto/rand"
	"net"
	"net/http"
	"net/textproto"
	"strings"
)

// Headers that the gateway sets in each call.
const (
	requestID    = "X-Request-Id"
	executionID  = "Function-Execution-Id" // what functions-framework-go logs
	maxRequestID = 128                     // bytes; longer than any id in use
	// remoteAddr is what a function's server on this machine takes for the request's
	// remote address, and does not hand on.
	remoteAddr = "X-Ryo-Remote-Addr"
)

// fate is what becomes of a header on its way through the gateway.
type fate int

const (
	passes  fate = iota // unchanged
	hop                 // stops here: it is meant for the next party alone (RFC 9110 section 7.6.1)
	framing             // says how long a body is: each side has its own
	ours                // the gateway says it to the function; what a caller says is dropped
)

// fateOf is the table of headers, by their canonical names. It holds for requests
// and answers alike, but that a function may say in an answer what is ours.
func fateOf(name string) fate {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return hop
	case "Content-Length":
		return framing
	case requestID, executionID:
		return ours
	}
	if private(name) {
		return ours
	}
	return passes
}

// private says whether a header speaks for the platform, so that no caller may
// set it. Underscores count as hyphens, as they do to CGI and its heirs.
func private(name string) bool {
	return hasPrefix(name, "x-forwarded-") || hasPrefix(name, "x-ryo-") ||
		len(name) == len("forwarded") && hasPrefix(name, "forwarded")
}

// hasPrefix compares with a lower-case prefix without regard to case.
func hasPrefix(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		b := name[i]
		switch {
		case b == '_':
			b = '-'
		case 'A' <= b && b <= 'Z':
			b += 'a' - 'A'
		}
		if b != prefix[i] {
			return false
		}
	}
	return true
}

// added yields the headers that the gateway says to the function.
func (c *call) added(yield func(name, value string) bool) {
	r := c.in
	if ip, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		if !yield("X-Forwarded-For", ip) || !yield(remoteAddr, r.RemoteAddr) {
			return
		}
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	_ = yield("X-Forwarded-Host", r.Host) &&
		yield("X-Forwarded-Proto", scheme) &&
		yield("X-Forwarded-Prefix", c.prefix) &&
		yield(requestID, c.id[0]) &&
		yield(executionID, c.id[0])
}

// trails says whether a header may come after a body: nothing that says where a
// message ends, what it means or who sends it (RFC 9110 section 6.5.1).
func trails(name string) bool {
	switch name {
	case "Authorization", "Cache-Control", "Content-Encoding", "Content-Range", "Content-Type", "Cookie", "Expect",
		"Host", "Location", "Max-Forwards", "Pragma", "Range", "Set-Cookie", "Www-Authenticate":
		return false
	}
	return fateOf(name) == passes && !hasPrefix(name, "if-")
}

// prune takes out of trailers what may be none.
func prune(trailer http.Header) {
	for name := range trailer {
		if !trails(name) {
			delete(trailer, name)
		}
	}
}

// isToken says whether a method is one (RFC 9110 section 5.6.2). HTTP/2 lets others
// through, which would end an HTTP/1.1 request line.
func isToken(method string) bool {
	for i := range len(method) {
		b := method[i]
		if !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0) {
			return false
		}
	}
	return method != ""
}

// pass adds the headers of an answer that do not end with its connection.
func pass(to, from http.Header) {
	for _, list := range from["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			from.Del(textproto.TrimString(name))
		}
	}
	for name, values := range from {
		if fateOf(name) != hop {
			to[name] = values
		}
	}
}

// idOf is the request's id: the caller's, if it can stand in a header and a log,
// or a new one.
func idOf(r *http.Request) string {
	id := r.Header.Get(requestID)
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return rand.Text()
		}
	}
	if id == "" || len(id) > maxRequestID {
		return rand.Text()
	}
	return id
}
