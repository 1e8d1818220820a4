package transport

import (
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

// guard is the one place that decides who may call, over gRPC and HTTP alike.
//
// Without credentials it protects: peers must be on this machine. That alone
// does not stop web pages, which a browser on this machine loads from anywhere,
// so the host that they address must be one of our own (a page whose name was
// rebound to 127.0.0.1 addresses its own name), and unsafe calls must not come
// from a foreign origin. Nor does it stop callers of a reverse proxy on this
// machine, which all look local: they may call functions, not control them.
type guard struct {
	insecure bool     // let everybody in
	hosts    []string // own names besides the loopback ones, lower case
	origins  *http.CrossOriginProtection
}

func newGuard(cfg ServerConfig) *guard {
	g := &guard{insecure: cfg.Insecure, origins: http.NewCrossOriginProtection()}
	for _, h := range cfg.Hosts {
		g.hosts = append(g.hosts, hostOnly(h))
	}
	return g
}

// check returns the ErrForbidden that a request deserves, or nil.
func (g *guard) check(r *http.Request) error {
	if g.insecure || isHealth(r) {
		return nil
	}
	if !peerIsLoopback(r) {
		return forbidden("callers on other machines are refused, and %s is one", r.RemoteAddr).
			WithHint("call from this machine, for example through ssh -L; on a trusted network, start with -insecure")
	}
	if !g.ownHost(r.Host) {
		return forbidden("the host %.100q is none of this machine's own names", r.Host).
			WithHint("address localhost; behind a trusted gateway, start with -insecure")
	}
	function := isFunction(r)
	// A page that is developed on this machine calls functions from another port.
	if ownSite := function && r.Header.Get("Sec-Fetch-Site") == "same-site"; !ownSite && g.origins.Check(r) != nil {
		return forbidden("a web page of another origin may not call this machine").
			WithHint("call with curl or proxyCli; on a trusted network, start with -insecure")
	}
	if function {
		return nil
	}
	if header := forwardedBy(r); header != "" {
		return forbidden("calls that came through a gateway (header %s) may not control functions", header).
			WithHint("call directly; behind a gateway that keeps strangers out, start with -insecure")
	}
	return nil
}

func (g *guard) ownHost(host string) bool {
	name := hostOnly(host)
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.Unmap().IsLoopback() || slices.Contains(g.hosts, name)
}

// hostOnly returns the host of a host with or without a port.
func hostOnly(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	return strings.ToLower(strings.Trim(s, "[]"))
}

func isHealth(r *http.Request) bool {
	return r.URL.Path == healthzPath || r.URL.Path == readyzPath || strings.HasPrefix(r.URL.Path, "/grpc.health.v1.Health/")
}

// isFunction reports whether r calls a function rather than the platform. It
// looks at the path as it came: what is unescaped later cannot pass for it.
func isFunction(r *http.Request) bool {
	return !isGRPC(r) && strings.HasPrefix(r.URL.EscapedPath(), functionsPath)
}

func forbidden(format string, args ...any) *proto.Error {
	return proto.Errorf(proto.ErrForbidden, format, args...)
}

// refuse answers a request that reaches no handler, in the form of its protocol.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	if !isGRPC(r) {
		WriteError(w, err)
		return
	}
	// A gRPC answer without messages is its trailers, sent as headers:
	// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
	st := toStatus(err)
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(int(st.Code())))
	h.Set("Grpc-Message", url.PathEscape(st.Message()))
	if data, err := protobuf.Marshal(st.Proto()); err == nil {
		h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(data))
	}
	w.WriteHeader(http.StatusOK)
}
