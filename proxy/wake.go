package proxy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
)

// maxWakes bounds the versions that are opened at a time: callers choose the numbers.
const maxWakes = 32

// wakes are the openings of versions that are under way.
type wakes struct {
	open    func(ctx context.Context, name string, number uint32) error
	running sync.WaitGroup // wakes go on when their callers are canceled

	mu    sync.Mutex       // guards the field below:
	byKey map[string]*wake // by path@number
}

// wake is the opening of a version.
type wake struct {
	done chan struct{} // closed when err is set
	err  error
}

// wake opens a version that an agent keeps but does not serve, and returns when there is
// a route to it. Callers that want the same version wait together.
func (all *wakes) wake(ctx context.Context, name string, number uint32) error {
	key := proto.Path(name) + "@" + strconv.FormatUint(uint64(number), 10)
	all.mu.Lock()
	w := all.byKey[key]
	if w == nil && len(all.byKey) < maxWakes {
		w = &wake{done: make(chan struct{})}
		if all.byKey == nil {
			all.byKey = map[string]*wake{}
		}
		all.byKey[key] = w
		all.running.Go(func() {
			defer close(w.done)
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fleet.WakeLimit)
			defer cancel()
			w.err = all.open(ctx, name, number)
			all.mu.Lock()
			defer all.mu.Unlock()
			delete(all.byKey, key)
		})
	}
	all.mu.Unlock()
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
	slices.SortStableFunc(replicas, func(a, b fleet.Replica) int { // each that does not answer takes seconds
		return cmp.Compare(absent(a), absent(b))
	})
	for _, r := range replicas {
		switch e := p.openAt(ctx, r, number); {
		case e == nil:
			return nil
		case !errors.Is(e, proto.ErrNotFound):
			err = e // another agent may have it
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
		if v.GetError() == "" {
			kept = append(kept, strconv.FormatUint(uint64(v.GetVersion()), 10))
		}
	}
	return proto.Errorf(proto.ErrNotFound, "version %d of function %q is not kept; kept are %s", number, name, cmp.Or(strings.Join(slices.Compact(kept), ", "), "none")).
		WithHint("proxyCli versions "+name+" shows them").From("gateway", "version")
}

// absent is 1 for a replica whose agent does not answer.
func absent(r fleet.Replica) int {
	if r.Row.GetReason() == proto.ReasonUnreachable {
		return 1
	}
	return 0
}

func (p *Proxy) openAt(ctx context.Context, r fleet.Replica, number uint32) error {
	agent, err := p.fleet.Connect(ctx, r.Agent)
	if err != nil {
		return err
	}
	return agent.Wake(ctx, r.Row.GetName(), number)
}
