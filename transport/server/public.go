package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// publicListener is a listener for everybody. Its trusted peers may say, at the
// beginning of a connection, whose it is.
type publicListener struct {
	net.Listener
	gateways gateways
}

// Accept implements net.Listener.
func (l publicListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if peer, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil && l.gateways.trust(peer.Addr()) {
		return &preludeConn{Conn: conn}, nil
	}
	return conn, nil
}

// isPublic reports whether a request came by a listener for everybody.
func isPublic(r *http.Request) bool {
	conn := connOf(r)
	return conn != nil && conn.public
}

// servePublic serves the functions alone: no other path is there, and no right comes
// from where the caller is.
func (s *server) servePublic(w http.ResponseWriter, r *http.Request) {
	gateways(s.cfg.Gateways).apply(r)
	if s.cfg.TLS != nil {
		if r.TLS == nil && s.cfg.Challenge != nil && s.cfg.Challenge(w, r) {
			return
		}
		if r.TLS == nil && r.URL.Scheme != "https" {
			redirect(w, r)
			return
		}
		w.Header().Set("Strict-Transport-Security", strictTransport)
	}
	r = s.access.take(r)
	mount := s.mountOf(r)
	if mount == nil || mount.Scope != wire.ScopeInvoke {
		refuse(w, r, nothingHere)
		return
	}
	mount.ServeHTTP(w, r)
}

// strictTransport tells browsers for half a year to come by TLS alone (RFC 6797).
const strictTransport = "max-age=15552000"

// redirect answers a request that came without TLS with the same url by TLS: at the same
// port, which takes both, or, from the port of plain HTTP, at that of HTTPS.
func redirect(w http.ResponseWriter, r *http.Request) {
	if r.Host == "" || !strings.HasPrefix(r.RequestURI, "/") || wire.IsGRPC(r) { // which knows no redirects
		refuse(w, r, proto.Errorf(proto.ErrInvalid, "this is served over TLS, at https://"))
		return
	}
	w.Header().Set("Location", "https://"+strings.TrimSuffix(r.Host, ":80")+r.RequestURI)
	w.WriteHeader(http.StatusPermanentRedirect)
}

// nothingHere is the error for all that callers of a public listener may not see: it
// must not tell what exists.
var nothingHere = proto.Errorf(proto.ErrNotFound, "there is no such public function").
	WithHint("functions that are not public are called with a token").From("gateway", "not_found")

// apply makes a request look as if the client had sent it to us itself: with its
// address, scheme and host.
func (g gateways) apply(r *http.Request) {
	o, ok := g.origin(connOf(r), r.Header)
	if !ok {
		return
	}
	r.RemoteAddr = o.client.String()
	if o.scheme != "" {
		r.URL.Scheme = o.scheme
	}
	if o.host != "" {
		r.Host = o.host
	}
}

// origin returns where a request comes from, given its headers; false if the connection's
// other end has no address.
func (g gateways) origin(c *framedConn, h http.Header) (origin, bool) {
	peer, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return origin{}, false
	}
	var before origin
	if c.prelude != nil {
		if said := c.prelude.origin.Load(); said != nil {
			before, peer = *said, said.client
		}
	}
	o := g.originOf(h, peer)
	if o.scheme == "" {
		o.scheme = before.scheme
	}
	return o, true
}
