package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/place"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

const (
	lastCalls  = time.Second // for calls that were routed just before a stop; the agent drains longer ones
	maxDeploys = 1000        // functions in one request; each takes a goroutine
)

// Deploy implements transport.Interface. A function that names no agents stays where it
// is, or goes where package place says. Agents that it no longer
// names stop it once it is Deployed on all that it names. Of several agents each waits
// until the one before is Deployed; see package rollout.
func (p *Proxy) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	orders, err := p.check(ctx, fns)
	if err != nil {
		return nil, err
	}
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	p.meetNear(ctx, fns)

	rows := make([][]*proto.FunctionJsonRsp, len(orders))
	errs := make([]error, len(orders))
	var wg sync.WaitGroup
	for i, o := range orders {
		wg.Go(func() { rows[i], errs[i] = p.deploy(ctx, o) })
	}
	wg.Wait()
	if !slices.Contains(errs, nil) {
		return nil, errs[0]
	}
	var all []*proto.FunctionJsonRsp
	for i, o := range orders {
		if errs[i] != nil {
			rows[i] = []*proto.FunctionJsonRsp{rollout.Failed(o.Function.GetName(), "", errs[i])}
		}
		all = append(all, rows[i]...)
	}
	return p.present(ctx, all), nil
}

// meetNear connects to the agent beside this proxy, if one is needed and none is known: with
// one machine there is nothing to say about where functions run. It is not an error that it
// does not answer, or is a stranger's: the functions find no agent then.
func (p *Proxy) meetNear(ctx context.Context, fns []*proto.FunctionJson) {
	t := server.CallerFrom(ctx).Token
	if p.cfg.Near == "" || t != nil && !t.May(wire.ScopeAdmin) || len(p.fleet.States()) > 0 {
		return
	}
	if !slices.ContainsFunc(fns, func(fn *proto.FunctionJson) bool { return len(fn.GetToAgent()) == 0 }) {
		return
	}
	if _, err := p.fleet.Connect(ctx, p.cfg.Near); err != nil {
		p.logger.Info("no agent is known, and this one cannot be connected to", "agent", p.cfg.Near, "error", err)
	}
}

// check refuses orders that are wrong, before anything is changed.
func (p *Proxy) check(ctx context.Context, fns []*proto.FunctionJson) ([]rollout.Order, error) {
	if len(fns) == 0 {
		return nil, proto.Errorf(proto.ErrInvalid, "there is no function to deploy")
	}
	if len(fns) > maxDeploys {
		return nil, proto.Errorf(proto.ErrTooLarge, "%d functions are more than the %d that one request may deploy", len(fns), maxDeploys)
	}
	names, routes := map[string]string{}, map[proto.Route]string{}
	orders := make([]rollout.Order, 0, len(fns))
	for _, fn := range fns {
		if err := fn.Check(); err != nil {
			return nil, err
		}
		path := proto.Path(fn.GetName())
		if other, twice := names[path]; twice {
			return nil, collision(fn.GetName(), other)
		}
		names[path] = fn.GetName()
		if err := p.collides(fn); err != nil {
			return nil, err
		}
		release, err := p.claim(fn.GetName(), fn.OwnRoutes())
		if err != nil {
			return nil, err
		}
		release() // the deploy claims them again
		for _, r := range fn.OwnRoutes() {
			if other, taken := routes[r]; taken {
				return nil, routeTaken(r, other)
			}
			routes[r] = fn.GetName()
		}
		for _, addr := range fn.GetToAgent() {
			if err := p.fleet.Allowed(addr); err != nil {
				return nil, err
			}
		}
		stored, pkg, err := p.store.Resolve(ctx, fn)
		if err != nil {
			return nil, err
		}
		orders = append(orders, rollout.Order{Function: stored, Package: pkg})
	}
	return orders, nil
}

// collides refuses a name that shares its path with another function's, and a preview that
// would take the place of a function, or of another branch's, or the other way round.
func (p *Proxy) collides(fn *proto.FunctionJson) error {
	name := fn.GetName()
	for _, r := range p.fleet.Find(proto.Path(name)) {
		if other := r.Row.GetName(); other != name {
			return collision(name, other)
		}
		if was := r.Row.GetPreview(); was != fn.GetPreview() && (r.Row.GetVersion() > 0 || was != "") {
			return notThePreview(name, was)
		}
	}
	if w := p.wishOf(proto.Path(name)); w != nil {
		if was := w.Version.Settings.GetPreview(); was != fn.GetPreview() {
			return notThePreview(name, was)
		}
	}
	return nil
}

