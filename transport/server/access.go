package server

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
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// access is the one place that decides which callers are let in, over gRPC and HTTP
// alike.
//
// It works without credentials: peers must be on this machine. That alone does not
// keep out web pages, which a browser on this machine loads from anywhere. So the host
// that they address must be a name of this machine (a page whose name was rebound to
// 127.0.0.1 addresses its own name), and unsafe requests must not come from a foreign
// origin. Nor does it keep out callers of a reverse proxy on this machine, which all
// look local: they may call functions, not control them.
type access struct {
	insecure bool     // let everybody in
	hosts    []string // own names besides the loopback ones, lower case
}

func newAccess(insecure bool, hosts []string) access {
	a := access{insecure: insecure}
	for _, h := range hosts {
		a.hosts = append(a.hosts, hostOnly(h))
	}
	return a
}

// request is what is decided upon.
type request struct {
	peer      string // host:port of the other end of the connection
	host      string // that the caller addressed
	page      page   // the web page that sends it
	forwarded string // a header that a reverse proxy has set; "": there is none
	scope     wire.Scope
}

// page says which web page, if any, sends a request.
type page int

const (
	noPage   page = iota // no page, or one of the addressed host, or a safe request
	samePage             // one of the same site at another port
	foreignPage
)

// check returns the ErrForbidden that a request deserves, or nil.
func (a access) check(r request) error {
	switch {
	case a.insecure || r.scope == wire.ScopeOpen:
		return nil
	case !isLoopback(r.peer):
		return forbidden("callers on other machines are refused; %s is one", r.peer).
			WithHint("call from this machine, for example through ssh -L; on a trusted network, start with -insecure")
	case !a.ownHost(r.host):
		return forbidden("the host %.100q is not one of this machine's own names", r.host).
			WithHint("address localhost; behind a trusted gateway, start with -insecure")
	// A page that is developed on this machine calls functions from another port.
	case r.page == foreignPage, r.page == samePage && r.scope != wire.ScopeInvoke:
		return forbidden("a web page of another origin may not call this machine").
			WithHint("call with curl or proxyCli; on a trusted network, start with -insecure")
	case r.forwarded != "" && r.scope != wire.ScopeInvoke:
		return forbidden("calls that came through a gateway (header %s) may not control functions", r.forwarded).
			WithHint("call directly; behind a gateway that keeps strangers out, start with -insecure")
	}
	return nil
}

// Admit returns why the caller of r may not call a function, nil when it may. It is for
// handlers of mounts with ScopeInvoke. A function that is not there is asked for as one
// that is not public: to those who may not call it, both look alike.
func Admit(r *http.Request, _ string, public bool) error {
	if isPublic(r) && !public {
		return nothingHere
	}
	return nil
}

// Stranger reports whether the caller of r may not know more of a function than its
// answers. It is for handlers of mounts with ScopeInvoke.
func Stranger(r *http.Request) bool { return isPublic(r) }

func (a access) ownHost(host string) bool {
	name := hostOnly(host)
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.Unmap().IsLoopback() || slices.Contains(a.hosts, name)
}

// hostOnly returns the host of a host with or without a port.
func hostOnly(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	return strings.ToLower(strings.Trim(s, "[]"))
}

func isLoopback(peer string) bool {
	addr, err := netip.ParseAddrPort(peer)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// requestOf returns what is decided upon for an HTTP request.
func requestOf(r *http.Request, scope wire.Scope) request {
	return request{peer: r.RemoteAddr, host: r.Host, page: pageOf(r), forwarded: forwardedBy(r), scope: scope}
}

var crossOrigin = http.NewCrossOriginProtection()

func pageOf(r *http.Request) page {
	switch {
	case crossOrigin.Check(r) == nil:
		return noPage
	case r.Header.Get("Sec-Fetch-Site") == "same-site":
		return samePage
	}
	return foreignPage
}

// forwardedBy returns the first header of r that a reverse proxy sets, "" for none.
func forwardedBy(r *http.Request) string {
	for name := range r.Header {
		if name == "Forwarded" || name == "Via" || strings.HasPrefix(name, "X-Forwarded-") {
			return name
		}
	}
	return ""
}

func forbidden(format string, args ...any) *proto.Error {
	return proto.Errorf(proto.ErrForbidden, format, args...)
}

// refuse answers a request that reaches no handler, in the form of its protocol.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	id := proto.RequestID(r.Header.Get(proto.RequestIDHeader))
	w.Header().Set(proto.RequestIDHeader, id)
	if !isGRPC(r) {
		wire.WriteError(w, err)
		return
	}
	// A gRPC answer without messages is its trailers, sent as headers:
	// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#responses
	st := wire.ToStatus(ofRequest(id, err))
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(int(st.Code())))
	h.Set("Grpc-Message", url.PathEscape(st.Message()))
	if data, err := protobuf.Marshal(st.Proto()); err == nil {
		h.Set("Grpc-Status-Details-Bin", base64.RawStdEncoding.EncodeToString(data))
	}
	w.WriteHeader(http.StatusOK)
}
