package fleet

import (
	"maps"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Abilities is what an agent said it can do.
type Abilities struct{ *proto.AgentInfo }

// Builds says whether the agent can build. One that did not say counts as able to.
func (i Abilities) Builds() bool { return i.AgentInfo == nil || i.GetGoVersion() != "" }

// isolates returns the tier of the agent. One that did not say has any.
func (i Abilities) isolates() proto.Isolation {
	tier, err := proto.ParseIsolation(i.GetIsolation())
	if err != nil {
		return proto.IsolationFull
	}
	return tier
}

// Isolates returns an ErrIncapable that names those of some agents that isolate
// functions by less than a tier.
func (f *Fleet) Isolates(least proto.Isolation, addrs ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lacking []string
	for _, addr := range addrs {
		if a := f.agents[addr]; a != nil && (Abilities{a.info}).isolates() < least {
			lacking = append(lacking, addr+" ("+a.info.GetIsolation()+")")
		}
	}
	if lacking == nil {
		return nil
	}
	return proto.Errorf(proto.ErrIncapable, "isolation %s is more than these agents have: %s", least, strings.Join(lacking, ", ")).
		WithHint("agent doctor says, on their machines, how to get more; or name agents that have it")
}

// Info returns what an agent said it can do.
func (f *Fleet) Info(addr string) Abilities {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.agents[addr]; a != nil {
		return Abilities{a.info}
	}
	return Abilities{}
}

// Builder returns the connected agent with the fewest functions that can build
// for a platform.
func (f *Fleet) Builder(platform string) (addr string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	best := f.least(func(a *agent) bool { return a.info.GetGoVersion() != "" && a.info.GetPlatform() == platform })
	if best == nil {
		return "", false
	}
	return best.addr, true
}

// least returns the connected agent with the fewest functions of those that fit, or
// nil. f.mu is held.
func (f *Fleet) least(fit func(*agent) bool) (best *agent) {
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		if a := f.agents[addr]; a.client != nil && fit(a) && (best == nil || a.load() < best.load()) {
			best = a
		}
	}
	return best
}

// Place chooses the connected agent with the fewest functions, of those that isolate by a
// tier, if there are some. Until release is called the function counts as the agent's, so
// that deploys at the same time do not all go to one agent.
func (f *Fleet) Place(path string, tier proto.Isolation) (addr string, release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	best := f.least(func(a *agent) bool { return Abilities{a.info}.isolates() >= tier })
	if best == nil {
		best = f.least(func(*agent) bool { return true })
	}
	switch {
	case len(f.agents) == 0:
		return "", nil, proto.Errorf(proto.ErrUnavailable, "no agent is known").
			WithHint(`start an agent and name it: proxy -agents localhost:9000, or "agentAddr" in the definition`).
			From("gateway", "agent")
	case best == nil:
		return "", nil, proto.Errorf(proto.ErrUnavailable, "no agent answers: %s", strings.Join(slices.Sorted(maps.Keys(f.agents)), ", ")).
			WithHint("check that an agent runs").From("gateway", "agent")
	}
	best.placing[path] = true
	return best.addr, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(best.placing, path)
	}, nil
}

// load counts the functions that an agent has or is about to have. Fleet.mu is held.
func (a *agent) load() int {
	n := len(a.rows)
	for path := range a.placing {
		if a.rows[path] == nil {
			n++
		}
	}
	return n
}
