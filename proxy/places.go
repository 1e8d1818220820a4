package proxy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/place"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

// Functions whose agents the proxy has chosen are kept where package place says that they
// should be. tend compares that with where they are, and moves begin with what is missing:
// a replica is left only after others are Deployed.

const (
	tendEvery = 10 * time.Second       // looks without a reason: a change that was missed
	tendPause = 250 * time.Millisecond // between two looks: agents tell many changes at once
	maxMoves  = 4                      // at the same time: each may build
	tryFirst  = 2 * time.Second        // after a move that failed, doubled each time up to
	tryMost   = 5 * time.Minute
)

// places is what is known of moves.
type places struct {
	mu     sync.Mutex          // guards the fields below:
	moving map[string]bool     // by path
	failed map[string]failure  // moves that failed last, by path
	chosen map[string][]string // agents that were chosen last, by path
	stays  map[string][]string // why functions stay on agents that drain, by agent
}

// failure is moves of a function that failed, one after the other.
type failure struct {
	why    error
	times  int
	retry  time.Time
	nobody bool // no agent served it: then the wish alone is changed
}

// tendPlaces keeps functions where they should be until ctx is done.
func (p *Proxy) tendPlaces(ctx context.Context) {
	var moves sync.WaitGroup
	defer moves.Wait()
	for {
		changed, began := p.fleet.Changed(), time.Now()
		next := time.NewTimer(p.tend(ctx, &moves))
		pause := max(tendPause, lookPart*time.Since(began))
		select {
		case <-ctx.Done():
		case <-changed:
			rest(ctx, pause)
		case <-next.C:
		}
		next.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// rest waits for a time, or until ctx is done.
func rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// tend begins the moves that are due, and returns how long nothing else is, unless
// something changes.
func (p *Proxy) tend(ctx context.Context, moves *sync.WaitGroup) (next time.Duration) {
	agents, functions := p.fleet.Places()
	functions = p.sizes.want(p.withWishes(functions))
	s := &p.places
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init()
	held := map[string]string{} // why a function does not move now
	for i := range functions {
		fn := &functions[i]
		fn.Chosen = s.chosen[fn.Path]
		if !fn.Fixed {
			held[fn.Path] = p.holds(fn.Path)
			fn.Fixed = held[fn.Path] != ""
		} else {
			held[fn.Path] = "it was deployed to agents by name"
		}
	}
	next = tendEvery
	for _, a := range agents {
		if left := p.lostAfter() - a.Silent; a.Silent > 0 && left > 0 {
			next = min(next, left+time.Millisecond)
		}
	}
	clear(s.stays)
	known := map[string]bool{}
	for _, t := range place.Plan(agents, functions, p.lostAfter()) {
		known[t.Path] = true
		if p.tendOne(ctx, moves, t) {
			next = min(next, max(time.Millisecond, time.Until(s.failed[t.Path].retry)))
		}
		p.explain(agents, t, held[t.Path])
	}
	for path := range s.chosen {
		if !known[path] {
			delete(s.chosen, path)
		}
	}
	for path := range s.failed {
		if !known[path] {
			delete(s.failed, path)
		}
	}
	return next
}

func (s *places) init() {
	if s.moving == nil {
		s.moving, s.failed, s.chosen, s.stays = map[string]bool{}, map[string]failure{}, map[string][]string{}, map[string][]string{}
	}
}

// tendOne begins to move a function if it has to move. It reports whether it has to, and
// waits. places.mu is held.
func (p *Proxy) tendOne(ctx context.Context, moves *sync.WaitGroup, t place.Target) (waits bool) {
	s := &p.places
	if len(t.Add) == 0 && len(t.Remove) == 0 {
		delete(s.failed, t.Path)
		return false
	}
	if s.moving[t.Path] || len(s.moving) >= maxMoves {
		return false // the end of a move is a change
	}
	nobody := p.servedByNobody(t.Path)
	if f := s.failed[t.Path]; f.nobody == nobody && time.Now().Before(f.retry) {
		return true
	}
	s.moving[t.Path] = true
	moves.Go(func() {
		err := p.changes.Begin(ctx)
		if err == nil {
			err = p.relocate(ctx, t.Path, nil)
			p.changes.End()
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.moving, t.Path)
		if err == nil {
			delete(s.failed, t.Path)
		} else if ctx.Err() == nil && !errors.Is(err, errHeld) && proto.AsError(err).Reason != wish.ReasonChange {
			f := s.failed[t.Path]
			if f.nobody != nobody {
				f = failure{nobody: nobody}
			}
			f.why, f.times = err, f.times+1
			f.retry = time.Now().Add(min(tryMost, tryFirst<<min(f.times-1, 10)))
			s.failed[t.Path] = f
			p.logger.Warn("a function is not where it should be", "function", t.Path, "add", t.Add, "remove", t.Remove, "error", err)
		}
		p.fleet.Look() // others may have waited for this move
	})
	return false
}

// explain notes why a function stays on agents that drain. places.mu is held.
func (p *Proxy) explain(agents []place.Agent, t place.Target, held string) {
	s := &p.places
	for _, a := range agents {
		if !a.Draining {
			continue
		}
		why := ""
		switch {
		case slices.Contains(t.Stuck, a.Name):
			why = "no other agent can take it"
		case slices.Contains(t.Agents, a.Name) && held != deploying: // that ends by itself
			why = held
		case slices.Contains(t.Remove, a.Name) && s.failed[t.Path].why != nil:
			why = s.failed[t.Path].why.Error()
		}
		if why != "" {
			name, _, other := strings.Cut(t.Path, " ")
			if rows := p.fleet.Find(name); len(rows) > 0 {
				name = rows[0].Row.GetName()
			}
			if other {
				why = "it is another function of that name, which calls do not reach"
			}
			s.stays[a.Name] = append(s.stays[a.Name], name+": "+why)
		}
	}
}

// deploying is why a function does not move that is being deployed, or moved.
const deploying = "it is being deployed"

// holds says why a function that may move does not move now; "": it may. What agents told
// last that do not answer, or that have not followed what is wished, holds nothing.
func (p *Proxy) holds(path string) string {
	if p.rollouts.Of(path) != nil {
		return deploying
	}
	w := p.wishOf(path)
	if p.wishes != nil && w == nil {
		return "it is not known yet what is wished of it"
	}
	current := p.current(path)
	deployed := false
	for _, r := range current {
		weighted := 0
		for _, v := range r.Row.GetServing() {
			if v.GetWeight() > 0 {
				weighted++
			}
		}
		switch {
		case w != nil: // which says that, too
		case r.Row.GetPaused():
			return "it is paused"
		case weighted > 1:
			return "it has a canary"
		}
		deployed = deployed || proto.Status(r.Row.GetStatus()) == proto.Deployed
	}
	switch {
	case w != nil && p.hides(path, w) != nil:
		return p.hides(path, w).Error()
	case !deployed && len(current) > 0:
		return "it is not Deployed"
	case !deployed && w == nil:
		return "no agent that has it answers"
	}
	return ""
}

// errHeld is why a move is not begun, or does not go on, that is not due any longer: that is
// no failure.
var errHeld = errors.New("it is held")

// strangers reports whether other proxies deploy to the agents that know nothing of this one:
// they have no store in common.
func (p *Proxy) strangers() bool { return p.cfg.Shared && p.cfg.Common == nil }

// lostAfter is how long an agent may not answer before its functions are brought up
// elsewhere; 0: any time. With proxies that share agents and know nothing of each other,
// none may decide that.
func (p *Proxy) lostAfter() time.Duration {
	if p.strangers() {
		return 0
	}
	return p.cfg.LostAfter
}

// relocate brings a function to the agents that should have it, and then takes it from
// those that should not. change, which may be nil, changes what is wished.
func (p *Proxy) relocate(ctx context.Context, path string, change func(*place.Function)) error {
	o, target, release, err := p.beginMove(ctx, path, change)
	if err != nil {
		return err
	}
	defer release()
	if p.wishes != nil && len(target.Add) > 0 {
		if err := p.bring(ctx, path, target); err != nil {
			return err
		}
	}
	if o != nil {
		rows, err := o.Wait(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if proto.Status(row.GetStatus()) != proto.Deployed {
				return proto.Errorf(proto.ErrUnavailable, "function %s is not ready on agent %s: %s", row.GetName(), row.GetAtAgent(), row.GetError())
			}
		}
	}
	return p.leave(ctx, path, target)
}

// beginMove says where a function is to be. Until release is called that counts. Without a
// store it begins to bring the function to the agents that lack it, and returns nil if none
// does.
func (p *Proxy) beginMove(ctx context.Context, path string, change func(*place.Function)) (r *rollout.Rollout, target place.Target, release func(), err error) {
	unlock, err := p.turn(ctx, path)
	if err != nil {
		return nil, target, nil, err
	}
	defer unlock()
	if why := p.holds(path); why != "" {
		return nil, target, nil, proto.Errorf(proto.ErrConflict, "function %s cannot move: %w, %s", path, errHeld, why)
	}
	fn, found := p.function(path)
	if !found {
		return nil, target, nil, p.nowhere(path)
	}
	if change != nil {
		change(&fn)
	}
	p.places.mu.Lock()
	p.places.init()
	fn.Chosen = p.places.chosen[path]
	p.places.mu.Unlock()
	target, release, err = p.fleet.Place(fn, p.lostAfter())
	if err != nil || len(target.Add) == 0 || p.wishes != nil {
		return nil, target, release, err
	}
	r, err = p.beginToBring(ctx, path, fn, target)
	if err != nil {
		release()
	}
	return r, target, release, err
}

// beginToBring begins to bring what serves of a function to the agents that lack it.
func (p *Proxy) beginToBring(ctx context.Context, path string, fn place.Function, target place.Target) (*rollout.Rollout, error) {
	o, err := p.serving(ctx, path)
	if err != nil {
		return nil, err
	}
	o.Agents, o.Others = target.Add, fn.On
	o.Function.Replicas, o.Function.Placement = replicasText(fn), fn.Labels
	if o.Ended, err = p.claim(o.Function.GetName(), o.Function.OwnRoutes()); err != nil {
		return nil, err
	}
	p.logger.Info("a function gets further agents", "function", o.Function.GetName(), "agents", target.Add)
	return p.rollouts.Begin(ctx, o)
}

func replicasText(fn place.Function) string {
	return proto.Replicas{Least: fn.Replicas, Most: max(fn.Replicas, fn.Most), All: fn.All}.String()
}

// serving returns an order that brings the version that serves to further agents.
func (p *Proxy) serving(ctx context.Context, path string) (o rollout.Order, err error) {
	replicas := p.current(path)
	i := slices.IndexFunc(replicas, func(r fleet.Replica) bool { return proto.Status(r.Row.GetStatus()) == proto.Deployed })
	if i < 0 {
		return o, proto.Errorf(proto.ErrUnavailable, "function %s: no agent that has it answers", path).
			WithHint("deploy it again, then it gets other agents")
	}
	from := replicas[i]
	name := from.Row.GetName()
	agent, err := p.fleet.Connect(ctx, from.Agent)
	if err != nil {
		return o, err
	}
	list, err := agent.Versions(ctx, name)
	if err != nil {
		return o, err
	}
	i = slices.IndexFunc(list, func(v *proto.Version) bool { return v.GetVersion() == from.Row.GetVersion() })
	if i < 0 {
		return o, proto.Errorf(proto.ErrUnavailable, "function %s: agent %s does not tell its version %d", name, from.Agent, from.Row.GetVersion())
	}
	fn := list[i].GetSettings()
	if len(fn.GetSecrets()) > 0 {
		return o, proto.Errorf(proto.ErrConflict, "function %s: agent %s alone knows its secrets, and hands them out to nobody", name, from.Agent).
			WithHint("deploy it again, which gives them to its agents")
	}
	fn.Package, fn.Program, fn.Note = list[i].GetPackage(), "", list[i].GetNote()
	stored, pkg, err := p.store.Resolve(ctx, fn)
	if err != nil {
		return o, proto.Errorf(proto.AsError(err).Kind, "function %s: its package is not here any more: %w", name, err).
			WithHint("deploy it again")
	}
	return rollout.Order{Function: stored, Package: pkg, Version: from.Row.GetVersion()}, nil
}

// leave takes a function from the agents that should not have it. Those that do not
// answer remove it when they are back.
func (p *Proxy) leave(ctx context.Context, path string, target place.Target) error {
	unlock, err := p.turn(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	replicas := p.fleet.Find(path)
	if len(replicas) == 0 || p.rollouts.Of(path) != nil { // it was stopped, or is deployed anew
		return nil
	}
	p.places.mu.Lock()
	p.places.init()
	p.places.chosen[path] = target.Agents
	p.places.mu.Unlock()
	if err := p.wishMove(ctx, path, target); err != nil {
		return err
	}
	var errs []error
	var left []string
	defer func() { p.moved(ctx, path, left...) }()
	for _, addr := range target.Remove {
		i := slices.IndexFunc(replicas, func(r fleet.Replica) bool { return r.Agent == addr })
		if i < 0 {
			continue
		}
		name := replicas[i].Row.GetName()
		p.logger.Info("a function leaves an agent", "function", name, "agent", addr)
		if p.wishes == nil && p.fleet.RemoveAt(name, addr) {
			left = append(left, addr)
			continue
		}
		if p.wishes != nil && p.fleet.Forget(path, addr) != nil { // the wish says that it leaves
			continue
		}
		agent, err := p.fleet.Connect(ctx, addr)
		if err == nil {
			_, err = agent.Remove(ctx, name)
		}
		if err != nil && !errors.Is(err, proto.ErrNotFound) {
			errs = append(errs, err)
			continue
		}
		left = append(left, addr)
	}
	return errors.Join(errs...)
}

// Scale implements transport.Registrar. A function that was deployed to agents by name is
// one that the proxy places from then on.
func (p *Proxy) Scale(ctx context.Context, fnName, replicas string) ([]*proto.FunctionJsonRsp, error) {
	wanted, err := proto.ParseReplicas(replicas)
	if err != nil {
		return nil, err
	}
	list, err := p.known(ctx, fnName)
	if err != nil {
		return nil, err
	}
	path, name := proto.Path(fnName), list[0].Row.GetName()
	if wanted.Follow() && list[0].Row.GetMax() == 0 {
		return nil, withoutMax(name, replicas)
	}
	if why := p.holds(path); why != "" {
		return nil, proto.Errorf(proto.ErrConflict, "function %s cannot be scaled: %s", name, why).
			WithHint("proxyCli list shows how it stands")
	}
	for _, r := range list { // first: tend goes by what they say
		if p.fleet.Problem(r.Agent) != nil {
			continue // it hears of it once it is back
		}
		agent, err := p.fleet.Connect(ctx, r.Agent)
		if err == nil {
			err = agent.Place(ctx, name, replicas, r.Row.GetPlacement())
		}
		if err != nil && !errors.Is(err, proto.ErrNotFound) {
			return nil, err
		}
	}
	err = p.relocate(ctx, path, func(fn *place.Function) {
		fn.Fixed, fn.Replicas, fn.Most, fn.All = false, wanted.Least, wanted.Most, wanted.All
	})
	if err != nil {
		return nil, err
	}
	var rows []*proto.FunctionJsonRsp
	for _, row := range p.fleet.Rows() {
		if row.GetName() == name {
			rows = append(rows, row)
		}
	}
	return p.present(ctx, rows), nil
}

// DrainAgent implements transport.Registrar.
func (p *Proxy) DrainAgent(ctx context.Context, agent string) (*proto.AgentState, error) {
	return p.drain(ctx, agent, true)
}

// ResumeAgent implements transport.Registrar.
func (p *Proxy) ResumeAgent(ctx context.Context, agent string) (*proto.AgentState, error) {
	return p.drain(ctx, agent, false)
}

// placement fills in what a function that names no agents does not say of where it is to
// be, and reports whether the proxy chooses its agents.
func placement(fn *proto.FunctionJson, replicas []fleet.Replica, w *wish.Wish) (chosen bool) {
	if fn.GetReplicas() != "" {
		return true
	}
	if w != nil && w.State != wish.Removed && w.Replicas != "" {
		fn.Replicas = w.Replicas
		return true
	}
	for _, r := range replicas {
		if r.Row.GetReplicas() != "" {
			fn.Replicas = r.Row.GetReplicas()
			return true
		}
	}
	if len(replicas) > 0 && len(fn.GetPlacement()) == 0 {
		return false // it stays where a user has put it
	}
	fn.Replicas = cmp.Or(fn.GetReplicas(), strconv.Itoa(max(1, len(replicas))))
	return true
}
