package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/rates"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// How fast one caller may ask for anything but functions. No person, CI or dashboard
// comes near it, but a script without a pause does.
const (
	maxRate = 100 // requests a second, for as long as it likes
	// maxBurst are the requests that may come at once: a deploy of wire.MaxFunctions
	// functions makes up to four for each.
	maxBurst = 5 * wire.MaxFunctions
	// maxMetered bounds the callers that are remembered.
	maxMetered = 4096
)

// newRates returns what bounds how fast callers ask.
func newRates() *rates.Limiter {
	return &rates.Limiter{Every: time.Second / maxRate, Burst: maxBurst, Most: maxMetered}
}

// metered returns a name for the caller of a request, so that its requests are counted
// together: that of its token, or else of its peer. It is "" for callers whose requests are
// not counted: this program's own user, and proxies with a certificate, which ask for all of
// their callers.
func (r request) metered(e *end) string {
	switch {
	case r.role.Kind == pki.Proxy, r.who == nil && r.local == own && r.forwarded == "":
		return ""
	case r.who != nil, r.role.Kind == pki.Agent:
		return r.caller()
	}
	return peerOf(r.peer, e)
}

// meter refuses a request of a caller that asks too fast. Calls of functions are not
// counted, nor questions whether this program is alive.
func (s *server) meter(w http.ResponseWriter, r *http.Request, asked request) error {
	if _, isCall := routeOf(r); asked.scope == wire.ScopeInvoke || asked.scope == wire.ScopeOpen && !isCall {
		return nil
	}
	caller := asked.metered(connOf(r).end)
	if caller == "" {
		return nil
	}
	wait := s.rates.Take(caller, time.Now())
	if wait <= 0 {
		return nil
	}
	w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	return proto.Errorf(proto.ErrTooMany, "%s asks more than %d times a second", caller, maxRate).
		WithHint("wait a second; calls of functions are not counted")
}

// Whose returns a name for the caller of r, so that its calls are counted together: that of
// its token, or else of its peer, as gateways that are believed tell it. It is for handlers
// of mounts with ScopeInvoke.
func Whose(r *http.Request) string {
	if b := bearerOf(r); b.who != nil {
		return b.who.String()
	}
	return peerOf(r.RemoteAddr, connOf(r).end)
}
