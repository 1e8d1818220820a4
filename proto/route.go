package proto

import (
	"fmt"
	"slices"
	"strings"
)

// MaxRoutes bounds the routes of a function.
const MaxRoutes = 32

// Route is where a function is called besides /functions/{name}.
type Route struct {
	Host string // in lower case, without a port
	Path string // "" for all of the host; else it begins with a slash and ends without one
}

// String is the route as ParseRoute reads it.
func (r Route) String() string { return r.Host + r.Path }

// ourPaths are the paths of every host that no function can have.
var ourPaths = []string{"/functions", "/.well-known/acme-challenge"}

// ParseRoute reads a route, such as api.example.com or example.com/v1.
func ParseRoute(text string) (Route, error) {
	host, path, below := strings.Cut(text, "/")
	r := Route{Host: strings.ToLower(host)}
	if path = strings.TrimSuffix(path, "/"); below && path != "" {
		r.Path = "/" + path
	}
	switch {
	case strings.Contains(text, "://"):
		return Route{}, fmt.Errorf("%.100q has a scheme; a route is a host and a path, such as api.example.com/v1", text)
	case !isHost(r.Host):
		return Route{}, fmt.Errorf("%.100q is not the name of a host, such as api.example.com, without a port", host)
	case r.Path != "" && !isPlainPath(r.Path):
		return Route{}, fmt.Errorf("%.100q is not a plain path, such as /v1", "/"+path)
	}
	for _, own := range ourPaths {
		if strings.HasPrefix(r.Path+"/", own+"/") {
			return Route{}, fmt.Errorf("%s is the platform's own path on every host", own)
		}
	}
	return r, nil
}

// isHost reports whether a name, in lower case, is one of DNS (RFC 1123 section 2.1).
func isHost(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
		}) {
			return false
		}
	}
	return len(name) <= 253
}

// isPlainPath reports whether a path reads the same everywhere: nothing in it is escaped,
// empty or a dot, so that no other spelling means the same.
func isPlainPath(path string) bool {
	for segment := range strings.SplitSeq(path[1:], "/") {
		if segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~!$&'()*+,;=:@", r)
		}) {
			return false
		}
	}
	return len(path) <= 255
}

// OwnRoutes returns the routes of a row. Those that cannot be are left out.
func (r *FunctionJsonRsp) OwnRoutes() (list []Route) {
	for _, text := range r.GetRoutes() {
		if route, err := ParseRoute(text); err == nil {
			list = append(list, route)
		}
	}
	return list
}

// OwnRoutes returns the routes of a function that was checked.
func (f *FunctionJson) OwnRoutes() []Route {
	return (&FunctionJsonRsp{Routes: f.GetRoutes()}).OwnRoutes()
}

func (f *FunctionJson) checkRoutes() error {
	if len(f.GetRoutes()) > MaxRoutes {
		return f.invalid("routes", "%d are more than the %d that a function may have", len(f.GetRoutes()), MaxRoutes)
	}
	var seen []Route
	for _, text := range f.GetRoutes() {
		r, err := ParseRoute(text)
		if err != nil {
			return f.invalid("routes", "%v", err)
		}
		if slices.Contains(seen, r) {
			return f.invalid("routes", "%s is given twice", r)
		}
		seen = append(seen, r)
	}
	return nil
}
