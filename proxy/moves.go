package proxy

import (
	"context"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/place"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

// How the wish follows a move, where there is a store.

// wishOf returns what is wished of a function that is to run; nil: nothing is known.
func (p *Proxy) wishOf(path string) *wish.Wish {
	if p.wishes == nil {
		return nil
	}
	w := p.wishes.Get(path)
	if w == nil || w.State != wish.Running {
		return nil
	}
	return w
}

// allLost reports whether a function is wished and no agent that has it answers.
func (p *Proxy) allLost(path string) bool {
	return p.wishOf(path) != nil && !slices.ContainsFunc(p.fleet.Find(path), func(r fleet.Replica) bool { return p.fleet.Problem(r.Agent) == nil })
}

// function returns a function as package place sees it, also one of which the wish alone
// is known.
func (p *Proxy) function(path string) (place.Function, bool) {
	_, functions := p.fleet.Places()
	for _, fn := range p.withWishes(functions) {
		if fn.Path == path {
			return fn, true
		}
	}
	return place.Function{}, false
}

// withWishes says of functions what is wished, where the proxy chooses their agents. It adds
// those that no agent has told of, and the agents that are to have one and did not tell.
func (p *Proxy) withWishes(functions []place.Function) []place.Function {
	if p.wishes == nil {
		return functions
	}
	index := make(map[string]int, len(functions))
	for i := range functions {
		index[functions[i].Path] = i
	}
	for path, w := range p.wishes.All() {
		if w.State != wish.Running || w.Replicas == "" {
			continue
		}
		i, told := index[path]
		if !told {
			functions = append(functions, place.Function{Path: path})
			i = len(functions) - 1
		}
		settings := w.Version.Settings
		fleet.Wished(&functions[i], &proto.FunctionJsonRsp{
			Replicas: w.Replicas, Placement: w.Labels, Memory: settings.GetMemory(), Cpu: settings.GetCpu(),
			Processes: uint32(settings.Processes()), Demanded: settings.GetIsolation(), //nolint:gosec // up to MaxInstances
		})
		for _, at := range w.Agents() {
			if r, known, _ := p.fleet.Agent(at.Agent, at.ID); known && !slices.Contains(functions[i].On, r.Agent) {
				functions[i].On = append(functions[i].On, r.Agent)
			}
		}
	}
	return functions
}

// recordMove lets the wish follow a move when it has ended, as it follows a deploy.
func (p *Proxy) recordMove(ctx context.Context, o *rollout.Order, target place.Target) error {
	if p.wishes == nil {
		return nil
	}
	c, w, err := p.writing(ctx, o.Function.GetName())
	if err != nil {
		return err
	}
	if w != nil {
		o.Last = w.Last
	}
	fn, pkg := o.Function, o.Package
	change := wish.Change{
		ID: c.id, By: c.by, Generation: c.base, Function: wish.Of(fn), Note: fn.GetNote(), Placed: true, Agents: target.Agents,
	}
	o.Ledger = rollout.Ledger{
		Begins: p.begins(c, &change, pkg),
		Ends: func(ctx context.Context, end rollout.End) {
			for _, addr := range target.Agents { // they were not asked, and may have changed meanwhile
				if p.fleet.Problem(addr) != nil {
					end.Spared = append(end.Spared, addr)
				}
			}
			p.ended(ctx, c, change, end, fn)
		},
	}
	return nil
}

// wishMove writes where a function is to be into its wish: agents that are to get it are
// behind, and those that are to leave it leave. What the wish says already stays.
func (p *Proxy) wishMove(ctx context.Context, path string, target place.Target) error {
	w := p.wishOf(path)
	if w == nil {
		return nil
	}
	c, _, err := p.writing(ctx, w.Name)
	if err != nil {
		return err
	}
	_, err = p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
		if w.State != wish.Running {
			return wish.ErrSame
		}
		replicas, labels := p.toldReplicas(path, target, w)
		if p.follows(w, target) && replicas == w.Replicas {
			return wish.ErrSame
		}
		before := w.Generation
		w.Next(c.id, c.by)
		known := map[string]bool{}
		for i := range w.At {
			at := &w.At[i]
			r, _, _ := p.fleet.Agent(at.Agent, at.ID)
			known[r.Agent] = true
			switch {
			case slices.Contains(target.Remove, r.Agent):
				at.Leaving, at.Done = true, min(at.Done, before)
			case at.Leaving || at.Done == before: // it is asked for nothing new
				at.Leaving, at.Done = false, w.Generation
			}
		}
		for _, addr := range target.Agents {
			if known[addr] {
				continue
			}
			r, _, _ := p.fleet.Agent(addr, "")
			at := wish.Place{Agent: addr, ID: r.ID}
			if row := p.fleet.Row(addr, w.Name); row != nil && row.GetVersion() == w.Version.Number {
				at.Done = w.Generation
			}
			w.At = append(w.At, at)
		}
		w.Replicas, w.Labels, w.Placed = replicas, labels, replicas != ""
		return nil
	})
	p.mends.hint()
	return err
}

// follows reports whether a wish says what a target says.
func (p *Proxy) follows(w *wish.Wish, target place.Target) bool {
	stay := map[string]bool{}
	for _, at := range w.At {
		r, _, _ := p.fleet.Agent(at.Agent, at.ID)
		if at.Leaving != slices.Contains(target.Remove, r.Agent) {
			return false
		}
		stay[r.Agent] = true
	}
	return !slices.ContainsFunc(target.Agents, func(addr string) bool { return !stay[addr] })
}

// toldReplicas returns what agents that are to have a function say of how many there are to
// be, or else what the wish says.
func (p *Proxy) toldReplicas(path string, target place.Target, w *wish.Wish) (replicas string, labels map[string]string) {
	for _, r := range p.fleet.Find(path) {
		if r.Row.GetReplicas() != "" && slices.Contains(target.Agents, r.Agent) && p.fleet.Problem(r.Agent) == nil {
			return r.Row.GetReplicas(), r.Row.GetPlacement()
		}
	}
	return w.Replicas, w.Labels
}
