package fleet

import (
	"maps"
	"slices"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// Agents returns the agents, ordered by address.
func (f *Fleet) Agents() []*proto.AgentState {
	since := map[string]string{}
	if f.Authority != nil {
		for _, m := range f.Authority.Members() {
			since[m.ID] = m.Joined.UTC().Format(time.RFC3339)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []*proto.AgentState{}
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		list = append(list, f.agents[addr].state(since))
	}
	return list
}

// state is the agent as people see it. Fleet.mu is held.
func (a *agent) state(since map[string]string) *proto.AgentState {
	s := &proto.AgentState{
		Addr: a.addr, Id: a.id, Joined: a.member != "", Since: since[a.member], Connected: a.client != nil,
		Functions: uint32(len(a.rows)), Platform: a.info.GetPlatform(), GoVersion: a.info.GetGoVersion(), //nolint:gosec // few
	}
	s.Labels, s.Memory, s.Cpus, s.Ports = a.info.GetLabels(), a.info.GetMemory(), a.info.GetCpus(), a.info.GetPorts()
	s.Draining = a.draining
	if a.client == nil {
		s.Error = a.unavailable().Error()
	}
	return s
}

// Drain says whether an agent, named by its address or its id, gets no further functions,
// and stores that. revision is that of its record which says so, 0 without one. It returns
// what the agent is now.
func (f *Fleet) Drain(name string, drains bool, revision uint64) (*proto.AgentState, error) {
	f.mu.Lock()
	a := f.meant(name)
	if a == nil {
		unknown := f.notKnown(name).WithHint("proxyCli agents shows addresses and ids")
		f.mu.Unlock()
		return nil, unknown
	}
	a.draining, a.revision = drains, max(a.revision, revision)
	state := a.state(nil)
	f.broadcast()
	f.mu.Unlock()
	f.save()
	return state, nil
}

// meant returns the agent of an address or an id, or nil. f.mu is held.
func (f *Fleet) meant(name string) *agent {
	if addr, err := transport.NormalizeAddr(name); err == nil {
		return f.named(addr)
	}
	return f.withID(name)
}

// Remove removes the agent of an address or an id, and what it has told. Its functions
// go on. It returns what the agent was.
func (f *Fleet) Remove(name string) (*proto.AgentState, error) {
	f.mu.Lock()
	a := f.meant(name)
	if a == nil {
		unknown := f.notKnown(name).WithHint("proxyCli agents shows addresses and ids")
		f.mu.Unlock()
		return nil, unknown
	}
	client := a.client
	f.mu.Unlock()
	if client != nil {
		f.withdraw(a, client)
	}
	if a.member != "" {
		if _, err := f.Authority.Remove(a.member); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	was := a.state(nil)
	f.drop(a)
	if moved := f.withID(a.member); moved != nil { // to another address meanwhile
		f.drop(moved)
	}
	f.mu.Unlock()
	f.save()
	return was, nil
}
