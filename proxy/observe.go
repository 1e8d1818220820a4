package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// Log implements transport.Interface. Of several replicas it is the first, by
// address, whose agent answers.
func (p *Proxy) Log(ctx context.Context, fnName string) (*proto.FunctionLogs, error) {
	replicas, err := p.printed(ctx, fnName)
	if err != nil {
		return nil, err
	}
	for _, r := range replicas {
		var logs *proto.FunctionLogs
		if logs, err = p.logAt(ctx, r); err == nil {
			p.present(ctx, []*proto.FunctionJsonRsp{logs.GetFunction()})
			return logs, nil
		}
	}
	return nil, err
}

// printed returns the agents that have a function's log, at least one: those that have
// the function, or, after it was stopped, those that ran it.
func (p *Proxy) printed(ctx context.Context, name string) (list []fleet.Replica, err error) {
	if list, err = p.known(ctx, name); !errors.Is(err, proto.ErrNotFound) {
		return list, err
	}
	for _, r := range p.fleet.Connected() {
		r.Row = &proto.FunctionJsonRsp{Name: name}
		if _, lacks := p.logAt(ctx, r); lacks == nil {
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		return nil, p.nowhere(name)
	}
	return list, nil
}

func (p *Proxy) logAt(ctx context.Context, r fleet.Replica) (*proto.FunctionLogs, error) {
	agent, err := p.fleet.Connect(ctx, r.Agent)
	if err != nil {
		return nil, err
	}
	return agent.Log(ctx, r.Row.GetName())
}

// Crashes implements transport.Interface. Of an agent that does not answer it says why,
// last.
func (p *Proxy) Crashes(ctx context.Context, fnName string) ([]*proto.Crash, error) {
	replicas, err := p.known(ctx, fnName)
	if err != nil {
		return nil, err
	}
	list, err := gather(ctx, p, replicas, (*fleet.Session).Crashes, func(r fleet.Replica, err error) *proto.Crash {
		return &proto.Crash{AtAgent: r.Agent, Error: err.Error()}
	})
	slices.SortStableFunc(list, func(a, b *proto.Crash) int { return timeOf(b.GetTime()).Compare(timeOf(a.GetTime())) })
	return list, err
}

// Usage implements transport.Interface. What became of calls comes first. Of an agent that
// does not answer it says why.
func (p *Proxy) Usage(ctx context.Context, fnName string) ([]*proto.Usage, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	replicas := p.fleet.All()
	if fnName != "" {
		var err error
		if replicas, err = p.replicas(fnName); err != nil {
			return nil, err
		}
	}
	list, err := gather(ctx, p, replicas, (*fleet.Session).Usage, func(r fleet.Replica, err error) *proto.Usage {
		return &proto.Usage{Function: r.Row.GetName(), AtAgent: r.Agent, Error: err.Error()}
	})
	slices.SortStableFunc(list, func(a, b *proto.Usage) int {
		return cmp.Or(cmp.Compare(a.GetFunction(), b.GetFunction()), cmp.Compare(a.GetAtAgent(), b.GetAtAgent()))
	})
	if err != nil {
		return nil, err
	}
	return append(p.gateway.Traffic(proto.Path(fnName)), list...), nil
}

// gather asks the agents of all replicas at once and joins their answers. In the place of one
// that an agent does not give is what absent makes of the error. If no agent answers that is an
// error.
func gather[T any](
	ctx context.Context, p *Proxy, replicas []fleet.Replica,
	ask func(*fleet.Session, context.Context, string) ([]T, error), absent func(fleet.Replica, error) T,
) ([]T, error) {
	lists := make([][]T, len(replicas))
	errs := make([]error, len(replicas))
	var wg sync.WaitGroup
	for i, r := range replicas {
		wg.Go(func() {
			agent, err := p.fleet.Connect(ctx, r.Agent)
			if err == nil {
				lists[i], err = ask(agent, ctx, r.Row.GetName())
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if len(replicas) > 0 && !slices.Contains(errs, nil) {
		return nil, errs[0]
	}
	for i, err := range errs {
		if err != nil {
			lists[i] = []T{absent(replicas[i], err)}
		}
	}
	return slices.Concat(lists...), nil
}

// storeState is what /readyz says of a store. A proxy without one, or with one that fails,
// is ready: functions are called.
type storeState struct{ store store.Store }

func (s storeState) MarshalJSON() ([]byte, error) {
	state := struct {
		Status string `json:"status"`
		Error  string `json:"error,omitempty"`
	}{Status: "ready"}
	if s.store == nil {
		state.Status = "none"
	} else if err := s.store.Err(); err != nil {
		state.Status, state.Error = "failed", err.Error()
	}
	return json.Marshal(state)
}

// timeOf reads a time as agents write it. Any other text is before all times.
func timeOf(text string) time.Time {
	t, _ := time.Parse(time.RFC3339, text)
	return t
}
