package gateway

import (
	"bytes"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/http1"
)

// site is a route of a function's own: what lies below a path of a host.
type site struct {
	path     string // "" or as proto.Route has it
	function string // its path in the table
}

// sites are the sites of each host, those with the longest paths first.
type sites map[string][]site

// at returns the site of exactly a route.
func (s sites) at(r proto.Route) (site, bool) {
	list := s[r.Host]
	i := slices.IndexFunc(list, func(s site) bool { return s.path == r.Path })
	if i < 0 {
		return site{}, false
	}
	return list[i], true
}

// find returns the site to which a path of a host belongs.
func (s sites) find(host string, path []byte) (site, bool) {
	for _, own := range s[host] {
		if rest, ok := bytes.CutPrefix(path, []byte(own.path)); ok && (len(rest) == 0 || rest[0] == '/') {
			return own, true
		}
	}
	return site{}, false
}

// settle returns which function has which site. One that had it before keeps it, among
// others the first by name gets it.
func settle(routes map[string]*route, before sites) sites {
	after := sites{}
	give := func(r proto.Route, function string) {
		if _, taken := after.at(r); !taken {
			after[r.Host] = append(after[r.Host], site{r.Path, function})
		}
	}
	// Each change of a row comes here, and few functions have sites.
	var paths []string
	for path, rt := range routes {
		if len(rt.sites) > 0 {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for _, kept := range []bool{true, false} {
		for _, path := range paths {
			for _, r := range routes[path].sites {
				if had, ok := before.at(r); !kept || ok && had.function == path {
					give(r, path)
				}
			}
		}
	}
	for _, list := range after {
		slices.SortFunc(list, func(a, b site) int { return len(b.path) - len(a.path) })
	}
	return after
}

// Owner returns the name of the function that has a route, "" for none.
func (t *Table) Owner(r proto.Route) string {
	own, ok := t.sites.Load().at(r)
	if rt := (*t.routes.Load())[own.function]; ok && rt != nil {
		return rt.name
	}
	return ""
}

// Hosts returns the hosts that have routes.
func (t *Table) Hosts() []string { return slices.Sorted(maps.Keys(*t.sites.Load())) }

// Sites serves the calls of functions by the routes of their own.
func (g *Gateway) Sites() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, true) })
}

// findSite takes the target of a call apart that came by a route of a function's own:
// the function's segment, "" for none, and what reaches it.
func (c *call) findSite() (segment, rest string, err error) {
	uri := c.in.RequestURI
	if !strings.HasPrefix(uri, "/") {
		return "", "", proto.Errorf(proto.ErrInvalid, "the request target must be a path")
	}
	if err := checkTarget(uri); err != nil {
		return "", "", err
	}
	own, ok := c.Table.sites.Load().find(hostName(c.in.Host), http1.Path([]byte(uri)))
	if !ok {
		return "", "", nil
	}
	c.prefix = own.path
	return own.function, uri[len(own.path):], nil
}

// hostName returns the host of a request, in lower case, without its port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}
