package proxy

import (
	"context"
	"slices"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
)

// claims are the routes that functions get by changes under way. The table has a route
// once a function is deployed with it; until then another must not begin to take it.
type claims struct {
	mu     sync.Mutex
	routes map[proto.Route]*claim // mu guards it
}

type claim struct{ function string }

// claim keeps routes for a change of a function until release is called. A route that
// another function has, or is about to have, is an ErrConflict.
func (p *Proxy) claim(name string, routes []proto.Route) (release func(), err error) {
	c := &p.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range routes {
		other := p.table.Owner(r)
		if claimed := c.routes[r]; claimed != nil && claimed.function != name {
			other = claimed.function
		}
		if other != "" && other != name {
			return nil, routeTaken(r, other)
		}
	}
	mine := &claim{name}
	for _, r := range routes {
		if c.routes == nil {
			c.routes = make(map[proto.Route]*claim)
		}
		c.routes[r] = mine // perhaps in the place of an earlier change of the function
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range routes {
			if c.routes[r] == mine {
				delete(c.routes, r)
			}
		}
	}, nil
}

// claimKept claims the routes of the version that a step makes serve, as far as the step
// does that.
func (p *Proxy) claimKept(ctx context.Context, of fleet.Replica, step rollout.Step) (release func(), err error) {
	var serves func(*proto.Version) bool
	switch {
	case step.Action == rollout.Rollback && step.Version > 0:
		serves = func(v *proto.Version) bool { return v.GetVersion() == step.Version }
	case step.Action == rollout.Rollback:
		serves = (*proto.Version).GetPrevious
	case step.Action == rollout.Shift && step.Canary == 100:
		serves = func(v *proto.Version) bool { return v.GetWeight() > 0 && v.GetVersion() != of.Row.GetVersion() }
	default:
		return func() {}, nil
	}
	agent, err := p.fleet.Connect(ctx, of.Agent)
	if err != nil {
		return nil, err
	}
	list, err := agent.Versions(ctx, of.Row.GetName())
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, serves)
	if i < 0 { // the agent says what is wrong
		return func() {}, nil
	}
	return p.claim(of.Row.GetName(), list[i].GetSettings().OwnRoutes())
}
