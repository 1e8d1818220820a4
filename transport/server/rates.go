package server

import (
	"net/http"
	"strconv"
	"sync"
	"time"

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

// rates bounds how fast callers ask: each may make maxBurst requests at once, and gets
// maxRate of them back a second (the generic cell rate algorithm of ITU-T I.371). The zero
// value is ready for use.
type rates struct {
	mu sync.Mutex
	// full says when a caller has all of its burst again. One that is not there has it.
	full map[string]time.Time // mu guards it
}

// take counts a request of a caller. It returns how long the caller must wait before its
// next, 0 if this one is to be served.
func (r *rates) take(caller string, now time.Time) (wait time.Duration) {
	const each = time.Second / maxRate
	r.mu.Lock()
	defer r.mu.Unlock()
	full, known := r.full[caller]
	if full.Before(now) {
		full = now
	}
	full = full.Add(each)
	if wait = full.Sub(now) - maxBurst*each; wait > 0 {
		return wait
	}
	if r.full == nil {
		r.full = make(map[string]time.Time)
	}
	if !known && len(r.full) >= maxMetered {
		r.forget()
	}
	r.full[caller] = full
	return 0
}

// forget makes room for one caller. Of a few, which the order of a map chooses at random,
// it removes the one that has its burst first: to look at all would let strangers with
// many addresses slow down everybody.
func (r *rates) forget() {
	const few = 16
	var first string
	looked := 0
	for caller, full := range r.full {
		if first == "" || full.Before(r.full[first]) {
			first = caller
		}
		if looked++; looked == few {
			break
		}
	}
	delete(r.full, first)
}

// metered returns whose requests are counted together: a token's, or else a peer's. It is
// "" for those that are not counted: of this program's own user, and of proxies that have
// a certificate, which ask for all of their callers.
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
	wait := s.rates.take(caller, time.Now())
	if wait <= 0 {
		return nil
	}
	w.Header().Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	return proto.Errorf(proto.ErrTooMany, "%s asks more than %d times a second", caller, maxRate).
		WithHint("wait a second; calls of functions are not counted")
}
