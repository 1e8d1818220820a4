package gateway

import (
	"io"
	"net/http"
	"net/netip"
	"slices"

	"github.com/Ishan27g/ryo-faas/internal/rates"
	"github.com/Ishan27g/ryo-faas/proto"
)

// rateCallers bounds the callers of one function that are remembered for its rate: half a
// MiB. Where there are more, those go first that have called the least of late. So callers
// with thousands of addresses are not slowed down, each of which may call anyway.
const rateCallers = 4096

// edge is what the settings of a function ask of its calls, before one reaches it. Most
// functions have none. A call finds it as it will stay.
type edge struct {
	body  int64            // bytes of a request's body, at most; 0: any number
	allow [][]netip.Prefix // a caller's address is in each of these; none: it may be any
	rate  proto.Rate
	meter *rates.Limiter // of rate; nil: there is none

	compress bool // answers are compressed for callers who ask for that
}

// with returns the edge with what a replica's row says. While settings change, the rows of
// replicas differ, and the last one counts; but who may call must suit all of them.
func (e *edge) with(row *proto.FunctionJsonRsp) *edge {
	said := &proto.FunctionJson{Body: row.GetBody(), Rate: row.GetRate(), AllowIps: row.GetAllowIps()}
	if said.GetBody() == "" && said.GetRate() == "" && len(said.GetAllowIps()) == 0 && !row.GetCompress() {
		return e
	}
	var next edge
	if e != nil {
		next = *e
	}
	// What this proxy cannot read is of a newer agent. Nobody is let in by it.
	next.body, _ = said.BodyLimit(proto.KindHTTP) // the function sees to it, too
	next.rate, _ = said.RateLimit()
	next.compress = row.GetCompress()
	if len(said.GetAllowIps()) > 0 {
		networks, _ := said.AllowedIPs()
		next.allow = append(slices.Clip(next.allow), networks)
	}
	return &next
}

// remember gives a route what the one before, which may be nil, knows of its callers:
// changes that do not concern their rate give nobody a new burst.
func (rt *route) remember(before *route) {
	e := rt.edge
	switch {
	case e == nil || e.rate == proto.Rate{}:
	case before != nil && before.name == rt.name && before.edge != nil && before.edge.rate == e.rate:
		e.meter = before.edge.meter
	default:
		e.meter = &rates.Limiter{Every: e.rate.Every, Burst: e.rate.Burst, Most: rateCallers}
	}
}

// plain says whether a call with a body of a length can take the fast lane: nothing else
// is asked of it.
func (e *edge) plain(length int64) bool {
	return e == nil || e.meter == nil && e.allow == nil && !e.compress && (e.body == 0 || length <= e.body)
}

// guard returns why the call may not reach the function, whatever becomes of that. No
// process is woken before.
func (c *call) guard() error {
	e := c.route.edge
	if e == nil || c.later != nil {
		return nil
	}
	if at := addressOf(c.in); !e.allows(at) {
		return proto.Errorf(proto.ErrForbidden, "function %q may not be called from %s", c.route.name, at).
			WithHint(`its setting "allowIPs" says from where it may`).From("caller", "address")
	}
	if e.meter != nil {
		if c.wait = e.meter.Take(c.Whose(c.in), c.begun); c.wait > 0 {
			return proto.Errorf(proto.ErrTooMany, "function %q is called too often by one caller", c.route.name).
				WithHint(`its setting "rate" says how often it may be; Retry-After says when to call again`).From("caller", "rate")
		}
	}
	if e.body > 0 && c.in.ContentLength > e.body {
		return e.tooLarge(c.route.name)
	}
	return nil
}

// addressOf returns the address of a request's caller; the zero value is in no network.
func addressOf(r *http.Request) netip.Addr {
	at, _ := netip.ParseAddrPort(r.RemoteAddr)
	return at.Addr().Unmap().WithZone("")
}

func (e *edge) allows(at netip.Addr) bool {
	for _, networks := range e.allow {
		if !slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(at) }) {
			return false
		}
	}
	return true
}

// capped returns a body of unknown length that fails where it is longer than the function
// takes. The function has not seen its end then, and cannot take the part for the whole.
func (c *call) capped(body io.ReadCloser) io.Reader {
	if e := c.route.edge; e != nil && e.body > 0 {
		return http.MaxBytesReader(nil, body, e.body)
	}
	return body
}

func (e *edge) tooLarge(name string) *proto.Error {
	return proto.Errorf(proto.ErrTooLarge, "the body is larger than %d bytes, the most that function %q takes", e.body, name).
		WithHint(`its setting "body" is the limit`).From("caller", "body")
}
