package fleet

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/place"
)

// Abilities is what an agent said it can do.
type Abilities struct{ *proto.AgentInfo }

// Builds says whether the agent can build. One that did not say counts as able to.
func (i Abilities) Builds() bool { return i.AgentInfo == nil || i.GetGoVersion() != "" }

// isolates returns the tier of the agent. One that did not say has any.
func (i Abilities) isolates() proto.Isolation {
	tier, err := proto.ParseIsolation(i.GetIsolation())
	if err != nil {
		return proto.IsolationFull
	}
	return tier
}

// Isolates returns an ErrIncapable that names those of some agents that isolate
// functions by less than a tier.
func (f *Fleet) Isolates(least proto.Isolation, addrs ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lacking []string
	for _, addr := range addrs {
		if a := f.agents[addr]; a != nil && (Abilities{a.info}).isolates() < least {
			lacking = append(lacking, addr+" ("+a.info.GetIsolation()+")")
		}
	}
	if lacking == nil {
		return nil
	}
	return tooWeak(least, lacking)
}

func tooWeak(least proto.Isolation, agents []string) error {
	return proto.Errorf(proto.ErrIncapable, "isolation %s is more than these agents have: %s", least, strings.Join(agents, ", ")).
		WithHint("agent doctor says, on their machines, how to get more; or name agents that have it")
}

// Info returns what an agent said it can do.
func (f *Fleet) Info(addr string) Abilities {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.agents[addr]; a != nil {
		return Abilities{a.info}
	}
	return Abilities{}
}

// Builder returns the connected agent with the fewest functions that can build
// for a platform.
func (f *Fleet) Builder(platform string) (addr string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	best := f.least(func(a *agent) bool { return a.info.GetGoVersion() != "" && a.info.GetPlatform() == platform })
	if best == nil {
		return "", false
	}
	return best.addr, true
}

// least returns the connected agent with the fewest functions of those that fit, or
// nil. f.mu is held.
func (f *Fleet) least(fit func(*agent) bool) (best *agent) {
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		if a := f.agents[addr]; a.client != nil && fit(a) && (best == nil || a.load() < best.load()) {
			best = a
		}
	}
	return best
}

// Place says which agents are to have a function, with all others where they are. Until
// release is called the function counts as theirs, so that deploys at the same time do not
// all go to one agent. An agent counts as lost that has not answered for lostAfter; 0:
// none does. That no agent can have it is an error.
func (f *Fleet) Place(fn place.Function, lostAfter time.Duration) (target place.Target, release func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	agents := f.places()
	for i := range agents {
		agents[i].Used = f.agents[agents[i].Name].usedWithout(fn.Path)
	}
	target = place.Plan(agents, []place.Function{fn}, lostAfter)[0]
	if len(target.Agents) == 0 {
		return target, nil, f.nowhere(fn)
	}
	for _, addr := range target.Agents {
		if a := f.agents[addr]; a != nil {
			a.placing[fn.Path]++
		}
	}
	return target, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, addr := range target.Agents {
			if a := f.agents[addr]; a != nil && a.placing[fn.Path] > 1 {
				a.placing[fn.Path]--
			} else if a != nil {
				delete(a.placing, fn.Path)
			}
		}
	}, nil
}

