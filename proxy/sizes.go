package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/place"
	"github.com/Ishan27g/ryo-faas/proxy/scale"
)

// Of functions with the setting max the proxy decides how many processes there are, as
// package scale says, from the calls that are under way here and at other proxies of the
// store, and for those whose replicas are two numbers, on how many agents they are. Whoever leads
// them tells the agents, and moves functions.

// sizeEvery is how often the calls under way are read: a size follows them within a second.
const sizeEvery = 100 * time.Millisecond

// sizes is why functions have as many processes as they have.
type sizes struct {
	mu     sync.Mutex        // guards the fields below:
	why    map[string]string // by path
	agents map[string]int    // on how many they should be, by path, where calls decide that
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

// set notes what is decided of a function, and on how many agents it should be; 0: calls do not
// decide that. It reports whether that is another number.
func (s *sizes) set(path, why string, agents int) (moves bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.why, s.agents = map[string]string{}, map[string]int{}
	}
	s.why[path] = why
	was := s.agents[path]
	if s.agents[path] = agents; agents == 0 {
		delete(s.agents, path)
	}
	return agents != was
}

// want says of functions on how many agents their calls want them, as far as that is decided here.
func (s *sizes) want(functions []place.Function) []place.Function {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range functions {
		functions[i].Wanted = s.agents[functions[i].Path]
	}
	return functions
}

// sized is a function whose number of processes the proxy decides.
type sized struct {
	policy   *scale.Policy
	machines *scale.Machines
	told     map[string]int // what agents were told, by address
	busy     chan struct{}  // holds a value while agents are told
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
			delete(s.agents, path)
		}
	}
}

func (p *Proxy) newSized(replicas []fleet.Replica) *sized {
	size := 0
	for _, r := range replicas {
		size += int(r.Row.GetProcesses())
	}
	windows := scale.Windows{Stable: p.cfg.ScaleWindow}
	return &sized{policy: scale.New(windows, size), machines: scale.NewMachines(windows, len(replicas)), told: map[string]int{}, busy: make(chan struct{}, 1)}
}

// withoutMax refuses replicas that are to follow the calls of a function which does not say how many
// processes an agent has room for.
func withoutMax(name, replicas string) error {
	return proto.Errorf(proto.ErrInvalid, "function %s: replicas %s follow the calls once its processes on an agent are as many as max, and there is no max", name, replicas).
		WithHint("deploy it with -max N, or give one number of replicas")
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
	here := bounds.Max
	wanted, _ := proto.ParseReplicas(replicas[0].Row.GetReplicas()) // what is none does not follow
	if wanted.Follow() {
		// Agents that have it for calls which are gone hold nothing up: each has a process anyway.
		bounds.Min = wanted.Least * max(1, int(replicas[0].Row.GetMin()))
		bounds.Max = max(bounds.Max, wanted.Most*room[0])
	}
	size, agents := f.policy.Decide(bounds), 0
	if wanted.Follow() {
		agents = f.machines.Decide(at, size.Processes, room[0], wanted.Least, wanted.Most)
		size.Why += fmt.Sprintf("; %d of %s agents, with up to %d processes each", agents, wanted, room[0])
	}
	if p.sizes.set(path, size.Why, agents) {
		p.fleet.Look() // tendPlaces does
	}
	select {
	case f.busy <- struct{}{}:
	default:
		return // the last change is not told yet
	}
	split := scale.Split(min(size.Processes, here), room, len(replicas))
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
