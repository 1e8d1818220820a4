package proxy

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/place"
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

// current returns the rows of a function that say how it is to be: those of agents that
// answer, are to have it, and have followed what is wished.
func (p *Proxy) current(path string) []fleet.Replica {
	w := p.wishOf(path)
	return slices.DeleteFunc(p.fleet.Find(path), func(r fleet.Replica) bool {
		if p.fleet.Problem(r.Agent) != nil {
			return true
		}
		if w == nil {
			return false
		}
		at := w.Place(r.Agent, r.ID)
		return at == nil || at.Leaving || w.Behind(at)
	})
}

// servedByNobody reports whether of a function the wish alone says what it is to be.
func (p *Proxy) servedByNobody(path string) bool {
	return p.wishOf(path) != nil && len(p.current(path)) == 0
}

// function returns a function as package place sees it, also one of which the wish alone
// is known.
func (p *Proxy) function(path string) (place.Function, bool) {
	_, functions := p.fleet.Places()
	for _, fn := range p.sizes.want(p.withWishes(functions)) {
		if fn.Path == path {
			return fn, true
		}
	}
	return place.Function{}, false
}

// withWishes says of functions what is wished, where the proxy chooses their agents. It adds
// those that no agent has told of, and the agents that are to have one and did not tell;
// agents that are to lose it do so whatever becomes of the others.
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
		fleet.Wish{
			Replicas: w.Replicas, Labels: w.Labels, Memory: settings.GetMemory(), CPU: settings.GetCpu(),
			Isolation: settings.GetIsolation(), Processes: settings.Processes(),
		}.Into(&functions[i])
		functions[i].On = slices.DeleteFunc(functions[i].On, func(addr string) bool { // where it could not be brought
			r, _, _ := p.fleet.Agent(addr, "")
			return w.Place(r.Agent, r.ID) == nil && proto.Status(p.fleet.Row(addr, w.Name).GetStatus()) == proto.Failed
		})
		for _, at := range w.At {
			r, known, _ := p.fleet.Agent(at.Agent, at.ID)
			has := slices.Index(functions[i].On, r.Agent)
			switch {
			case at.Leaving && has >= 0:
				functions[i].On = slices.Delete(functions[i].On, has, has+1)
			case !at.Leaving && has < 0 && known:
				functions[i].On = append(functions[i].On, r.Agent)
			}
		}
	}
	return functions
}

// ofSegment returns what is wished of the function that a call names.
func (p *Proxy) ofSegment(segment string) *wish.Wish {
	name, err := url.PathUnescape(segment)
	if err != nil || p.strangers() { // another proxy may have been asked to stop it
		return nil
	}
	name, _, _ = strings.Cut(name, "@")
	return p.wishOf(proto.Path(name))
}

// noRoute says why a path has no route. A function that is to run is there, though no agent
// can be called for it now.
func (p *Proxy) noRoute(segment string) error {
	err := p.fleet.Unknown(segment)
	w := p.ofSegment(segment)
	if w == nil || !errors.Is(err, proto.ErrNotFound) {
		return err
	}
	var away []string
	behind := false
	for _, at := range w.At {
		behind = behind || w.Behind(&at)
		if r, _, answers := p.fleet.Agent(at.Agent, at.ID); !answers {
			away = append(away, r.Agent)
		}
	}
	if len(away) == 0 && !behind { // it was stopped at its agents, past the proxy
		return err
	}
	why, reason := "the agents that are to have it are brought to what is wished", "behind"
	if len(away) > 0 {
		why, reason = "these agents do not answer: "+strings.Join(away, ", "), "lost"
	}
	return proto.Errorf(proto.ErrUnavailable, "function %q is not called now: %s", w.Name, why).
		WithHint("call again in a moment; proxyCli list and proxyCli agents say how it stands").From("agent", reason)
}

// isPublic reports whether everybody may call a function that has no route now.
func (p *Proxy) isPublic(segment string) bool {
	w := p.ofSegment(segment)
	return w != nil && !strings.Contains(segment, "@") && w.Version.Settings.GetAuth() == proto.AuthPublic
}

// bring lets the wish say that a function is to be at further agents, and waits until it is
// there. Whoever leads brings it, with its secrets, paused if it is, and with its canary.
func (p *Proxy) bring(ctx context.Context, path string, target place.Target) error {
	grown := target
	grown.Agents, grown.Remove = append(slices.Clone(target.Agents), target.Remove...), nil
	unlock, err := p.turn(ctx, path)
	if err != nil {
		return err
	}
	err = p.wishMove(ctx, path, grown)
	unlock()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, mendLimit)
	defer cancel()
	w := p.wishOf(path)
	if w == nil {
		return errHeld
	}
	generation := w.Generation
	p.logger.Info("a function gets further agents", "function", w.Name, "agents", target.Add)
	for {
		changed := p.fleet.Changed() // also by a wish
		w := p.wishOf(path)
		if w == nil || w.Generation != generation { // somebody wishes something else
			return errHeld
		}
		there := true
		for _, addr := range target.Add {
			r, _, _ := p.fleet.Agent(addr, "")
			at := w.Place(r.Agent, r.ID)
			if at == nil {
				return errHeld
			}
			if why := p.wishes.trouble(path, r.Agent); why != "" && w.Behind(at) {
				return proto.Errorf(proto.ErrUnavailable, "function %s is not ready on agent %s: %s", w.Name, addr, why)
			}
			there = there && !w.Behind(at)
		}
		if there {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
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
			case at.Leaving && slices.Contains(target.Agents, r.Agent): // what it runs may be an old version
				at.Leaving, at.Done = false, min(at.Done, before)
			case at.Done == before: // it is asked for nothing new
				at.Done = w.Generation
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
	p.mends.hint(path)
	return err
}

// follows reports whether a wish says what a target says.
func (p *Proxy) follows(w *wish.Wish, target place.Target) bool {
	stay := map[string]bool{}
	for _, at := range w.At {
		r, _, _ := p.fleet.Agent(at.Agent, at.ID)
		leaves := slices.Contains(target.Remove, r.Agent) || at.Leaving && !slices.Contains(target.Agents, r.Agent)
		if at.Leaving != leaves {
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
