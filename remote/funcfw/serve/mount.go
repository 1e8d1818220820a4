package serve

import (
	"io"
	"net/http"
	"net/url"
	"strings"
)

// healthPath lies beside every mount: a function's name cannot begin with _.
const healthPath = "/_ryo/healthz"

// mount serves next at and below a path of one segment.
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
	below := new(http.Request)
	*below = *r
	below.URL = u
	m.next.ServeHTTP(w, below)
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
	_, _ = io.WriteString(w, "ok\n") // a caller that left is no news
}