func notThePreview(name, branch string) error {
	is := "no preview"
	if branch != "" {
		is = fmt.Sprintf("a preview of branch %q", branch)
	}
	return proto.Errorf(proto.ErrConflict, "function %s is %s, and is not replaced by something else", name, is).
		WithHint("choose another name, or remove it first: proxyCli rm " + name)
}

func routeTaken(r proto.Route, other string) error {
	return proto.Errorf(proto.ErrConflict, "the route %s belongs to function %q", r, other).
		WithHint("choose another one, or deploy " + other + " without it first")
}

func collision(name, other string) error {
	if name == other {
		return proto.Errorf(proto.ErrConflict, "function %q is named twice in one request", name).
			WithHint("for several replicas give one function several agents")
	}
	return proto.Errorf(proto.ErrConflict, "functions %q and %q have the same path", name, other).
		WithHint("rename one, or remove the other first: proxyCli rm " + other)
}

// deploy gives one function to its agents.
func (p *Proxy) deploy(ctx context.Context, o rollout.Order) ([]*proto.FunctionJsonRsp, error) {
	if err := p.resolve(ctx, o.Function); err != nil {
		return nil, err
	}
	if err := p.retain(ctx, o); err != nil {
		return nil, err
	}
	if o.Function.GetPlan() {
		if err := p.checkServes(ctx, o.Function); err != nil {
			return nil, err
		}
		return p.plan(ctx, o)
	}
	r, err := p.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	if !o.Function.GetWait() {
		return r.Begun()
	}
	return r.Wait(ctx)
}

