package server

import (
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// access is the one place that decides which callers are let in, over gRPC and HTTP
// alike.
//
// A caller without a token is whom the kernel says it is: processes of this program's
// own user, and of those that are trusted, are served. Other processes of this machine,
// and functions, may call public functions. Callers on other machines may ask whether
// the program is alive.
//
// That does not keep out web pages, which the browser of a person loads from anywhere.
// So the host that a request addresses must be a name that no stranger can have in
// the public DNS (a page whose name was rebound to 127.0.0.1 addresses its own), unsafe
// requests must not come from a foreign origin, and none that control functions from a page
// at this very address, which is one that a function has made. Nor does it keep out the callers
// of a gateway that runs as the same user: what one of its headers gives away is refused
// on top.
type access struct {
	insecure bool     // let everybody in, but for web pages
	hosts    []string // own names besides the loopback ones, lower case
	trust    Trust
	tokens   *auth.Keeper
	patience *auth.Patience
	// certificates verifies those of clients; nil: they are not looked at.
	certificates Certificates
}

func newAccess(cfg *Config) access {
	a := access{insecure: cfg.Insecure, trust: cfg.Trust, tokens: cfg.Tokens, patience: new(auth.Patience), certificates: cfg.Certificates}
	for _, h := range cfg.Hosts {
		a.hosts = append(a.hosts, hostOnly(h))
	}
	if h, err := os.Hostname(); err == nil {
		a.hosts = append(a.hosts, strings.ToLower(h))
	}
	return a
}

// request is what is decided upon.
type request struct {
	peer      string // host:port of the other end of the connection
	local     local  // whose it is
	uid       int    // of a process of this machine; -1: nobody knows
	host      string // that the caller addressed
	page      page   // the web page that sends it
	forwarded string // a header that a reverse proxy has set; "": there is none
	scope     wire.Scope
	bearer    // the token that it has
	// role is what a verified certificate of the caller says.
	role        pki.Role
	uncertified error // why a certificate that it has shown says nothing
}

// page says which web page, if any, sends a request.
type page int

const (
	noPage   page = iota // no page, or one that may: what it asks for changes nothing, and it cannot read the answer
	ownPage              // one at the addressed host and port, which a function has made, and could read the answer
	samePage             // one of the same site at another port
	foreignPage
)

// asks returns why a caller may ask nothing about calls of functions, or nil. Of which
// functions it may is decided when they are known.
func (a access) asks(r request) error {
	switch {
	case r.who == nil && r.role.Kind != pki.Proxy && r.page != noPage:
		return foreignOrigin
	case r.who == nil && r.role.Kind != pki.Proxy:
		return a.mine(r)
	}
	return a.admit(r, r.some(), false, false)
}

// some returns a function that the caller's token is for, if it is for some alone.
func (r request) some() string {
	if r.who != nil && len(r.who.Functions) > 0 {
		return r.who.Functions[0]
	}
	return ""
}

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
	if r.role.Kind == pki.Agent {
		return nil, forbidden("the certificate of agent %s is for itself: it controls nothing", r.role.ID).
			WithHint("proxyCli needs no certificate of an agent")
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
// everybody is true for a caller on a public listener, where the place that it calls from
// gives it no right.
func (a access) admit(r request, name string, public, everybody bool) error {
	switch {
	case r.wrong != nil:
		return r.wrong
	case public:
		return nil
	case !everybody && (r.role.Kind == pki.Proxy || a.private(r) == nil):
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
	case r.page == foreignPage:
		return foreignCall
	case name == "":
		return unauthenticated("calls are told to those who may call their functions").
			WithHint("send a token with the scope invoke, as Authorization: Bearer")
	}
	return unauthenticated("the function %.100q is private, or there is none", name).
		WithHint("send a token with the scope invoke, as Authorization: Bearer; or deploy it with -auth public")
}

// without returns the error that a request without a token deserves, or nil.
func (a access) without(r request) error {
	switch {
	case r.role.Kind == pki.Proxy:
		return nil
	case r.uncertified != nil && !a.insecure:
		return r.uncertified
	case r.local == elsewhere && !a.insecure:
		return unauthenticated("callers on other machines need a token; %s sent none", r.peer).
			WithHint("log in with proxyCli login, or set RYO_TOKEN; or call from this machine, for example through ssh -L; on a trusted network, start the server with -insecure")
	case !a.safeHost(r.host):
		return forbidden("the host %.100q is not one of this machine's own names", r.host).
			WithHint("address localhost or an IP address; -host of an agent and -url of a proxy name a machine")
	case r.scope == wire.ScopeInvoke: // admit decides, since it depends on the function
		return nil
	case r.page == ownPage:
		return functionsPage
	case r.page != noPage:
		return foreignOrigin
	}
	return a.mine(r)
}

// private returns why a caller without a token may not call private functions, or nil.
func (a access) private(r request) error {
	if r.page == foreignPage && !a.insecure { // but a page that is developed on this machine may call from another port
		return foreignCall
	}
	return a.mine(r)
}

var (
	foreignOrigin = forbidden("a web page of another origin may not call this machine").
			WithHint("call with curl or proxyCli")
	functionsPage = forbidden("a web page at this address, such as that of a function, may call functions, and ask for nothing else").
			WithHint("enter the address instead of following a link; call with curl or proxyCli; or send a token")
	foreignCall = forbidden("a web page of another site may not call private functions of this machine, nor lead to them").
			WithHint("enter the address instead of following a link; or deploy the function with -auth public")
)

// mine lets in processes that the kernel says are of this program's own user, or of one
// that is trusted.
func (a access) mine(r request) error {
	const ways = "log in with proxyCli login, or set RYO_TOKEN; or "
	switch {
	case a.insecure:
		return nil
	case r.local == function:
		return unauthenticated("functions, builds and other processes that are confined more than this server need a token").WithHint("give the function a token, in its setting secrets")
	case r.local < trusted && r.uid == os.Geteuid():
		return unauthenticated("processes that this server cannot see, such as those outside of its container, need a token").
			WithHint(ways + "call from where it runs; on a trusted network, start the server with -insecure")
	case r.local < trusted:
		return unauthenticated("%s need a token", userName(r.uid)).
			WithHint(ways + "call as the user that the server runs as; or start it with -trust and the user's name")
	case r.forwarded != "":
		return unauthenticated("calls that came through a gateway (header %s) need a token", r.forwarded).
			WithHint(ways + "call directly; behind a gateway that keeps strangers out, start the server with -insecure")
	}
	return nil
}

// Admit returns why the caller of r may not call a function, nil when it may. It is for
// handlers of mounts with ScopeInvoke. A function that is not there is asked for as one
// that is not public: to those who may not call it, both look alike. The name "" is that
// of no function: those may call it who may call all.
func Admit(r *http.Request, name string, public bool) error {
	a, ok := r.Context().Value(accessKey{}).(access)
	if !ok {
		return nothingHere
	}
	whose := elsewhere
	if e := connOf(r).end; e != nil && !public && !a.insecure {
		whose = e.surely()
	}
	return a.admit(a.requestOf(r, wire.ScopeInvoke, whose), name, public, isPublic(r))
}

// Stranger reports whether the caller of r may not know more of a function than its
// answers. It is for handlers of mounts with ScopeInvoke.
func Stranger(r *http.Request) bool {
	a, _ := r.Context().Value(accessKey{}).(access)
	e := connOf(r).end
	return e == nil || e.local < trusted && !a.insecure
}

// accessKey is the key under which the context of a request has what decides on it.
type accessKey struct{}

// ownHost reports whether a host is a name of this machine.
func (a access) ownHost(host string) bool {
	name := hostOnly(host)
	ip, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && ip.Unmap().IsLoopback() || slices.Contains(a.hosts, name)
}

// safeHost reports whether a host is not of the public DNS, in which pages have their
// names: an address, a name without a dot, or one that is reserved for networks of their
// own (RFC 6762, RFC 8375, and .internal by resolution of ICANN's board); or an own one.
func (a access) safeHost(host string) bool {
	name := hostOnly(host)
	_, err := netip.ParseAddr(name)
	return err == nil || !strings.Contains(strings.TrimSuffix(name, "."), ".") || a.ownHost(host) ||
		slices.ContainsFunc([]string{".localhost", ".local", ".home.arpa", ".internal"}, func(end string) bool { return strings.HasSuffix(name, end) })
}

// hostOnly returns the host of a host with or without a port.
func hostOnly(s string) string {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	return strings.ToLower(strings.Trim(s, "[]"))
}

// requestOf returns what is decided upon for an HTTP request.
func (a access) requestOf(r *http.Request, scope wire.Scope, whose local) request {
	asked := request{peer: r.RemoteAddr, local: whose, host: r.Host, page: pageOf(r, scope), forwarded: forwardedBy(r), scope: scope, bearer: bearerOf(r)}
	if e := connOf(r).end; e != nil {
		asked.uid = e.peer.UID
	}
	asked.role, asked.uncertified = a.roleOf(r)
	return asked
}

var crossOrigin = http.NewCrossOriginProtection()

// pageOf returns the web page that sends a request. A GET of a function may have effects,
// as a POST has, though the page cannot read what is answered. That of the addressed host
// itself could read it; functions may call each other.
func pageOf(r *http.Request, scope wire.Scope) page {
	unsafe := &http.Request{Method: http.MethodPost, Host: r.Host, Header: r.Header, URL: r.URL}
	judged := r
	if scope == wire.ScopeInvoke {
		judged = unsafe
	}
	site := r.Header.Get("Sec-Fetch-Site") // which older browsers do not send
	within, _ := r.Context().Value(withinKey{}).(bool)
	same := (site == "same-origin" || site == "" && r.Header.Get("Origin") != "") && crossOrigin.Check(unsafe) == nil
	switch {
	case same && scope != wire.ScopeInvoke && !within:
		return ownPage
	case crossOrigin.Check(judged) == nil:
		return noPage
	case site == "same-site":
		return samePage
	}
	return foreignPage
}

// saysGateway reports whether a header is one that reverse proxies set.
func saysGateway(name string) bool {
	return name == "Forwarded" || name == "Via" || strings.HasPrefix(name, "X-Forwarded-")
}

// forwardedBy returns a header of r that a reverse proxy has set, "" for none.
func forwardedBy(r *http.Request) string {
	for name := range r.Header {
		if saysGateway(name) {
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
	w.Header().Set(proto.RequestIDHeader, proto.RequestID(r.Header.Get(proto.RequestIDHeader)))
	wire.Refuse(w, r, err)
}
