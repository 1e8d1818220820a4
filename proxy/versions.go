package proxy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// The limits of opening versions that do not serve.
const (
	wakeLimit = 20 * time.Second // a process starts within; callers wait no longer
	maxWakes  = 32               // at the same time: callers choose the numbers
)

// Versions implements transport.Interface.
func (p *Proxy) Versions(ctx context.Context, fnName string) ([]*proto.Version, error) {
	replicas, err := p.known(ctx, fnName)
	if err != nil {
		return nil, err
	}
	list, err := gather(p, replicas, func(l located) ([]*proto.Version, error) { return p.versionsAt(ctx, l) })
	slices.SortStableFunc(list, func(a, b *proto.Version) int {
		return cmp.Or(cmp.Compare(b.GetVersion(), a.GetVersion()), cmp.Compare(a.GetAtAgent(), b.GetAtAgent()))
	})
	return list, err
}

func (p *Proxy) versionsAt(ctx context.Context, l located) (list []*proto.Version, err error) {
	err = p.askAt(ctx, l, func(ctx context.Context, client *transport.Client) error {
		list, err = client.Versions(ctx, l.row.GetName())
		return err
	})
	for _, v := range list {
		v.AtAgent = l.agent.addr
	}
	return list, err
}

// Rollback implements transport.Interface. Of several replicas each waits for the
// one before; see roll. All go to the version that the first one went to.
func (p *Proxy) Rollback(ctx context.Context, fnName string, to uint32) ([]*proto.FunctionJsonRsp, error) {
	return p.change(ctx, fnName, func(l located) step {
		addr, name := l.agent.addr, l.row.GetName()
		return step{
			addr: addr, before: l.row,
			do: func(ctx context.Context) (*proto.FunctionJsonRsp, error) {
				row, err := p.rollbackAt(ctx, addr, name, to)
				if to == 0 {
					to = row.GetVersion()
				}
				return row, err
			},
			undo: func(ctx context.Context) error {
				_, err := p.rollbackAt(ctx, addr, name, l.row.GetVersion())
				return err
			},
		}
	})
}

// Shift implements transport.Interface. Of several replicas each waits for the one
// before; see roll. What goes back is the percentage, or the version that served;
// a canary that is gone stays gone.
func (p *Proxy) Shift(ctx context.Context, fnName string, canary uint32) ([]*proto.FunctionJsonRsp, error) {
	return p.change(ctx, fnName, func(l located) step {
		addr, name := l.agent.addr, l.row.GetName()
		return step{
			addr: addr, before: l.row,
			do: func(ctx context.Context) (*proto.FunctionJsonRsp, error) { return p.shiftAt(ctx, addr, name, canary) },
			undo: func(ctx context.Context) (err error) {
				switch canary {
				case 0:
					err = errors.New("its canary was dropped")
				case 100:
					_, err = p.rollbackAt(ctx, addr, name, l.row.GetVersion())
				default:
					_, err = p.shiftAt(ctx, addr, name, canaryOf(l.row))
				}
				return err
			},
		}
	})
}

// canaryOf is the percentage of the calls that a replica's canary gets, 0 without one.
func canaryOf(row *proto.FunctionJsonRsp) uint32 {
	for _, s := range row.GetServing() {
		if s.GetVersion() != row.GetVersion() && s.GetWeight() > 0 {
			return s.GetWeight()
		}
	}
	return 0
}

