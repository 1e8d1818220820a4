package proxy

import (
	"context"
	"errors"
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

// rollout is the newest deploy of a function, until it is settled.
type rollout struct {
	agents []string
	whole  bool // each agent has taken it
	done   chan struct{}
	rows   []*proto.FunctionJsonRsp // once done is closed
}

// Deploy implements transport.Interface. Without agents a function stays where it
// is, or goes to the connected agent with the fewest functions. With others than
// before it leaves the old ones once it is Deployed on all of the new.
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
			rows[i] = []*proto.FunctionJsonRsp{failed(o.fn, "", errs[i])}
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

// deploy gives one function to its agents. It fails if none of them takes it.
func (p *Proxy) deploy(ctx context.Context, o order) ([]*proto.FunctionJsonRsp, error) {
	r, rows, err := p.send(ctx, o)
	if err != nil || !o.fn.GetWait() {
		return rows, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.done:
	}
	for i, row := range rows {
		// Those that did not take it have no further news.
		if proto.Status(row.GetStatus()) != proto.Failed {
			rows[i] = r.rows[slices.Index(r.agents, row.GetAtAgent())]
		}
	}
	return rows, nil
}

// send chooses the agents and gives them the function, one deploy of a path at a
// time, and begins the rollout, which goes on after the caller has left.
func (p *Proxy) send(ctx context.Context, o order) (*rollout, []*proto.FunctionJsonRsp, error) {
	unlock, err := p.paths.lock(ctx, o.path)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if err := p.collides(o.fn.GetName()); err != nil {
		return nil, nil, err
	}
	addrs, release, err := p.choose(o)
	if err != nil {
		return nil, nil, err
	}
	defer release()

	rows := make([]*proto.FunctionJsonRsp, len(addrs))
	errs := make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, addr := range addrs {
		wg.Go(func() { rows[i], errs[i] = p.sendTo(ctx, addr, o) })
	}
	wg.Wait()
	r := &rollout{whole: true, done: make(chan struct{})}
	for i, addr := range addrs {
		if errs[i] != nil {
			rows[i] = failed(o.fn, addr, errs[i])
			r.whole = false
			continue
		}
		r.agents = append(r.agents, addr)
	}
	if len(r.agents) == 0 {
		return nil, nil, errs[0]
	}
	p.begin(ctx, o.fn.GetName(), r)
	return r, rows, nil
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

// sendTo gives a function to one agent, and waits until the watch has told so.
func (p *Proxy) sendTo(ctx context.Context, addr string, o order) (*proto.FunctionJsonRsp, error) {
	a, client, err := p.fleet.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	if err := ask(ctx, a, uploadLimit, func(ctx context.Context) error {
		return client.Upload(ctx, o.pkg)
	}); err != nil {
		return nil, err
	}
	fn := protobuf.CloneOf(o.fn)
	fn.ToAgent, fn.Wait = nil, false
	var rows []*proto.FunctionJsonRsp
	if err := ask(ctx, a, askLimit, func(ctx context.Context) error {
		rows, err = client.Deploy(ctx, fn)
		return err
	}); err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, proto.Errorf(proto.ErrBadGateway, "agent %s answered one deploy with %d rows", a.addr, len(rows))
	}
	row := rows[0]
	row.AtAgent = a.addr
	ctx, cancel := context.WithTimeout(ctx, echoLimit)
	defer cancel()
	_ = p.fleet.until(ctx, func() bool {
		told := a.rows[o.path]
		return a.client != client || told.GetGeneration() >= row.GetGeneration() && told != nil
	})
	return row, nil
}

// ask calls an agent within a limit and names the agent in the error.
func ask(ctx context.Context, a *agent, limit time.Duration, call func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := call(limited)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
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

// failed is the row of a function that an agent did not take.
func failed(fn *proto.FunctionJson, addr string, err error) *proto.FunctionJsonRsp {
	return &proto.FunctionJsonRsp{
		Name: fn.GetName(), Status: string(proto.Failed), AtAgent: addr,
		Error: err.Error(), Reason: proto.ReasonAgent, Since: time.Now().UTC().Format(time.RFC3339),
	}
}

// rollout returns the rollout of a path, nil when there is none.
func (p *Proxy) rollout(path string) *rollout {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rollouts[path]
}

// begin starts to follow the rollout of a function, also when the caller leaves.
// The lock of its path is held.
func (p *Proxy) begin(ctx context.Context, name string, r *rollout) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rollouts[proto.Path(name)] = r
	p.followers.Go(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rolloutLimit)
		defer cancel()
		p.follow(ctx, name, r)
	})
}

// follow waits until a rollout is settled, and takes the function from the agents
// that it has left.
func (p *Proxy) follow(ctx context.Context, name string, r *rollout) {
	defer close(r.done)
	path := proto.Path(name)
	deployed := r.whole
	for _, addr := range r.agents {
		row := p.fleet.settled(ctx, addr, name)
		deployed = deployed && proto.Status(row.GetStatus()) == proto.Deployed
		r.rows = append(r.rows, row)
	}
	unlock, err := p.paths.lock(ctx, path)
	if err != nil {
		return
	}
	defer unlock()
	if p.rollout(path) != r {
		return // a newer deploy, or a stop, decides
	}
	p.drop(path)
	if !deployed {
		return
	}
	for _, l := range p.fleet.find(path) {
		if slices.Contains(r.agents, l.agent.addr) {
			continue
		}
		if _, err := p.stopAt(ctx, l.agent.addr, l.row.GetName()); err != nil && !errors.Is(err, proto.ErrNotFound) {
			p.logger.Error("a replica that was replaced goes on", "function", l.row.GetName(), "agent", l.agent.addr, "error", err)
		}
	}
}

// drop ends the rollout of a path. The lock of the path is held.
func (p *Proxy) drop(path string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.rollouts, path)
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
