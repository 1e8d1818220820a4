// Package forward decides which headers of a call reach the function, and which of the
// answer reach the caller. It is one table for all code that forwards calls: both lanes
// of the gateway, and the server in which people try their functions. It must never
// read or send anything itself.
package forward

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
)

// RequestID is the header that carries the id of a call, in both directions.
const RequestID = "X-Request-Id"

const (
	executionID = "Function-Execution-Id" // what functions-framework-go logs
	// remoteAddr is the header from which a function's server on this machine takes the
	// request's remote address. The function does not see it.
	remoteAddr = "X-Ryo-Remote-Addr"
)

// Fate is what becomes of a header.
type Fate int

// The fates.
const (
	Passes  Fate = iota // it passes unchanged
	Hop                 // it stops here: it is meant for the next party alone (RFC 9110 section 7.6.1)
	Framing             // it says how long a body is: each side has its own
	Ours                // we set it for the function; a caller's value is dropped
)

// FateOf returns what becomes of a header, by its canonical name. It holds for
// requests and for answers, except that a function may set in an answer what is Ours.
func FateOf(name string) Fate {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return Hop
	case "Content-Length":
		return Framing
	case RequestID, executionID:
		return Ours
	}
	if private(name) {
		return Ours
	}
	return Passes
}

// private says whether a header speaks for the platform, so that no caller may set it.
// Underscores count as hyphens, as in CGI and its heirs.
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

// Add calls set with each header that tells a function about its call r. Prefix is the
// part of the path that the function does not see. The scheme of r's URL, which servers
// leave empty, holds where a trusted gateway has said one.
func Add(r *http.Request, prefix, id string, set func(name, value string)) {
	if ip, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		set("X-Forwarded-For", ip)
		set(remoteAddr, r.RemoteAddr)
	}
	scheme := r.URL.Scheme
	switch {
	case scheme != "":
	case r.TLS != nil:
		scheme = "https"
	default:
		scheme = "http"
	}
	set("X-Forwarded-Host", r.Host)
	set("X-Forwarded-Proto", scheme)
	set("X-Forwarded-Prefix", prefix)
	set(RequestID, id)
	set(executionID, id)
	set("Via", via(r))
}

// via names this hop after those before (RFC 9110 section 7.6.3).
func via(r *http.Request) string {
	if r.ProtoMajor > 1 {
		return "2 ryo"
	}
	if r.ProtoMinor == 0 {
		return "1.0 ryo"
	}
	return "1.1 ryo"
}

// Rewrite prepares a request for a function. Its target is sent byte for byte; the
// caller sets the host at which the function is found.
func Rewrite(pr *httputil.ProxyRequest, target, prefix, id string) {
	out := pr.Out
	for name := range out.Header {
		if FateOf(name) == Ours {
			delete(out.Header, name)
		}
	}
	if !Websocket(pr.In) {
		// Any other protocol, h2c above all, is a way past every check.
		out.Header.Del("Connection")
		out.Header.Del("Upgrade")
	}
	if out.Header.Get("Te") != "" { // ReverseProxy leaves it the word trailers
		out.Header.Add("Connection", "TE")
	}
	Add(pr.In, prefix, id, func(name, value string) {
		if name == "Via" { // after those of the hops before
			value = strings.Join(append(out.Header[name], value), ", ")
		}
		out.Header[name] = []string{value}
	})
	// net/url would encode some bytes of a path anew, but writes Opaque as it is.
	out.URL = &url.URL{Scheme: "http", Opaque: target}
}

// Websocket says whether a request asks for a websocket. HTTP/1.0 has none.
func Websocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ProtoMinor == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// Trails says whether a header may come after a body. Those that say where a message
// ends, what it means or who sends it may not (RFC 9110 section 6.5.1).
func Trails(name string) bool {
	switch name {
	case "Authorization", "Cache-Control", "Content-Encoding", "Content-Range", "Content-Type", "Cookie", "Expect",
		"Host", "Location", "Max-Forwards", "Pragma", "Range", "Set-Cookie", "Www-Authenticate":
		return false
	}
	return FateOf(name) == Passes && !hasPrefix(name, "if-")
}

// Prune removes the headers that may not come after a body.
func Prune(trailer http.Header) {
	for name := range trailer {
		if !Trails(name) {
			delete(trailer, name)
		}
	}
}

// IsToken says whether a method is a token (RFC 9110 section 5.6.2). HTTP/2 lets other
// bytes through, which would break an HTTP/1.1 request line.
func IsToken(method string) bool {
	for i := range len(method) {
		b := method[i]
		letter := 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
		if !letter && (b < '0' || b > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", b) < 0 {
			return false
		}
	}
	return method != ""
}

// Pass adds to an answer the headers of another, without those meant for one connection.
func Pass(to, from http.Header) {
	for _, list := range from["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			from.Del(textproto.TrimString(name))
		}
	}
	for name, values := range from {
		if FateOf(name) != Hop {
			to[name] = values
		}
	}
}
