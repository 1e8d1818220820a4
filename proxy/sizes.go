package proxy

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/scale"
)

// Of functions with the setting max the proxy decides how many processes there are, as
// package scale says, from the calls that are under way here and at other proxies of the
// store. Whoever leads them tells the agents.

// sizeEvery is how often the calls under way are read: a size follows them within a second.
const sizeEvery = 100 * time.Millisecond

// sizes is why functions have as many processes as they have.
type sizes struct {
	mu  sync.Mutex        // guards the field below:
	why map[string]string // by path
}

func (s *sizes) of(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why[path]
}

// all returns a copy of all of them.
func (s *sizes) all() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.why)
}

// sized is a function whose number of processes the proxy decides.
type sized struct {
	policy *scale.Policy
	told   map[string]int // what agents were told, by address
	busy   chan struct{}  // holds a value while agents are told
}

// tendSizes keeps functions as large as their calls need, until ctx is done.
func (p *Proxy) tendSizes(ctx context.Context) {
	if p.strangers() { // it sees but a part of the calls
		return
	}
	var telling sync.WaitGroup
	defer telling.Wait()
	defer p.sizes.keep(nil) // another proxy may lead
	functions, began := map[string]*sized{}, time.Now()
	ticker := time.NewTicker(sizeEvery)
	defer ticker.Stop()
	for {
		changed := p.fleet.Changed()
		found := p.fleet.Sized()
		for path := range functions {
			if found[path] == nil {
				delete(functions, path)
			}
		}
		p.sizes.keep(found)
		tick := ticker.C
		if len(found) == 0 {
			tick = nil
		}
		for again := true; again; {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				again = false
				rest(ctx, sizeEvery) // agents tell many changes at once
			case <-tick:
				for path, replicas := range found {
					f := functions[path]
					if f == nil {
						f = p.newSized(replicas)
						functions[path] = f
					}
					p.resize(ctx, &telling, path, f, replicas, time.Since(began))
				}
			}
		}
	}
}

// keep forgets functions that are no longer among some.
func (s *sizes) keep(found map[string][]fleet.Replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path := range s.why {
		if found[path] == nil {
			delete(s.why, path)
		}
	}
}

func (p *Proxy) newSized(replicas []fleet.Replica) *sized {
	size := 0
	for _, r := range replicas {
		size += int(r.Row.GetProcesses())
	}
	return &sized{policy: scale.New(scale.Windows{Stable: p.cfg.ScaleWindow}, size), told: map[string]int{}, busy: make(chan struct{}, 1)}
}

// resize decides on one function, and tells its agents what is new to them.
func (p *Proxy) resize(ctx context.Context, telling *sync.WaitGroup, path string, f *sized, replicas []fleet.Replica, at time.Duration) {
	f.policy.Observe(at, float64(p.table.Calls(path).UnderWay()+p.loads.of(path)))
	bounds := scale.Bounds{Target: float64(replicas[0].Row.Load())}
	room := make([]int, len(replicas))
	for i, r := range replicas {
		room[i] = int(r.Row.GetMax())
		bounds.Min += max(1, int(r.Row.GetMin()))
		bounds.Max += room[i]
	}
	size := f.policy.Decide(bounds)
	p.sizes.mu.Lock()
	if p.sizes.why == nil {
		p.sizes.why = map[string]string{}
	}
	p.sizes.why[path] = size.Why
	p.sizes.mu.Unlock()
	select {
	case f.busy <- struct{}{}:
	default:
		return // the last change is not told yet
	}
	split := scale.Split(size.Processes, room, len(replicas))
	name, tell := replicas[0].Row.GetName(), map[string]int{}
	for i, r := range replicas {
		n := max(split[i], 1, int(r.Row.GetMin()))
		if f.told[r.Agent] != n || int(r.Row.GetProcesses()) != n {
			tell[r.Agent], f.told[r.Agent] = n, n
		}
	}
	if len(tell) == 0 {
		<-f.busy
		return
	}
	telling.Go(func() {
		defer func() { <-f.busy }()
		for addr, n := range tell {
			agent, err := p.fleet.Connect(ctx, addr)
			if err == nil {
				err = agent.Resize(ctx, name, n)
			}
			if err != nil && ctx.Err() == nil && !errors.Is(err, proto.ErrNotFound) {
				p.logger.Warn("an agent is not told how many processes a function needs", "function", name, "agent", addr, "processes", n, "error", err)
			}
		}
	})
}
