package server

import (
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// access is the one place that decides which callers are let in, over gRPC and HTTP
// alike.
//
// Without a token peers must be on this machine. That alone does not
// keep out web pages, which a browser on this machine loads from anywhere. So the host
// that they address must be a name of this machine (a page whose name was rebound to
// 127.0.0.1 addresses its own name), and unsafe requests must not come from a foreign
// origin. Nor does it keep out callers of a reverse proxy on this machine, which all
// look local: they may call functions, not control them.
type access struct {
	insecure bool     // let everybody in
	hosts    []string // own names besides the loopback ones, lower case
	tokens   *auth.Keeper
	patience *auth.Patience
}

func newAccess(cfg *Config) access {
	a := access{insecure: cfg.Insecure, tokens: cfg.Tokens, patience: new(auth.Patience)}
	for _, h := range cfg.Hosts {
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
	bearer    // the token that it has
}

// own reports whether the caller is of this machine and may do everything there.
func (r request) own() bool { return isLoopback(r.peer) && r.forwarded == "" }

// page says which web page, if any, sends a request.
type page int

const (
	noPage   page = iota // no page, or one of the addressed host, or a safe request
	samePage             // one of the same site at another port
	foreignPage
)

// check returns the error that a request deserves, or nil and the token without which
// it would not be let in: nil for a caller that needs none. Of requests for functions it
// refuses those that may call none; admit decides on the others.
func (a access) check(r request) (*auth.Identity, error) {
	if r.scope == wire.ScopeOpen {
		return nil, nil
	}
	if r.wrong != nil {
		return nil, r.wrong
	}
	err := a.without(r)
	switch {
	case err == nil || r.who == nil:
		return nil, err
	case r.clear:
		return nil, errClear
	case !r.who.May(r.scope):
		return nil, forbidden("%s has the scope %s; this takes %s", r.who, r.who.ScopeNames(), r.scope).
			WithHint("take another token, or make one: proxyCli token create -scope " + string(r.scope))
	}
	return r.who, nil
}

// admit returns why a caller, which check has let in, may not call a function, or nil.
// Everybody says that it came by a listener for everybody, where nothing comes from
// where a caller is.
func (a access) admit(r request, name string, public, everybody bool) error {
	switch {
	case r.wrong != nil:
		return r.wrong
	case public:
		return nil
	case !everybody && (a.insecure || r.own()):
		return nil
	case r.who != nil && r.clear:
		return errClear
	case r.who != nil && !r.who.May(wire.ScopeInvoke):
		return forbidden("%s has the scope %s; to call a function takes invoke", r.who, r.who.ScopeNames()).
			WithHint("take another token, or make one: proxyCli token create -scope invoke")
	case r.who != nil && !r.who.For(name):
		return forbidden("%s is for other functions", r.who).WithHint("proxyCli token list shows for which")
	case r.who != nil:
		return nil
	case everybody:
		return nothingHere
	}
	return proto.Errorf(proto.ErrUnauthenticated, "the function %.100q is private, or there is none", name).
		WithHint("send a token with the scope invoke, as Authorization: Bearer; or deploy it with -auth public")
}

// without returns the error that a request without a token deserves, or nil.
func (a access) without(r request) error {
	switch {
	case a.insecure:
		return nil
	case !isLoopback(r.peer):
		return unauthenticated("callers on other machines need a token; %s sent none", r.peer).
			WithHint("log in with proxyCli login, or set RYO_TOKEN; or call from this machine, for example through ssh -L; on a trusted network, start the server with -insecure")
	case !a.ownHost(r.host):
		return forbidden("the host %.100q is not one of this machine's own names", r.host).
			WithHint("address localhost; behind a trusted gateway, start with -insecure")
	// A page that is developed on this machine calls functions from another port.
	case r.page == foreignPage, r.page == samePage && r.scope != wire.ScopeInvoke:
		return forbidden("a web page of another origin may not call this machine").
			WithHint("call with curl or proxyCli; on a trusted network, start with -insecure")
	case r.forwarded != "" && r.scope != wire.ScopeInvoke:
		return unauthenticated("calls that came through a gateway (header %s) need a token to control functions", r.forwarded).
			WithHint("log in with proxyCli login, or set RYO_TOKEN; or call directly; behind a gateway that keeps strangers out, start the server with -insecure")
	}
	return nil
}

// Admit returns why the caller of r may not call a function, nil when it may. It is for
// handlers of mounts with ScopeInvoke. A function that is not there is asked for as one
// that is not public: to those who may not call it, both look alike.
func Admit(r *http.Request, name string, public bool) error {
	a, ok := r.Context().Value(accessKey{}).(access)
	if !ok {
		return nothingHere
	}
	return a.admit(requestOf(r, wire.ScopeInvoke), name, public, isPublic(r))
}

// Stranger reports whether the caller of r may not know more of a function than its
// answers. It is for handlers of mounts with ScopeInvoke.
func Stranger(r *http.Request) bool { return isPublic(r) }

// accessKey is the key under which the context of a request has what decides on it.
type accessKey struct{}

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
	return request{peer: r.RemoteAddr, host: r.Host, page: pageOf(r), forwarded: forwardedBy(r), scope: scope, bearer: bearerOf(r)}
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

func unauthenticated(format string, args ...any) *proto.Error {
	return proto.Errorf(proto.ErrUnauthenticated, format, args...)
}

func forbidden(format string, args ...any) *proto.Error {
	return proto.Errorf(proto.ErrForbidden, format, args...)
}

// refuse answers a request that reaches no handler, in the form of its protocol.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	id := proto.RequestID(r.Header.Get(proto.RequestIDHeader))
	w.Header().Set(proto.RequestIDHeader, id)
	if errors.Is(err, proto.ErrUnauthenticated) {
		w.Header().Set("WWW-Authenticate", "Bearer") // RFC 6750 section 3
	}
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
