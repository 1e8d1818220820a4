package serve

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// healthPath lies beside every mount: a function's name cannot begin with _.
const healthPath = "/_ryo/healthz"

const (
	// callerHeader is where a gateway on the same machine gives its caller's address
	// and port.
	callerHeader = "X-Ryo-Remote-Addr"
	// prefixHeader gives the path below which callers see the function; web frameworks
	// read it.
	prefixHeader = "X-Forwarded-Prefix"
)

// mount serves next at and below a path of one segment. The function is to see the
// request as if it were served at / and called directly.
type mount struct {
	path string // such as /helloworld
	next http.Handler
}

func (m mount) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == healthPath {
		healthz(w, r)
		return
	}
	u, ok := m.strip(r.URL)
	if !ok {
		http.NotFound(w, r)
		return
	}
	// All of this is done in place: see exchange.request.
	r.URL, r.RequestURI = u, target(r.RequestURI, u)
	setCaller(r)
	if r.Header[prefixHeader] == nil {
		r.Header.Set(prefixHeader, m.path)
	}
	m.next.ServeHTTP(w, limitTime(w, r))
}

// setCaller takes the caller's address from a gateway on the unix socket, which nobody
// else can open. Over TCP anybody could send that header.
func setCaller(r *http.Request) {
	caller := r.Header.Get(callerHeader)
	if caller == "" {
		return
	}
	r.Header.Del(callerHeader)
	at, _ := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr)
	if _, err := netip.ParseAddrPort(caller); err == nil && at != nil {
		r.RemoteAddr = caller
	}
}

// target is the target of a request line, sent for another path, with the path and
// query of u.
func target(sent string, u *url.URL) string {
	if !strings.HasPrefix(sent, "/") { // the absolute form
		return u.String()
	}
	_, query, asked := strings.Cut(sent, "?")
	below := u.RawPath
	if below == "" {
		below = u.EscapedPath()
	}
	if asked {
		below += "?" + query
	}
	return below
}

// strip returns u without the mount, and whether u is at or below it. What
// remains is what was sent, byte for byte: the mount is its first segment, up to
// a slash that is not escaped. http.StripPrefix leaves "" at the mount itself
// and finds no prefix where a letter of it is escaped.
func (m mount) strip(u *url.URL) (*url.URL, bool) {
	sent := u.RawPath // unless it is the usual form of Path
	if sent == "" {
		sent = u.EscapedPath()
	}
	if !strings.HasPrefix(sent, "/") {
		return nil, false
	}
	segment, rest := sent, "/"
	if i := strings.IndexByte(sent[1:], '/'); i >= 0 {
		segment, rest = sent[:1+i], sent[1+i:]
	}
	if name, err := url.PathUnescape(segment); err != nil || name != m.path {
		return nil, false
	}
	path, err := url.PathUnescape(rest)
	if err != nil {
		return nil, false
	}
	below := *u
	below.Path, below.RawPath = path, ""
	if below.EscapedPath() != rest {
		below.RawPath = rest
	}
	return &below, true
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n") // the caller may have gone
}
