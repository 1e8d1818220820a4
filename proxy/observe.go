package proxy

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// Log implements transport.Interface. Of several replicas it is the first, by
// address, whose agent answers.
func (p *Proxy) Log(ctx context.Context, fnName string) (*proto.FunctionLogs, error) {
	replicas, err := p.printed(ctx, fnName)
	if err != nil {
		return nil, err
	}
	for _, l := range replicas {
		var logs *proto.FunctionLogs
		if logs, err = p.logAt(ctx, l); err == nil {
			p.present(ctx, []*proto.FunctionJsonRsp{logs.GetFunction()})
			return logs, nil
		}
	}
	return nil, err
}

// printed returns where the log of a function is, at least one place: on its agents,
// and that of one that was stopped on those that ran it.
func (p *Proxy) printed(ctx context.Context, name string) (list []located, err error) {
	if list, err = p.known(ctx, name); !errors.Is(err, proto.ErrNotFound) {
		return list, err
	}
	for _, l := range p.fleet.connected() {
		l.row = &proto.FunctionJsonRsp{Name: name}
		if _, lacks := p.logAt(ctx, l); lacks == nil {
			list = append(list, l)
		}
	}
	if len(list) == 0 {
		return nil, err
	}
	return list, nil
}

func (p *Proxy) logAt(ctx context.Context, l located) (logs *proto.FunctionLogs, err error) {
	if err := p.askAt(ctx, l, func(ctx context.Context, client *transport.Client) error {
		logs, err = client.Log(ctx, l.row.GetName())
		return err
	}); err != nil {
		return nil, err
	}
	if logs.Function == nil {
		logs.Function = &proto.FunctionJsonRsp{Name: l.row.GetName()}
	}
	logs.Function.AtAgent = l.agent.addr
	return logs, nil
}

// Crashes implements transport.Interface. Replicas whose agents do not answer are
// left out.
func (p *Proxy) Crashes(ctx context.Context, fnName string) ([]*proto.Crash, error) {
	replicas, err := p.known(ctx, fnName)
	if err != nil {
		return nil, err
	}
	list, err := gather(p, replicas, func(l located) (list []*proto.Crash, err error) {
		err = p.askAt(ctx, l, func(ctx context.Context, client *transport.Client) error {
			list, err = client.Crashes(ctx, l.row.GetName())
			return err
		})
		for _, c := range list {
			c.AtAgent = l.agent.addr
		}
		return list, err
	})
	slices.SortStableFunc(list, func(a, b *proto.Crash) int { return timeOf(b.GetTime()).Compare(timeOf(a.GetTime())) })
	return list, err
}

// Usage implements transport.Interface. Agents that do not answer are left out.
func (p *Proxy) Usage(ctx context.Context, fnName string) ([]*proto.Usage, error) {
	if err := p.fleet.started(ctx); err != nil {
		return nil, err
	}
	replicas := p.fleet.everywhere()
	if fnName != "" {
		var err error
		if replicas, err = p.replicas(fnName); err != nil {
			return nil, err
		}
	}
	list, err := gather(p, replicas, func(l located) (list []*proto.Usage, err error) {
		err = p.askAt(ctx, l, func(ctx context.Context, client *transport.Client) error {
			list, err = client.Usage(ctx, l.row.GetName())
			return err
		})
		for _, u := range list {
			u.AtAgent = l.agent.addr
		}
		return list, err
	})
	slices.SortStableFunc(list, func(a, b *proto.Usage) int {
		return cmp.Or(cmp.Compare(a.GetFunction(), b.GetFunction()), cmp.Compare(a.GetAtAgent(), b.GetAtAgent()))
	})
	return list, err
}

// everywhere returns all agents, without a row.
func (f *fleet) everywhere() (list []located) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		list = append(list, located{agent: f.agents[addr]})
	}
	return list
}

// connected returns the agents that answer, without a row.
func (f *fleet) connected() (list []located) {
	all := f.everywhere()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(all, func(l located) bool { return l.agent.client == nil })
}

// gather asks all at once and joins what they answer. Who does not answer is
// missed in the log; that nobody does is an error.
func gather[T any](p *Proxy, replicas []located, at func(located) ([]T, error)) ([]T, error) {
	lists := make([][]T, len(replicas))
	errs := make([]error, len(replicas))
	var wg sync.WaitGroup
	for i, l := range replicas {
		wg.Go(func() { lists[i], errs[i] = at(l) })
	}
	wg.Wait()
	if len(replicas) > 0 && !slices.Contains(errs, nil) {
		return nil, errs[0]
	}
	for i, err := range errs {
		if err != nil {
			p.logger.Warn("an answer lacks an agent", "agent", replicas[i].agent.addr, "error", err)
		}
	}
	return slices.Concat(lists...), nil
}

// timeOf reads a time as agents write it. One that is none is before all others.
func timeOf(text string) time.Time {
	t, _ := time.Parse(time.RFC3339, text)
	return t
}
