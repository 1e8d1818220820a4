package server

import (
	"context"
	"net/http"
	"net/netip"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/auth"
)

// bearer is what the token of a request says.
type bearer struct {
	who   *auth.Identity // nil: there is no token, or it is wrong
	wrong error          // why it is
	clear bool           // it came from another machine and was not encrypted
}

type bearerKey struct{}

// bearerOf returns what take found.
func bearerOf(r *http.Request) bearer {
	b, _ := r.Context().Value(bearerKey{}).(bearer)
	return b
}

const authorization = "Authorization"

// take looks at the token that a request has, and returns the request without it: no
// function may see the token of its caller. Values that are none of ours stay. A wrong
// token takes its time.
func (a access) take(r *http.Request) *http.Request {
	ours := func(value string) bool { return auth.FromHeader(value) != "" }
	values := r.Header[authorization]
	i := slices.IndexFunc(values, ours)
	if i < 0 {
		return r
	}
	e := connOf(r).end
	b := a.verify(r.Context(), auth.FromHeader(values[i]), peerOf(r.RemoteAddr, e))
	scheme := r.URL.Scheme
	if r.TLS != nil {
		scheme = "https"
	}
	b.clear = a.inClear(e, r.RemoteAddr, scheme)
	if r.Header[authorization] = slices.DeleteFunc(values, ours); len(r.Header[authorization]) == 0 {
		r.Header.Del(authorization)
	}
	return r.WithContext(context.WithValue(r.Context(), bearerKey{}, b))
}

// inClear reports whether what a caller sends may be read on its way. The other end is nil
// where the kernel was not asked.
func (a access) inClear(e *end, peer, scheme string) bool {
	addr, _ := netip.ParseAddrPort(peer)
	far := !addr.Addr().Unmap().IsLoopback()
	if e != nil {
		far = e.local == elsewhere
	}
	return !a.insecure && far && scheme != "https"
}

// verify asks whose a token is. A right one never waits: behind a gateway many callers
// are one peer.
func (a access) verify(ctx context.Context, secret, peer string) (b bearer) {
	if a.tokens == nil {
		b.wrong = errTokenless
	} else {
		b.who, b.wrong = a.tokens.Verify(secret)
	}
	if b.wrong != nil && !a.patience.Wrong(ctx, peer) {
		b.wrong = proto.Errorf(proto.ErrTooMany, "too many wrong tokens from %s", peer).WithHint("call again in a few seconds")
	}
	return b
}

var errTokenless = unauthenticated("this server knows no tokens")

// errClear tells a caller that its token may have been read on its way.
var errClear = proto.Errorf(proto.ErrForbidden, "the token came over a connection that is not encrypted").
	WithHint("revoke it, since others may have read it; call by https, or through ssh -L")