// resolve puts, for the agents that a function names, the addresses by which the fleet
// knows them, each once.
func (p *Proxy) resolve(ctx context.Context, fn *proto.FunctionJson) error {
	var addrs []string
	for _, addr := range fn.GetToAgent() {
		addr, err := p.agentFor(ctx, addr)
		if err != nil {
			return err
		}
		if !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	fn.ToAgent = addrs
	return nil
}

// agentFor returns the address by which the fleet knows an agent. One that it does not
// know is added for callers who decide which agents there are: others' functions may go
// to it next, with their secrets.
func (p *Proxy) agentFor(ctx context.Context, addr string) (string, error) {
	t := server.CallerFrom(ctx).Token
	if t == nil || t.May(wire.ScopeAdmin) {
		return p.fleet.Resolve(ctx, addr)
	}
	known, err := p.fleet.Known(addr)
	if err != nil {
		return "", proto.Errorf(proto.ErrForbidden, "agent %.100s is not known; to add one takes the scope admin, and %s has %s", addr, t, t.ScopeNames()).
			WithHint("ask whoever runs the proxy to name it: proxy -agents, or agent -join; or leave the agent out")
	}
	return known, nil
}

// retain fills in the settings that a function keeps, so that all of its agents get the
// same. Where the values of its secrets are not stored, agents alone know them: each keeps
// its own.
func (p *Proxy) retain(ctx context.Context, o rollout.Order) error {
	o.Function.Keep = o.Function.Keepable(o.Function.GetKeep())
	if len(o.Function.GetKeep()) == 0 {
		return nil
	}
	replicas, err := p.everywhere(ctx, o.Function.GetName())
	if errors.Is(err, proto.ErrNotFound) {
		o.Function.Keep = nil
		return nil
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(replicas, func(a, b fleet.Replica) int { return cmp.Compare(absent(a), absent(b)) })
	from := replicas[max(0, slices.IndexFunc(replicas, func(r fleet.Replica) bool { return r.Row.GetVersion() > 0 }))]
	agent, err := p.fleet.Connect(ctx, from.Agent)
	if err != nil {
		return err
	}
	list, err := agent.Versions(ctx, from.Row.GetName())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(v *proto.Version) bool { return v.GetVersion() == from.Row.GetVersion() })
	if i < 0 {
		o.Function.Keep = nil
		return nil
	}
	was := list[i].GetSettings()
	secrets := slices.Sorted(maps.Keys(was.GetSecrets()))
	secrets = slices.DeleteFunc(secrets, func(k string) bool {
		_, plain := o.Function.GetEnv()[k]
		_, secret := o.Function.GetSecrets()[k]
		return plain || secret
	})
	was.Secrets = nil
	o.Function.Retain(was, o.Function.GetKeep())
	if !slices.Contains(o.Function.GetKeep(), "secrets") || len(secrets) == 0 {
		o.Function.Keep = nil
		return o.Function.Check()
	}
	if values := p.keeps(o, from.Row, secrets); values != nil {
		o.Function.Keep, o.Function.Secrets = nil, values
		return o.Function.Check()
	}
	o.Function.Keep = []string{"secrets"}
	for _, addr := range o.Function.GetToAgent() {
		if !slices.ContainsFunc(replicas, func(r fleet.Replica) bool { return r.Agent == addr }) {
			return proto.Errorf(proto.ErrConflict, "function %s: agent %s does not have the secrets that are kept: %s", o.Function.GetName(), addr, strings.Join(secrets, ", ")).
				WithHint("give them with the deploy; no agent hands out what it keeps")
		}
	}
	return o.Function.Check()
}

// keeps returns the secrets of a function with those of some names that are stored of the
// version of a row; nil if they are not.
func (p *Proxy) keeps(o rollout.Order, row *proto.FunctionJsonRsp, names []string) map[string]string {
	w := p.wishOf(o.Path())
	if w == nil || w.Version.Number != row.GetVersion() || w.Version.Package != row.GetPackage() {
		return nil
	}
	stored, err := p.secretsOf(o.Path(), w.Version)
	if err != nil {
		return nil
	}
	values := maps.Clone(stored)
	maps.DeleteFunc(values, func(name, _ string) bool { return !slices.Contains(names, name) })
	if len(values) < len(names) {
		return nil
	}
	maps.Copy(values, o.Function.GetSecrets())
	return values
}

// begin chooses the agents of a function and begins its rollout. Deploys of one path
// take turns.
func (p *Proxy) begin(ctx context.Context, o rollout.Order) (*rollout.Rollout, error) {
	unlock, err := p.turn(ctx, o.Path())
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := p.collides(o.Function); err != nil {
		return nil, err
	}
	if err := p.checkServes(ctx, o.Function); err != nil {
		return nil, err
	}
	named := len(o.Function.GetToAgent()) > 0
	agents, release, err := p.choose(ctx, o)
	if err != nil {
		return nil, err
	}
	defer release()
	o.Agents = agents
	if o.Ended, err = p.claim(o.Function.GetName(), o.Function.OwnRoutes()); err != nil {
		return nil, err
	}
	if err := p.recordDeploy(ctx, &o, named); err != nil {
		o.Ended()
		return nil, err
	}
	o.Function.IfVersion = nil // agents count for themselves
	return p.rollouts.Begin(ctx, o)
}

// checkServes refuses a deploy that is to replace a version alone which does not serve. With a
// store it is asked for again once no other proxy can change the function; see begins.
func (p *Proxy) checkServes(ctx context.Context, fn *proto.FunctionJson) error {
	if fn.IfVersion == nil {
		return nil
	}
	path := proto.Path(fn.GetName())
	if p.wishes != nil {
		w, _, err := p.wishes.Read(ctx, path)
		if err != nil {
			return unstored(fn.GetName(), err)
		}
		if w != nil {
			return fn.CheckServes(w.Serves(), p.rollouts.Of(path) != nil)
		}
	}
	serves := uint32(0)
	for _, r := range p.anywhere(ctx, path) {
		serves = max(serves, r.Row.GetVersion())
	}
	return fn.CheckServes(serves, p.rollouts.Of(path) != nil)
}

// plan asks agents what a deploy would change.
func (p *Proxy) plan(ctx context.Context, o rollout.Order) ([]*proto.FunctionJsonRsp, error) {
	agents, release, err := p.choose(ctx, o)
	if err != nil {
		return nil, err
	}
	defer release()
	rows := make([]*proto.FunctionJsonRsp, len(agents))
	errs := make([]error, len(agents))
	var wg sync.WaitGroup
	for i, addr := range agents {
		wg.Go(func() { rows[i], errs[i] = p.planAt(ctx, addr, o) })
	}
	wg.Wait()
	if !slices.Contains(errs, nil) {
		return nil, errs[0]
	}
	for i, addr := range agents {
		if errs[i] != nil {
			rows[i] = rollout.Failed(o.Function.GetName(), addr, errs[i])
		}
	}
	return rows, nil
}

func (p *Proxy) planAt(ctx context.Context, addr string, o rollout.Order) (*proto.FunctionJsonRsp, error) {
	agent, err := p.fleet.Connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	fn := protobuf.CloneOf(o.Function)
	fn.ToAgent, fn.IfVersion = nil, nil
	return agent.Deploy(ctx, fn)
}

// choose returns the addresses of the agents that get a function. Until release is
// called the function counts as theirs. Agents that isolate less than the function asks
// for are refused, before any other builds it.
func (p *Proxy) choose(ctx context.Context, o rollout.Order) (addrs []string, release func(), err error) {
	least, err := o.Function.MinIsolation()
	if err != nil {
		return nil, nil, err
	}
	addrs, release, err = p.place(ctx, o, least)
	if err != nil || least == proto.IsolationNone {
		return addrs, release, err
	}
	for _, addr := range addrs {
		_, _ = p.fleet.Connect(ctx, addr) // a new one says what it has; why one does not answer is said later
	}
	if err := p.fleet.Isolates(least, addrs...); err != nil {
		release()
		return nil, nil, fmt.Errorf("function %s: %w", o.Function.GetName(), err)
	}
	return addrs, release, nil
}

// place returns the agents that a function names, or else those that it is to have: where
// the proxy chooses them, as package place does, and where a user has put it.
func (p *Proxy) place(ctx context.Context, o rollout.Order, least proto.Isolation) (addrs []string, release func(), err error) {
	fn := o.Function
	if addrs := fn.GetToAgent(); len(addrs) > 0 {
		return addrs, func() {}, nil
	}
	if r := p.rollouts.Of(o.Path()); r != nil && len(r.Others) == 0 && fn.GetReplicas() == "" && len(fn.GetPlacement()) == 0 {
		fn.Replicas, fn.Placement = r.Function.GetReplicas(), r.Function.GetPlacement()
		return r.Agents, func() {}, nil
	}
	replicas, err := p.everywhere(ctx, fn.GetName())
	if err != nil && !errors.Is(err, proto.ErrNotFound) {
		return nil, nil, err
	}
	for _, addr := range p.wished(o.Path()) { // of those that are away there may be no rows
		if !slices.ContainsFunc(replicas, func(r fleet.Replica) bool { return r.Agent == addr }) {
			replicas = append(replicas, fleet.Replica{Agent: addr, Row: &proto.FunctionJsonRsp{Name: fn.GetName()}})
		}
	}
	if !placement(fn, replicas, p.wishOf(o.Path())) {
		for _, r := range replicas {
			addrs = append(addrs, r.Agent)
		}
		return addrs, func() {}, nil
	}
	if wanted, _ := proto.ParseReplicas(fn.GetReplicas()); wanted.Follow() && fn.GetMax() == 0 {
		return nil, nil, withoutMax(fn.GetName(), fn.GetReplicas())
	}
	is := place.Function{Path: o.Path()}
	fleet.Wish{
		Replicas: fn.GetReplicas(), Labels: fn.GetPlacement(), Memory: fn.GetMemory(), CPU: fn.GetCpu(),
		Isolation: least.String(), Processes: fn.Processes(),
	}.Into(&is)
	for _, r := range replicas {
		is.On = append(is.On, r.Agent)
	}
	target, release, err := p.fleet.Place(is, p.lostAfter())
	if err != nil {
		return nil, nil, fmt.Errorf("function %s: %w", fn.GetName(), err)
	}
	if target.Short > 0 {
		p.logger.Warn("there are fewer agents than a function is to have", "function", fn.GetName(), "replicas", fn.GetReplicas(), "agents", target.Agents)
	}
	return target.Agents, release, nil
}
