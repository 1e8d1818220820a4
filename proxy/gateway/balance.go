package gateway

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
)

// balance sets the step, so that of total calls in a row each version gets as many as
// it weighs, spread among those of the others.
func (rt *route) balance() {
	divisor := rt.total
	for _, v := range rt.versions {
		divisor = gcd(divisor, v.weight)
	}
	if divisor > 1 {
		rt.total /= divisor
		for _, v := range rt.versions {
			v.weight /= divisor
		}
	}
	// With the golden ratio the fewest neighbours are alike; without a common divisor
	// every place is visited.
	rt.step = max(1, uint32(float64(rt.total)/math.Phi))
	for gcd(rt.step, rt.total) > 1 {
		rt.step--
	}
}

func gcd(a, b uint32) uint32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// choose returns the version for a call that names none, by weight. It is for routes
// that are ready.
func (rt *route) choose() *version {
	if len(rt.versions) == 1 {
		return rt.versions[0]
	}
	place := uint32(uint64(rt.calls.turn.Add(1)) * uint64(rt.step) % uint64(rt.total))
	for _, v := range rt.versions {
		if place < v.weight {
			return v
		}
		place -= v.weight
	}
	return rt.versions[0] // not reached: the weights add up to total
}

// picker finds a replica for one call, and another one if nothing of the call reached
// the first. It knows nothing of HTTP.
type picker struct {
	route  *route
	number uint32 // of the version that the caller named; 0: none
	chosen *version
	served *version // that of the target
	target *target  // counts the call as in flight; nil: none
	tried  []*target
	asked  int // how many targets were returned

	gate    *gate   // that has let the call through
	place   *target // where it has a place; nil: nowhere
	entered bool    // target is the one that the gate has chosen
}

// next returns a replica that was not tried, and counts the call as in flight there;
// nil when all were tried. It prefers replicas that are available, then those of the
// chosen version. If the caller named no version, one of another comes before none.
func (p *picker) next() *target {
	if p.entered {
		p.entered = false
		return p.target
	}
	if p.target != nil {
		p.tried = append(p.tried, p.target)
	}
	t := p.untried()
	if t == nil && p.renew() {
		t = p.untried()
	}
	return t // if it is nil, target is the last one, for what callers are told
}

// renew takes the route that the path has by now, if it is another one: while the call was
// on its way, the function may have moved.
func (p *picker) renew() bool {
	rt := (*p.route.table.routes.Load())[proto.Path(p.route.name)]
	if rt == nil || rt == p.route {
		return false
	}
	chosen := rt.version(p.number)
	if p.number == 0 && rt.unready == nil {
		chosen = rt.choose()
	}
	if chosen == nil {
		return false
	}
	p.route, p.chosen = rt, chosen
	return true
}

func (p *picker) untried() *target {
	for _, fits := range [...]func(*target) bool{(*target).available, nil} {
		t, of := p.chosen.pick(p.tried, fits), p.chosen
		for _, v := range p.route.versions {
			if t == nil && p.number == 0 && v.weight > 0 && v != p.chosen {
				t, of = v.pick(p.tried, fits), v
			}
		}
		if t != nil {
			if p.target != nil {
				p.target.inFlight.Add(-1)
			}
			if p.place != nil {
				p.gate.move(p.place, t)
				p.place = t
			}
			t.inFlight.Add(1)
			p.target, p.served = t, of
			p.asked++
			return t
		}
	}
	return nil
}

// release takes the call out of its target's count, and gives its place back.
func (p *picker) release() {
	p.vacate()
	if p.target != nil {
		p.target.inFlight.Add(-1)
		p.target = nil
	}
}

// vacate gives the call's place back, once the function has done its part.
func (p *picker) vacate() {
	if p.place != nil {
		p.gate.vacate(p.place)
		p.place = nil
	}
}

// pick returns, of two replicas, the one with fewer calls in flight (Mitzenmacher, The
// Power of Two Choices in Randomized Load Balancing, 2001); nil when none that was not
// tried fits. nil fits all. One of the two is taken in turn, so that equals get equally
// many calls, and the other by chance.
func (v *version) pick(tried []*target, fits func(*target) bool) *target {
	usable := func(t *target) bool { return (fits == nil || fits(t)) && !slices.Contains(tried, t) }
	n := len(v.targets)
	first := 0
	if n > 1 {
		first = int(v.turn.Add(1) % uint32(n)) //nolint:gosec // few
		a, b := v.targets[first], v.targets[(first+1+rand.IntN(n-1))%n]
		if usable(a) && usable(b) {
			if b.inFlight.Load() < a.inFlight.Load() {
				return b
			}
			return a
		}
	}
	// Of few that are left, the least busy.
	var best *target
	for i := range n {
		if t := v.targets[(first+i)%n]; usable(t) && (best == nil || t.inFlight.Load() < best.inFlight.Load()) {
			best = t
		}
	}
	return best
}