// nowhere says why no agent can have a function. f.mu is held.
func (f *Fleet) nowhere(fn place.Function) error {
	var answer, takes []*agent
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		a := f.agents[addr]
		if a.client != nil {
			answer = append(answer, a)
		}
		if a.client != nil && !a.draining {
			takes = append(takes, a)
		}
	}
	var lacking, weak, full []string
	for _, a := range takes {
		tier := Abilities{a.info}.isolates()
		if tier >= fn.Isolation && place.Has(a.info.GetLabels(), fn.Labels) {
			full = append(full, a.addr)
		}
		lacking = append(lacking, a.addr+" ("+cmp.Or(proto.LabelsText(a.info.GetLabels()), "none")+")")
		if tier < fn.Isolation {
			weak = append(weak, a.addr+" ("+a.info.GetIsolation()+")")
		}
	}
	err := func(format string, args ...any) *proto.Error {
		return proto.Errorf(proto.ErrUnavailable, format, args...).From("gateway", proto.ReasonAgent)
	}
	switch {
	case len(f.agents) == 0:
		return err("no agent is known").
			WithHint(`start an agent on the proxy's machine, or name one: proxy -agents localhost:9000, or "agentAddr" in the definition`)
	case len(answer) == 0:
		return err("no agent answers: %s", strings.Join(slices.Sorted(maps.Keys(f.agents)), ", ")).
			WithHint("check that an agent runs")
	case len(takes) == 0:
		return err("all agents that answer are being drained").
			WithHint("let one have functions again: proxyCli agents resume " + answer[0].addr)
	case len(full) > 0: // else they would have been chosen
		return proto.Errorf(proto.ErrExhausted, "all ports of the agents that can have it are in use: %s", strings.Join(full, ", ")).
			WithHint("stop functions that are not needed, start these agents with a wider -ports, or start more of them").From("gateway", "ports")
	case len(weak) == len(takes):
		return tooWeak(fn.Isolation, weak)
	default: // without labels one of those that are not weak had taken it
		return err("no agent that can have it has the labels %s: %s", proto.LabelsText(fn.Labels), strings.Join(lacking, ", ")).
			WithHint("start an agent with -labels " + proto.LabelsText(fn.Labels))
	}
}

// Places returns the agents and the functions, as package place sees them. Functions whose
// agents a user has named are fixed.
func (f *Fleet) Places() ([]place.Agent, []place.Function) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.places(), f.functions()
}

// Function returns a function that has rows, as package place sees it.
func (f *Fleet) Function(path string) (place.Function, bool) {
	_, functions := f.Places()
	for _, fn := range functions {
		if fn.Path == path {
			return fn, true
		}
	}
	return place.Function{}, false
}

// Changed returns a channel that is closed at the next change of anything that agents say.
func (f *Fleet) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// Look lets those look again who wait for a change.
func (f *Fleet) Look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broadcast()
}

// places are the agents. f.mu is held.
func (f *Fleet) places() (list []place.Agent) {
	for addr, a := range f.agents {
		p := place.Agent{
			Name: addr, Machine: (&url.URL{Host: addr}).Hostname(), Labels: a.info.GetLabels(),
			Memory: a.info.GetMemory(), CPUs: float64(a.info.GetCpus()), Ports: int(a.info.GetPorts()),
			Isolation: Abilities{a.info}.isolates(), Draining: a.draining,
		}
		if a.client == nil {
			p.Silent = 1 // it is new
			if !a.since.IsZero() {
				p.Silent = max(1, time.Since(a.since))
			}
		}
		list = append(list, p)
	}
	return list
}

// functions are those that agents have, or are about to have. f.mu is held.
func (f *Fleet) functions() (list []place.Function) {
	byPath := make(map[string]*place.Function, len(f.having))
	newest := make(map[string]*proto.FunctionJsonRsp, len(f.having))
	list = make([]place.Function, 0, len(f.having))
	for addr, a := range f.agents {
		for path, row := range a.rows {
			if !a.owns[path] { // it is another function, which has nothing to do with the first
				list = append(list, place.Function{Path: path + " " + addr, On: []string{addr}, Ports: map[string]int{addr: a.ports(path)}, Fixed: true})
				continue
			}
			if byPath[path] == nil {
				byPath[path] = &place.Function{Path: path}
			}
			byPath[path].On = append(byPath[path].On, addr)
			if n := a.ports(path); n != 1 {
				if byPath[path].Ports == nil {
					byPath[path].Ports = map[string]int{}
				}
				byPath[path].Ports[addr] = n
			}
			// What is to be was said to all; one that was away has not heard it.
			if before := newest[path]; before == nil || cmp.Or(
				cmp.Compare(row.GetVersion(), before.GetVersion()), first(a.client != nil, f.agents[before.GetAtAgent()].client != nil), cmp.Compare(before.GetAtAgent(), addr),
			) > 0 {
				newest[path] = row
			}
		}
		for path := range a.placing {
			if byPath[path] == nil {
				byPath[path] = &place.Function{Path: path}
			}
			if a.rows[path] == nil {
				byPath[path].On = append(byPath[path].On, addr)
			}
		}
	}
	for path, fn := range byPath {
		if row := newest[path]; row != nil {
			Wished(fn, row)
		} else {
			fn.Fixed = true // it is on its way
		}
		list = append(list, *fn)
	}
	return list
}

