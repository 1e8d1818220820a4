package proxy

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// The limits of what is asked of agents.
const (
	uploadLimit  = 5 * time.Minute  // 64 MiB over 2 Mbit/s
	askLimit     = 30 * time.Second // for what an agent answers at once
	stopLimit    = 60 * time.Second // it drains the function and ends its processes
	lastCalls    = time.Second      // for calls that were let through just before a stop; longer ones the agent lets finish
	echoLimit    = 5 * time.Second  // until the watch tells what was just done
	rolloutLimit = 15 * time.Minute // a cold build behind others
	maxDeploys   = 1000             // functions in one call, each of which takes a goroutine
)

// order is one function to deploy.
type order struct {
	fn   *proto.FunctionJson
	pkg  *bundle.Package
	path string
}

// Deploy implements transport.Interface. Without agents a function stays where it
// is, or goes to the connected agent with the fewest functions. With others than
// before it leaves the old ones once it is Deployed on all of the new. Of several
// agents each waits until the one before is Deployed; see roll.
func (p *Proxy) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	orders, err := p.check(ctx, fns)
	if err != nil {
		return nil, err
	}
	if err := p.fleet.started(ctx); err != nil {
		return nil, err
	}

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
			rows[i] = []*proto.FunctionJsonRsp{failed(o.fn.GetName(), "", errs[i])}
		}
		all = append(all, rows[i]...)
	}
	return p.present(ctx, all), nil
}

// check finds what is wrong with a call itself, before anything is changed.
func (p *Proxy) check(ctx context.Context, fns []*proto.FunctionJson) ([]order, error) {
	if len(fns) == 0 {
		return nil, proto.Errorf(proto.ErrInvalid, "there is no function to deploy")
	}
	if len(fns) > maxDeploys {
		return nil, proto.Errorf(proto.ErrTooLarge, "%d functions are more than the %d that one call may deploy", len(fns), maxDeploys)
	}
	names := map[string]string{}
	orders := make([]order, 0, len(fns))
	for _, fn := range fns {
		if err := fn.Check(); err != nil {
			return nil, err
		}
		path := proto.Path(fn.GetName())
		if other, twice := names[path]; twice {
			return nil, collision(fn.GetName(), other)
		}
		names[path] = fn.GetName()
		if err := p.collides(fn.GetName()); err != nil {
			return nil, err
		}
		for _, addr := range fn.GetToAgent() {
			if err := p.fleet.allowed(addr); err != nil {
				return nil, err
			}
		}
		stored, pkg, err := p.store.Resolve(ctx, fn)
		if err != nil {
			return nil, err
		}
		orders = append(orders, order{fn: stored, pkg: pkg, path: path})
	}
	return orders, nil
}

// collides refuses a name that shares its path with another function's.
func (p *Proxy) collides(name string) error {
	for _, l := range p.fleet.find(proto.Path(name)) {
		if other := l.row.GetName(); other != name {
			return collision(name, other)
		}
	}
	return nil
}

func collision(name, other string) error {
	if name == other {
		return proto.Errorf(proto.ErrConflict, "function %q is named twice in one call", name).
			WithHint("for several replicas give one function several agents")
	}
	return proto.Errorf(proto.ErrConflict, "functions %q and %q have the same path", name, other).
		WithHint("rename one, or stop the other first: proxyCli stop " + other)
}

// deploy gives one function to its agents.
func (p *Proxy) deploy(ctx context.Context, o order) ([]*proto.FunctionJsonRsp, error) {
	if o.fn.GetPlan() {
		return p.plan(ctx, o)
	}
	r, err := p.send(ctx, o)
	if err != nil {
		return nil, err
	}
	if !o.fn.GetWait() {
		return r.begun.rows, r.begun.err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.done:
		return r.end.rows, r.end.err
	}
}

// send chooses the agents of a function and begins its rollout to them, one deploy
// of a path at a time. It returns when the first agent has taken the function.
func (p *Proxy) send(ctx context.Context, o order) (*rollout, error) {
	unlock, err := p.paths.lock(ctx, o.path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := p.collides(o.fn.GetName()); err != nil {
		return nil, err
	}
	agents, release, err := p.choose(o)
	if err != nil {
		return nil, err
	}
	defer release()
	r := &rollout{order: o, agents: agents, accepted: make(chan struct{}), done: make(chan struct{}), programs: map[string]origin{}}
	if p.prepare(ctx, r); r.end.rows != nil || r.end.err != nil {
		r.answer(r.end)
		close(r.done)
		return r, nil
	}
	p.begin(ctx, r)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.accepted:
		return r, nil
	}
}