// change takes a step at each replica of a function. While a deploy is under way
// it is an ErrConflict.
func (p *Proxy) change(ctx context.Context, fnName string, at func(located) step) ([]*proto.FunctionJsonRsp, error) {
	if err := p.fleet.started(ctx); err != nil {
		return nil, err
	}
	path := proto.Path(fnName)
	unlock, err := p.paths.lock(ctx, path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	replicas, err := p.replicas(fnName)
	if err != nil {
		return nil, err
	}
	if p.rollout(path) != nil {
		return nil, proto.Errorf(proto.ErrConflict, "function %q is being deployed", replicas[0].row.GetName()).
			WithHint("wait until proxyCli list shows that it is settled, or deploy again, which replaces the deploy")
	}
	steps := make([]step, len(replicas))
	for i, l := range replicas {
		steps[i] = at(l)
	}
	_, rows, err := p.roll(ctx, replicas[0].row.GetName(), nil, steps)
	if err != nil {
		return nil, err
	}
	list := make([]*proto.FunctionJsonRsp, len(steps))
	for i, s := range steps {
		list[i] = rows[s.addr]
	}
	return p.present(ctx, list), nil
}

func (p *Proxy) rollbackAt(ctx context.Context, addr, name string, to uint32) (*proto.FunctionJsonRsp, error) {
	return p.changeAt(ctx, addr, name, func(ctx context.Context, client *transport.Client) ([]*proto.FunctionJsonRsp, error) {
		return client.Rollback(ctx, name, to)
	})
}

func (p *Proxy) shiftAt(ctx context.Context, addr, name string, canary uint32) (*proto.FunctionJsonRsp, error) {
	return p.changeAt(ctx, addr, name, func(ctx context.Context, client *transport.Client) ([]*proto.FunctionJsonRsp, error) {
		return client.Shift(ctx, name, canary)
	})
}

// changeAt changes what serves at one agent, and waits until the watch has told so.
func (p *Proxy) changeAt(ctx context.Context, addr, name string, call func(context.Context, *transport.Client) ([]*proto.FunctionJsonRsp, error)) (*proto.FunctionJsonRsp, error) {
	a, client, err := p.fleet.connect(ctx, addr)
	if err != nil {
		return nil, err
	}
	row, err := one(ctx, a, stopLimit, func(ctx context.Context) ([]*proto.FunctionJsonRsp, error) { return call(ctx, client) })
	if err != nil {
		return nil, err
	}
	p.fleet.echo(ctx, a, client, proto.Path(name), func(told *proto.FunctionJsonRsp) bool { return told == nil || sameVersions(told, row) })
	return row, nil
}

// wake is the opening of a version.
type wake struct {
	done chan struct{} // closed when err is set
	err  error
}

// wake has an agent open a version that is kept but does not serve, and returns
// when there is a route to it. Callers that want the same one wait together.
func (p *Proxy) wake(ctx context.Context, name string, number uint32) error {
	key := proto.Path(name) + "@" + strconv.FormatUint(uint64(number), 10)
	p.mu.Lock()
	w := p.wakes[key]
	if w == nil && len(p.wakes) < maxWakes {
		w = &wake{done: make(chan struct{})}
		p.wakes[key] = w
		p.followers.Go(func() {
			defer close(w.done)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wakeLimit)
			defer cancel()
			w.err = p.open(ctx, name, number)
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.wakes, key)
		})
	}
	p.mu.Unlock()
	if w == nil {
		return proto.Errorf(proto.ErrUnavailable, "function %s waits for %d others to be opened", key, maxWakes).WithHint("call again in a moment")
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-w.done:
		return w.err
	}
}

// open asks the agents of a function, one by one, to open a version.
func (p *Proxy) open(ctx context.Context, name string, number uint32) error {
	replicas, err := p.replicas(name)
	if err != nil {
		return err
	}
	for _, l := range replicas {
		switch e := p.openAt(ctx, l, number); {
		case e == nil:
			return nil
		case !errors.Is(e, proto.ErrNotFound):
			err = e // another may have it
		}
	}
	if err != nil {
		return err
	}
	list, err := p.Versions(ctx, name)
	if err != nil {
		return err
	}
	var kept []string
	for _, v := range list {
		kept = append(kept, strconv.FormatUint(uint64(v.GetVersion()), 10))
	}
	return proto.Errorf(proto.ErrNotFound, "version %d of function %q is not kept; kept are %s", number, name, cmp.Or(strings.Join(slices.Compact(kept), ", "), "none")).
		WithHint("proxyCli versions "+name+" shows them").From("gateway", "version")
}

func (p *Proxy) openAt(ctx context.Context, l located, number uint32) error {
	a, client, err := p.fleet.connect(ctx, l.agent.addr)
	if err != nil {
		return err
	}
	if err := ask(ctx, a, wakeLimit, func(ctx context.Context) error {
		_, err := client.Wake(ctx, l.row.GetName(), number)
		return err
	}); err != nil {
		return err
	}
	p.fleet.echo(ctx, a, client, proto.Path(l.row.GetName()), func(told *proto.FunctionJsonRsp) bool {
		return slices.ContainsFunc(told.GetServing(), func(s *proto.Serving) bool { return s.GetVersion() == number })
	})
	return nil
}