// first orders what is so after what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Wished sets in fn what a row says of where its function is to be.
func Wished(fn *place.Function, row *proto.FunctionJsonRsp) {
	Wish{row.GetReplicas(), row.GetPlacement(), row.GetMemory(), row.GetCpu(), row.GetDemanded(), int(row.GetProcesses())}.Into(fn)
}

// Wish is what is said of where a function is to be, as settings say it.
type Wish struct {
	Replicas               string
	Labels                 map[string]string
	Memory, CPU, Isolation string
	Processes              int
}

// Into sets it in fn.
func (w Wish) Into(fn *place.Function) {
	fn.Memory, fn.CPUs, fn.Isolation = 0, 0, proto.IsolationNone
	if w.Memory != "" || w.CPU != "" || w.Isolation != "" {
		says := &proto.FunctionJson{Memory: w.Memory, Cpu: w.CPU, Isolation: w.Isolation}
		memory, _ := says.MemoryLimit() // what an agent says that is wrong counts as nothing
		cpus, _ := says.CPUs()
		fn.Isolation, _ = says.MinIsolation()
		processes := max(1, w.Processes)
		fn.Memory, fn.CPUs = uint64(memory)*uint64(processes), cpus*float64(processes) //nolint:gosec // neither is negative
	}
	fn.Labels = w.Labels
	wanted, err := proto.ParseReplicas(w.Replicas)
	fn.Replicas, fn.Most, fn.All, fn.Fixed = wanted.Least, wanted.Most, wanted.All, err != nil
}

// ports counts the ports that a function of the agent holds, or is about to take: one that
// has failed, or is stopped, holds none. Fleet.mu is held.
func (a *agent) ports(path string) int {
	n := a.uses[path].Ports
	if n == 0 && a.placing[path] > 0 {
		return 1
	}
	return n
}

// useOf is what the function of a row takes of its agent.
func useOf(row *proto.FunctionJsonRsp) place.Use {
	fn := place.Function{}
	Wished(&fn, row)
	held := []string{row.GetProxy()}
	for _, s := range row.GetServing() {
		held = append(held, s.GetProxy())
	}
	slices.Sort(held)
	held = slices.DeleteFunc(slices.Compact(held), func(url string) bool { return url == "" })
	ports := len(held)
	if ports == 0 && proto.Status(row.GetStatus()) == proto.Deploying {
		ports = 1
	}
	return place.UseOf(&fn, ports)
}

// weigh notes what the functions of an agent take of it. before is the rows until now.
// Fleet.mu is held.
func (a *agent) weigh(before map[string]*proto.FunctionJsonRsp) {
	for path := range before {
		if a.rows[path] == nil {
			a.used.Add(a.uses[path], -1)
			delete(a.uses, path)
		}
	}
	for path, row := range a.rows {
		if before[path] != row {
			a.used.Add(a.uses[path], -1)
			a.uses[path] = useOf(row)
			a.used.Add(a.uses[path], 1)
		}
	}
}

// usedWithout is what all functions but that of a path take of the agent, with those that
// are about to. Fleet.mu is held.
func (a *agent) usedWithout(path string) place.Use {
	used := a.used
	used.Add(a.uses[path], -1)
	for other := range a.placing {
		if other == path {
			continue
		}
		if a.rows[other] == nil {
			used.Add(place.UseOf(&place.Function{}, 1), 1)
		} else if a.uses[other].Ports == 0 {
			used.Ports++
		}
	}
	return used
}

// load counts the functions that an agent has or is about to have. Fleet.mu is held.
func (a *agent) load() int {
	n := len(a.rows)
	for path := range a.placing {
		if a.rows[path] == nil {
			n++
		}
	}
	return n
}
