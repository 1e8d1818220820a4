// Package forward decides which headers of a call reach the function, and which of the
// answer reach the caller. It is one table for all code that forwards calls: both lanes
// of the gateway, and the server in which people try their functions. It must never
// read or send anything itself.
package forward

import (
	"bytes"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// RequestID is the header that carries the id of a call, in both directions.
const RequestID = "X-Request-Id"

// Timeout is the header in which a caller says how long it waits for the answer to begin,
// and in which the function is told how much of that is left.
const Timeout = "X-Ryo-Timeout"

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

// longest is the length of the longest name that FateOf knows.
const longest = len("function-execution-id")

// FateOf returns what becomes of a header, by its name in any case. It holds for
// requests and for answers, except that a function may set in an answer what is Ours.
func FateOf[Name string | []byte](name Name) Fate {
	var lower [longest]byte
	n := min(len(name), longest)
	for i := range n {
		lower[i] = name[i]
		if 'A' <= name[i] && name[i] <= 'Z' {
			lower[i] += 'a' - 'A'
		}
	}
	if len(name) <= longest {
		switch string(lower[:n]) {
		case "connection", "proxy-connection", "keep-alive", "proxy-authenticate", "proxy-authorization",
			"te", "trailer", "transfer-encoding", "upgrade":
			return Hop
		case "content-length":
			return Framing
		case "x-request-id", "function-execution-id":
			return Ours
		}
	}
	if private(lower[:n], len(name)) {
		return Ours
	}
	return Passes
}

// private says whether a header speaks for the platform, so that no caller may set it.
// Underscores count as hyphens, as in CGI and its heirs. It gets the beginning of the
// name in lower case.
func private(lower []byte, length int) bool {
	if len(lower) == 0 || lower[0] != 'x' && lower[0] != 'f' {
		return false
	}
	for i, b := range lower {
		if b == '_' {
			lower[i] = '-'
		}
	}
	return bytes.HasPrefix(lower, []byte("x-forwarded-")) || bytes.HasPrefix(lower, []byte("x-ryo-")) ||
		length == len("forwarded") && string(lower) == "forwarded"
}

// About is what a function is told about a call of it.
type About struct {
	Remote string // the caller's address, host:port
	Scheme string // http or https
	Host   string // that the caller addressed
	Prefix string // the part of the path that the function does not see
	ID     string
	Via    string // names this hop
	Left   string // the time in which the answer must begin; "": there is no limit
}

// Via is About.Via of calls over HTTP/1.1.
const Via = "1.1 ryo"

// AboutOf returns what a function is told about its call r. The scheme of r's URL, which
// servers leave empty, holds where a trusted gateway has said one.
func AboutOf(r *http.Request, prefix, id string) About {
	scheme := r.URL.Scheme
	switch {
	case scheme != "":
	case r.TLS != nil:
		scheme = "https"
	default:
		scheme = "http"
	}
	return About{Remote: r.RemoteAddr, Scheme: scheme, Host: r.Host, Prefix: prefix, ID: id, Via: via(r)}
}

// via names this hop (RFC 9110 section 7.6.3).
func via(r *http.Request) string {
	switch {
	case r.ProtoMajor > 1:
		return "2 ryo"
	case r.ProtoMinor == 0:
		return "1.0 ryo"
	}
	return Via
}

// Each calls set with each header that tells it.
func (a About) Each(set func(name, value string)) {
	if at := strings.LastIndexByte(a.Remote, ':'); at >= 0 {
		set("X-Forwarded-For", strings.Trim(a.Remote[:at], "[]"))
		set(remoteAddr, a.Remote)
	}
	set("X-Forwarded-Host", a.Host)
	set("X-Forwarded-Proto", a.Scheme)
	set("X-Forwarded-Prefix", a.Prefix)
	set(RequestID, a.ID)
	set(executionID, a.ID)
	set("Via", a.Via)
	if a.Left != "" {
		set(Timeout, a.Left)
	}
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
	via := out.Header["Via"] // of the hops before
	AboutOf(pr.In, prefix, id).Each(func(name, value string) { out.Header[name] = []string{value} })
	out.Header["Via"] = append(slices.Clip(via), out.Header["Via"]...)
	// net/url would encode some bytes of a path anew, but writes Opaque as it is.
	out.URL = &url.URL{Scheme: "http", Opaque: target}
}

// Widens reports whether a header of an answer lets the pages of a function rule over more
// of its host than the path below which it lives: a worker of its could come between a
// browser and other functions, or the platform itself. It passes where the host is the
// function's own.
func Widens[Name string | []byte](name Name) bool {
	const widens = "service-worker-allowed"
	return len(name) == len(widens) && strings.EqualFold(string(name), widens)
}

// Websocket says whether a request asks for a websocket. HTTP/1.0 has none. Callers of HTTP/2
// cannot send the header: their servers set it.
func Websocket(r *http.Request) bool {
	return r.ProtoAtLeast(1, 1) && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// LastHop reports whether a request may go no further than here (RFC 9110 section
// 7.6.2). If it may, it counts this hop.
func LastHop(r *http.Request) bool {
	limit := r.Header["Max-Forwards"]
	if len(limit) != 1 || r.Method != http.MethodOptions && r.Method != http.MethodTrace {
		return false
	}
	hops, err := strconv.ParseUint(limit[0], 10, 32)
	if err == nil && hops > 0 {
		r.Header["Max-Forwards"] = []string{strconv.FormatUint(hops-1, 10)}
	}
	return err == nil && hops == 0
}

// Trails says whether a header may come after a body. Those that say where a message
// ends, what it means or who sends it may not (RFC 9110 section 6.5.1).
func Trails(name string) bool {
	switch name {
	case "Authorization", "Cache-Control", "Content-Encoding", "Content-Range", "Content-Type", "Cookie", "Expect",
		"Host", "Location", "Max-Forwards", "Pragma", "Range", "Set-Cookie", "Www-Authenticate":
		return false
	}
	return FateOf(name) == Passes && (len(name) < len("if-") || !strings.EqualFold(name[:3], "if-"))
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
