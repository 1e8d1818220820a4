package gateway

import (
	"math"
	"slices"
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

// pick chooses the replica with the fewest calls in flight of those that were not
// tried, in turn among equals; nil when all were tried.
func (v *version) pick(tried []*target) *target {
	if len(v.targets) == 1 && len(tried) == 0 {
		return v.targets[0]
	}
	var best *target
	var least int64
	start := int(v.turn.Add(1) % uint32(len(v.targets)))
	for i := range v.targets {
		t := v.targets[(start+i)%len(v.targets)]
		if n := t.inFlight.Load(); !slices.Contains(tried, t) && (best == nil || n < least) {
			best, least = t, n
		}
	}
	return best
}
