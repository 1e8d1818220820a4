package place

import (
	"cmp"
	"slices"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// What a function counts for that says nothing, and an agent has that says nothing: so
// agents that do not tell are told apart by the number of their functions.
const (
	usualMemory  = 64 << 20 // bytes: a Go function with some traffic
	usualCPUs    = 0.1
	agentsMemory = 4 << 30
	agentsCPUs   = 2
)

// Agent is an agent that may have functions.
type Agent struct {
	Name      string            // no other has it
	Machine   string            // agents of one machine fail together; "": it has its own
	Labels    map[string]string // what functions may ask for
	Memory    uint64            // of its machine, in bytes; 0: it did not say
	CPUs      float64           // processors of its machine; 0: it did not say
	Ports     int               // of functions in all; 0: it did not say
	Isolation proto.Isolation
	Draining  bool
	Silent    time.Duration // since when it does not answer; 0: it does
	// Used is what functions take that are not among those of the plan.
	Used Use
}

// Use is what functions take of an agent.
type Use struct {
	Ports  int
	Memory uint64
	CPUs   float64
}

// UseOf is what a function takes that holds so many ports.
func UseOf(f *Function, ports int) Use {
	return Use{ports, cmp.Or(f.Memory, usualMemory), cmp.Or(f.CPUs, usualCPUs)}
}

// Add adds what others take, n times.
func (u *Use) Add(other Use, n int) {
	u.Ports += n * other.Ports
	u.Memory += uint64(n) * other.Memory //nolint:gosec // n is 1, or -1 for what was added
	u.CPUs += float64(n) * other.CPUs
}

// Function is a function with where it is now and where it may be.
type Function struct {
	Path string
	On   []string // names of agents that have it, also of agents that are not known
	// Ports is how many ports it holds on agents, by their names: none where it does not
	// run, two where a canary does. On an agent that is not named it holds one.
	Ports map[string]int
	// Fixed says that it stays there: a user has named these agents.
	Fixed bool
	// Replicas is how many agents are to have it; All: each that may.
	Replicas int
	All      bool
	// Most says that calls decide, and up to how many agents they may want: Wanted is how many
	// they do; 0: it is not known, and there are as many as there were. Up to Replicas: they
	// decide nothing.
	Most, Wanted int
	Labels       map[string]string // that its agents must have
	Isolation    proto.Isolation   // that they must have at least
	Memory       uint64            // limit of all its processes on an agent, in bytes; 0: it has none
	CPUs         float64           // the same in processors
	// Chosen are agents on which an earlier plan has put it. Of replicas that are too many
	// these stay.
	Chosen []string
}

// Target is where a function should be.
type Target struct {
	Path   string
	Agents []string // names, ordered
	Add    []string // those that do not have it
	Remove []string // those that have it and should not
	// Short is how many of the replicas that it should have no agent can take.
	Short int
	// Stuck are agents that it should leave, and stays on because no other can take it.
	Stuck []string
}

// Plan returns where functions should be, ordered by their paths. The order of what comes
// in does not matter. An agent counts as lost when it has not answered for lostAfter; 0:
// never.
func Plan(agents []Agent, functions []Function, lostAfter time.Duration) []Target {
	p := &plan{lostAfter: lostAfter, agents: map[string]*load{}}
	for _, a := range agents {
		if a.Machine == "" {
			a.Machine = "agent " + a.Name
		}
		p.agents[a.Name] = &load{a}
		p.names = append(p.names, a.Name)
	}
	slices.Sort(p.names)
	functions = slices.Clone(functions)
	slices.SortFunc(functions, func(a, b Function) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range functions {
		for _, name := range f.On {
			p.agents[name].add(&f, 1)
		}
	}
	targets := make([]Target, len(functions))
	for i := range functions {
		targets[i] = p.target(&functions[i])
	}
	return targets
}

// replicas is how many agents are to have it that had so many.
func (f *Function) replicas(had int) int {
	if f.Most <= f.Replicas {
		return f.Replicas
	}
	return min(max(cmp.Or(f.Wanted, had), f.Replicas), f.Most)
}

// plan is the agents while a plan is made.
type plan struct {
	lostAfter time.Duration
	names     []string // sorted
	agents    map[string]*load
}

// load is an agent with what it has, or is to have.
type load struct{ Agent }

// add counts a function n times. a may be nil: an agent that is not known.
func (a *load) add(f *Function, n int) {
	if a == nil {
		return
	}
	ports, told := f.Ports[a.Name]
	if !told {
		ports = 1
	}
	a.Used.Add(UseOf(f, ports), n)
}

// share is how much of the agent is taken once it also has f: of memory or of processors,
// of whichever it is more.
func (a *load) share(f *Function) float64 {
	memory := float64(a.Used.Memory+cmp.Or(f.Memory, usualMemory)) / float64(cmp.Or(a.Memory, agentsMemory))
	cpus := (a.Used.CPUs + cmp.Or(f.CPUs, usualCPUs)) / cmp.Or(a.CPUs, agentsCPUs)
	return max(memory, cpus)
}

// fits reports whether the agent has what f asks for.
func (a *load) fits(f *Function) bool {
	return Has(a.Labels, f.Labels) && a.Isolation >= f.Isolation
}

// Has reports whether an agent with labels has those that a function asks for.
func Has(labels, wanted map[string]string) bool {
	for k, v := range wanted {
		if had, ok := labels[k]; !ok || had != v {
			return false
		}
	}
	return true
}

func (p *plan) lost(a *load) bool { return p.lostAfter > 0 && a.Silent >= p.lostAfter }

// target decides on one function.
func (p *plan) target(f *Function) Target {
	on := slices.Compact(slices.Sorted(slices.Values(f.On)))
	t := Target{Path: f.Path}
	if f.Fixed {
		t.Agents = on
		return t
	}
	var stay, leave, free []string
	for _, name := range on {
		switch a := p.agents[name]; {
		case a == nil: // it is not known
		case a.fits(f) && !a.Draining && !p.lost(a):
			stay = append(stay, name)
		default:
			leave = append(leave, name)
		}
	}
	want := f.replicas(len(on))
	if !f.All && len(stay) == want && len(stay) == len(on) { // as nearly always
		t.Agents = on
		return t
	}
	for _, name := range p.names {
		if a := p.agents[name]; (f.All || len(stay) < want) && !slices.Contains(on, name) &&
			a.fits(f) && !a.Draining && a.Silent == 0 && (a.Ports == 0 || a.Used.Ports < a.Ports) {
			free = append(free, name)
		}
	}
	for _, name := range on { // so that each replica counts once, and its own does not
		p.agents[name].add(f, -1)
	}
	if f.All {
		t.Agents = slices.Concat(stay, free)
		leave = slices.DeleteFunc(leave, func(name string) bool {
			a := p.agents[name]
			waits := p.lost(a) && a.fits(f) && !a.Draining // its place is there when it is back
			if waits {
				t.Agents = append(t.Agents, name)
			}
			return waits
		})
		if len(stay)+len(free) == 0 {
			t.Agents, t.Stuck = append(t.Agents, leave...), leave
		}
		if len(t.Agents) == 0 {
			t.Short = 1
		}
	} else {
		t.Agents = p.choose(f, t.Agents, stay, want)
		t.Agents = p.choose(f, t.Agents, free, want)
		good := len(t.Agents)
		t.Agents = p.choose(f, t.Agents, leave, want)
		t.Short = want - len(t.Agents)
		for _, name := range t.Agents[good:] {
			if p.lost(p.agents[name]) {
				t.Short++
			} else {
				t.Stuck = append(t.Stuck, name)
			}
		}
		t.Short = max(0, t.Short)
	}
	slices.Sort(t.Agents)
	slices.Sort(t.Stuck)
	for _, name := range t.Agents {
		p.agents[name].add(f, 1)
		if !slices.Contains(on, name) {
			t.Add = append(t.Add, name)
		}
	}
	for _, name := range on {
		if !slices.Contains(t.Agents, name) {
			t.Remove = append(t.Remove, name)
		}
	}
	return t
}

// choose adds the best of some agents to those that f has got, until it has as many as it
// is to have.
func (p *plan) choose(f *Function, got, from []string, want int) []string {
	if len(got) >= want {
		return got
	}
	from = slices.DeleteFunc(slices.Clone(from), func(name string) bool { return slices.Contains(got, name) })
	for len(got) < want && len(from) > 0 {
		machines := map[string]int{}
		for _, name := range got {
			machines[p.agents[name].Machine]++
		}
		best := slices.MinFunc(from, func(x, y string) int {
			a, b := p.agents[x], p.agents[y]
			return cmp.Or(
				first(slices.Contains(f.Chosen, x), slices.Contains(f.Chosen, y)),
				first(!p.lost(a), !p.lost(b)),
				first(a.Silent == 0, b.Silent == 0),
				first(a.share(f) <= 1, b.share(f) <= 1),
				cmp.Compare(machines[a.Machine], machines[b.Machine]),
				cmp.Compare(a.share(f), b.share(f)),
				cmp.Compare(x, y),
			)
		})
		got = append(got, best)
		from = slices.DeleteFunc(from, func(name string) bool { return name == best })
	}
	return got
}

// first orders what is so before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}
