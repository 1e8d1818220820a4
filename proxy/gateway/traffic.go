package gateway

import (
	"cmp"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Traffic returns what became of the calls of a function, or, for "", of all functions:
// of each version that serves, and, as version 0, of those calls that reached none.
func (g *Gateway) Traffic(path string) (list []*proto.Usage) {
	for of, rt := range *g.Table.routes.Load() {
		if path != "" && path != of {
			continue
		}
		lost := rt.none
		for _, v := range rt.versions {
			row := &proto.Usage{Function: rt.name, Version: v.number, Traffic: v.meter.traffic()}
			for _, t := range v.targets {
				row.Traffic.InFlight += uint32(max(0, t.inFlight.Load())) //nolint:gosec // few
			}
			list = append(list, row)
			if v.meter == lost { // old agents number no versions
				lost = nil
			}
		}
		if lost == nil {
			continue
		}
		if traffic := lost.traffic(); traffic.GetCalls() > 0 {
			list = append(list, &proto.Usage{Function: rt.name, Traffic: traffic})
		}
	}
	slices.SortFunc(list, func(a, b *proto.Usage) int {
		return cmp.Or(cmp.Compare(a.GetFunction(), b.GetFunction()), cmp.Compare(a.GetVersion(), b.GetVersion()))
	})
	return list
}

func (m *meter) traffic() *proto.Traffic {
	t := new(proto.Traffic)
	for class := range m.answers {
		n := m.answers[class].Load()
		t.Calls += n
		if classes[class] == "5xx" {
			t.Errors += n
		}
	}
	m.mu.Lock()
	for how, n := range m.failed {
		t.Calls += n
		if how.component != "caller" && classes[how.class] != "4xx" {
			t.Errors += n
		}
	}
	m.mu.Unlock()
	h := m.duration.Load()
	if h == nil {
		return t
	}
	const shortest = lowestPower * perPower // the bucket of what counts as nothing
	if n := h.none.Load(); n > 0 {
		t.Took = append(t.Took, &proto.Took{Bucket: shortest, Calls: n})
	}
	for i := range h.native {
		if n := h.native[i].Load(); n > 0 {
			t.Took = append(t.Took, &proto.Took{Bucket: int32(shortest + 1 + i), Calls: n})
		}
	}
	return t
}