// prepare brings the package to all agents. Where one does not answer, nothing is
// changed anywhere and that is the end of the rollout.
func (p *Proxy) prepare(ctx context.Context, r *rollout) {
	errs := make([]error, len(r.agents))
	var wg sync.WaitGroup
	for i, addr := range r.agents {
		wg.Go(func() { errs[i] = p.upload(ctx, addr, r.order.pkg) })
	}
	wg.Wait()
	bad := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	switch {
	case bad < 0:
	case len(errs) == 1:
		r.end.err = errs[0]
	default:
		for i, addr := range r.agents {
			row := p.aborted(r.order.fn.GetName(), addr, "it was not changed: the rollout stopped at agent "+r.agents[bad])
			if errs[i] != nil {
				row = failed(r.order.fn.GetName(), addr, errs[i])
			}
			r.end.rows = append(r.end.rows, row)
		}
	}
}

// upload brings a package to an agent.
func (p *Proxy) upload(ctx context.Context, addr string, pkg *bundle.Package) error {
	a, client, err := p.fleet.connect(ctx, addr)
	if err != nil {
		return err
	}
	return ask(ctx, a, uploadLimit, func(ctx context.Context) error { return client.Upload(ctx, pkg) })
}

// plan asks agents what a deploy would change.
func (p *Proxy) plan(ctx context.Context, o order) ([]*proto.FunctionJsonRsp, error) {
	agents, release, err := p.choose(o)
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
			rows[i] = failed(o.fn.GetName(), addr, errs[i])
		}
	}
	return rows, nil
}

func (p *Proxy) planAt(ctx context.Context, addr string, o order) (*proto.FunctionJsonRsp, error) {
	a, client, err := p.fleet.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	fn := protobuf.CloneOf(o.fn)
	fn.ToAgent = nil
	return one(ctx, a, askLimit, func(ctx context.Context) ([]*proto.FunctionJsonRsp, error) { return client.Deploy(ctx, fn) })
}

// choose returns the addresses of the agents that a function goes to. Until
// release is called it counts as theirs.
func (p *Proxy) choose(o order) (addrs []string, release func(), err error) {
	for _, addr := range o.fn.GetToAgent() {
		addr, err := transport.NormalizeAddr(addr)
		if err != nil {
			return nil, nil, err
		}
		if !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	if len(addrs) > 0 {
		return addrs, func() {}, nil
	}
	if r := p.rollout(o.path); r != nil {
		return r.agents, func() {}, nil
	}
	for _, l := range p.fleet.find(o.path) {
		addrs = append(addrs, l.agent.addr)
	}
	if len(addrs) > 0 {
		return addrs, func() {}, nil
	}
	addr, release, err := p.fleet.place(o.path)
	return []string{addr}, release, err
}

// deployAt brings a function to one agent and returns the row that it ends with.
func (p *Proxy) deployAt(ctx context.Context, r *rollout, addr string, before *proto.FunctionJsonRsp) (*proto.FunctionJsonRsp, error) {
	a, client, err := p.fleet.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	fn := protobuf.CloneOf(r.order.fn)
	fn.ToAgent, fn.Wait, fn.Version = nil, false, r.version
	if r.same > before.GetLastVersion() {
		fn.Version = r.same
	}
	program, err := p.program(ctx, r, a, client)
	if err != nil {
		if refused(err) {
			return failed(fn.GetName(), addr, err), nil
		}
		return nil, err
	}
	if program != nil {
		fn.Program, fn.Kind = program.GetKey(), program.GetKind()
	}
	row, err := p.give(ctx, r, a, client, fn)
	if program != nil && row.GetReason() == proto.ReasonProgram && p.fleet.info(addr).builds() { // it was dropped in between
		fn.Program, fn.Kind = "", r.order.fn.GetKind()
		row, err = p.give(ctx, r, a, client, fn)
	}
	if err != nil || proto.Status(row.GetStatus()) != proto.Deployed {
		return row, err
	}
	if row.GetVersion() < fn.GetVersion() && fn.GetCanary() == 0 {
		r.same = row.GetVersion()
	}
	if built := row.GetProgram(); built != nil {
		r.programs[built.GetPlatform()] = origin{addr, &proto.Program{Key: built.GetKey(), Digest: built.GetDigest(), Platform: built.GetPlatform(), Kind: row.GetKind()}}
	}
	return row, nil
}

// give has an agent deploy a function, and waits until that has come to its end.
func (p *Proxy) give(ctx context.Context, r *rollout, a *agent, client *transport.Client, fn *proto.FunctionJson) (*proto.FunctionJsonRsp, error) {
	row, err := one(ctx, a, askLimit, func(ctx context.Context) ([]*proto.FunctionJsonRsp, error) { return client.Deploy(ctx, fn) })
	if err != nil {
		return nil, err
	}
	p.fleet.echo(ctx, a, client, r.order.path, func(told *proto.FunctionJsonRsp) bool {
		return told != nil && told.GetGeneration() >= row.GetGeneration()
	})
	r.answer(outcome{rows: p.underWay(r, row)})
	ctx, cancel := context.WithTimeout(ctx, rolloutLimit)
	defer cancel()
	return p.fleet.settled(ctx, row), nil
}

// underWay is what those see who do not wait: the row of the first agent, nil if
// it has none yet, and that the others wait for it.
func (p *Proxy) underWay(r *rollout, first *proto.FunctionJsonRsp) []*proto.FunctionJsonRsp {
	rows := make([]*proto.FunctionJsonRsp, len(r.agents))
	for i, addr := range r.agents {
		if first != nil && addr == first.GetAtAgent() {
			rows[i] = first
			continue
		}
		rows[i] = p.awaited(r, addr, proto.StageQueued)
	}
	return rows
}

// awaited is the row of a function that an agent has not been given yet.
func (p *Proxy) awaited(r *rollout, addr, stage string) *proto.FunctionJsonRsp {
	name := r.order.fn.GetName()
	row := cmp.Or(p.fleet.row(addr, name), &proto.FunctionJsonRsp{Name: name, AtAgent: addr})
	row.Status, row.Stage, row.Error, row.Reason = string(proto.Deploying), stage, "", ""
	return row
}

// one calls an agent and returns the one row of its answer.
func one(ctx context.Context, a *agent, limit time.Duration, call func(context.Context) ([]*proto.FunctionJsonRsp, error)) (*proto.FunctionJsonRsp, error) {
	var rows []*proto.FunctionJsonRsp
	if err := ask(ctx, a, limit, func(ctx context.Context) (err error) {
		rows, err = call(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, proto.Errorf(proto.ErrBadGateway, "agent %s answered for one function with %d rows", a.addr, len(rows))
	}
	rows[0].AtAgent = a.addr
	return rows[0], nil
}

// askAt asks the agent of a replica for what it answers at once.
func (p *Proxy) askAt(ctx context.Context, l located, call func(context.Context, *transport.Client) error) error {
	a, client, err := p.fleet.connect(ctx, l.agent.addr)
	if err != nil {
		return err
	}
	return ask(ctx, a, askLimit, func(ctx context.Context) error { return call(ctx, client) })
}

// ask calls an agent within a limit and names the agent in the error.
func ask(ctx context.Context, a *agent, limit time.Duration, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return a.named(ctx, call(limited))
}

// named names the agent in the error of a call, unless that is about the source:
// any agent would say the same. That ctx has ended goes before.
func (a *agent) named(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case refused(err):
		return err
	}
	e := proto.AsError(err)
	kind := e.Kind
	if kind == proto.ErrCanceled { // not by the caller: the connection was lost and closed
		kind = proto.ErrUnavailable
	}
	component, reason := e.Component, e.Reason
	if component == "" {
		component, reason = "agent", string(kind)
	}
	return proto.Errorf(kind, "agent %s: %w", a.addr, err).WithHint(e.Hint).From(component, reason)
}

// refused says whether an error is about a function's source.
func refused(err error) bool {
	reason := proto.AsError(err).Reason
	return reason == proto.ReasonCheck || reason == proto.ReasonBuild
}

// failed is the row of a function that an agent did not take.
func failed(name, addr string, err error) *proto.FunctionJsonRsp {
	reason, text := proto.ReasonAgent, err.Error()
	if refused(err) {
		reason = proto.AsError(err).Reason
	}
	if hint := proto.AsError(err).Hint; hint != "" {
		text += "\n" + hint
	}
	return &proto.FunctionJsonRsp{
		Name: name, Status: string(proto.Failed), AtAgent: addr,
		Error: text, Reason: reason, Since: time.Now().UTC().Format(time.RFC3339),
	}
}

// locks are mutexes by key, which a caller may leave waiting. The zero value is
// ready to use.
type locks struct {
	mu   sync.Mutex // guards the below
	held map[string]chan struct{}
}

func (l *locks) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		released, held := l.held[key]
		if !held {
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			released = make(chan struct{})
			l.held[key] = released
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				close(released)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-released:
		}
	}
}
