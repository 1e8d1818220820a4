package fleet

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// Replica is a function at an agent.
type Replica struct {
	Agent string                 // its address
	ID    string                 // as it says itself; "": it did not say
	Local bool                   // it is on this machine, by its address
	User  int                    // as whom it runs there, or NoUser
	Row   *proto.FunctionJsonRsp // what the agent says, or that it does not answer; read only
	Door  *transport.Door        // the way to its services; nil: their addresses
}

// NoUser stands for the user of an agent on another machine, or of one whose user the
// system does not tell.
const NoUser = -1

// at returns the rows of a path, ordered by agent. f.mu is held.
func (f *Fleet) at(path string) []Replica {
	var list []Replica
	for _, a := range f.having[path] {
		if row := a.rows[path]; row != nil {
			if a.client == nil || f.Held(a.addr, a.id, path) != "" {
				row = f.visible(a, row)
			}
			list = append(list, Replica{Agent: a.addr, ID: a.id, Local: a.local, User: a.user, Row: row, Door: a.way()})
		}
	}
	slices.SortFunc(list, func(a, b Replica) int {
		return cmp.Or(cmp.Compare(a.Row.GetName(), b.Row.GetName()), cmp.Compare(a.Agent, b.Agent))
	})
	return list
}

// way returns the door by which the services of the agent are reached, nil for their
// addresses. Fleet.mu is held.
func (a *agent) way() *transport.Door {
	if a.info.GetExposed() || a.local && a.member == "" {
		return nil
	}
	return a.door
}

// Find returns the rows of a path, ordered by agent.
func (f *Fleet) Find(path string) []Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at(path)
}

// Sized returns the rows of functions whose number of processes the proxy decides, by path:
// those that are Deployed at agents that answer.
func (f *Fleet) Sized() map[string][]Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := map[string][]Replica{}
	for _, a := range f.agents {
		for path, row := range a.rows {
			if row.GetMax() > 0 && a.client != nil && a.owns[path] && !row.GetPaused() && proto.Status(row.GetStatus()) == proto.Deployed {
				found[path] = append(found[path], Replica{Agent: a.addr, Row: row})
			}
		}
	}
	for _, list := range found {
		slices.SortFunc(list, func(a, b Replica) int { return cmp.Compare(a.Agent, b.Agent) })
	}
	return found
}

// Row returns a copy of a function's row at an agent, nil when there is none.
func (f *Fleet) Row(addr, name string) *proto.FunctionJsonRsp {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.agents[addr]; a != nil && a.rows[proto.Path(name)].GetName() == name {
		return protobuf.CloneOf(a.rows[proto.Path(name)])
	}
	return nil
}

// Dormant returns the rows that a path has at connected agents where it is stopped. It asks
// those that Had names, or else all.
func (f *Fleet) Dormant(ctx context.Context, path string) []Replica {
	agents := f.Connected()
	if had, known := f.Had(path); known {
		agents = slices.DeleteFunc(agents, func(r Replica) bool { return !slices.Contains(had, r.Agent) })
	}
	return f.DormantAt(ctx, path, agents)
}

// DormantAt is Dormant of some agents.
func (f *Fleet) DormantAt(ctx context.Context, path string, agents []Replica) []Replica {
	rows := f.stopped(ctx, agents)
	return slices.DeleteFunc(rows, func(r Replica) bool { return proto.Path(r.Row.GetName()) != path })
}

// AllStopped returns the rows of what is stopped at connected agents, ordered by name,
// then by agent. One that does not say is left out.
func (f *Fleet) AllStopped(ctx context.Context) []Replica { return f.stopped(ctx, f.Connected()) }

func (f *Fleet) stopped(ctx context.Context, agents []Replica) (list []Replica) {
	rows := make([][]*proto.FunctionJsonRsp, len(agents))
	var wg sync.WaitGroup
	for i, r := range agents {
		wg.Go(func() {
			s, err := f.Connect(ctx, r.Agent)
			if err == nil {
				rows[i], err = s.Stopped(ctx)
			}
			if err != nil {
				f.Logger.Warn("an agent does not say what is stopped", "agent", r.Agent, "error", err)
			}
		})
	}
	wg.Wait()
	for i, r := range agents {
		for _, row := range rows[i] {
			r.Row = row
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Replica) int {
		return cmp.Or(cmp.Compare(a.Row.GetName(), b.Row.GetName()), cmp.Compare(a.Agent, b.Agent))
	})
	return list
}

// Stopped returns the last row of a function that was stopped.
func Stopped(row *proto.FunctionJsonRsp) *proto.FunctionJsonRsp {
	row = protobuf.CloneOf(row)
	row.Status, row.Instances, row.Pid = string(proto.Stopped), 0, 0
	return row
}

// Has reports whether an agent has a row of a function.
func (f *Fleet) Has(addr, name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.agents[addr]
	return a != nil && a.rows[proto.Path(name)].GetName() == name
}

// Drafts returns the rows of a path that Tell told and whose agents do not know the
// function.
func (f *Fleet) Drafts(path string) []*proto.FunctionJsonRsp {
	return slices.DeleteFunc(f.rows.RowsOf(path), func(row *proto.FunctionJsonRsp) bool {
		return f.Row(row.GetAtAgent(), row.GetName()) != nil
	})
}

// visible returns a copy of a row for watchers. f.mu is held.
func (f *Fleet) visible(a *agent, row *proto.FunctionJsonRsp) *proto.FunctionJsonRsp {
	row = protobuf.CloneOf(row)
	if path := proto.Path(row.GetName()); !a.owns[path] && f.owner(path) != nil {
		row.Error, row.Reason = "calls go to agent "+f.owner(path).addr+", which had a function of this name before; deploy it through the proxy to call it here", proto.ReasonAgent
	}
	held := f.Held(a.addr, a.id, proto.Path(row.GetName()))
	switch {
	case a.client == nil && held != "":
		row.Error, row.Reason = a.unavailable().Error()+"; "+held, proto.ReasonUnreachable
	case a.client == nil:
		row.Error, row.Reason = a.unavailable().Error(), proto.ReasonUnreachable
	case held != "":
		row.Error, row.Reason = held, proto.ReasonBehind
	}
	return row
}

// publish publishes which replicas some paths have now. f.mu is held.
func (f *Fleet) publish(paths ...string) {
	changes := make(map[string][]Replica, len(paths))
	for _, path := range paths {
		changes[path] = nil
		if !f.hidden[path] {
			changes[path] = slices.DeleteFunc(f.at(path), func(r Replica) bool {
				a := f.agents[r.Agent]
				return !a.owns[path] || f.Held(a.addr, a.id, path) != ""
			})
		}
	}
	f.Publish(changes)
}

// Refresh tells of the rows of some paths anew: Held says something else of them.
func (f *Fleet) Refresh(paths ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, path := range paths {
		for _, a := range f.having[path] {
			if row := a.rows[path]; row != nil {
				f.rows.Set(f.visible(a, row))
			}
		}
	}
	f.publish(paths...)
	f.broadcast()
}

// Owned returns the rows of all paths at agents that answer and to which the paths lead.
func (f *Fleet) Owned() map[string][]Replica {
	return f.owned(func(a *agent, add func(string)) {
		for path := range a.rows {
			add(path)
		}
	})
}

// OwnedOf is Owned of some paths.
func (f *Fleet) OwnedOf(paths ...string) map[string][]Replica {
	return f.owned(func(_ *agent, add func(string)) {
		for _, path := range paths {
			add(path)
		}
	})
}

func (f *Fleet) owned(each func(a *agent, add func(path string))) map[string][]Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := map[string][]Replica{}
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		a := f.agents[addr]
		each(a, func(path string) {
			if row := a.rows[path]; row != nil && a.client != nil && a.owns[path] {
				all[path] = append(all[path], Replica{Agent: addr, ID: a.id, Local: a.local, User: a.user, Row: row})
			}
		})
	}
	return all
}

// Agent returns the agent of an id, wherever it is, or else of an address, without a row.
// It reports whether the agent is known, and whether it answers.
func (f *Fleet) Agent(addr, id string) (r Replica, known, answers bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.agents[addr]
	if a == nil || a.id != id { // else there is no other
		a = cmp.Or(f.withID(id), a)
	}
	if a == nil {
		return Replica{Agent: addr, ID: id}, false, false
	}
	return Replica{Agent: a.addr, ID: a.id, Local: a.local, User: a.user}, a.known, a.client != nil
}

// Hide keeps further calls from a path until Show.
func (f *Fleet) Hide(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hidden[path] = true
	f.publish(path)
}

// Show undoes Hide.
func (f *Fleet) Show(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.hidden, path)
	f.publish(path)
}

// All returns all agents, without rows.
func (f *Fleet) All() (list []Replica) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		list = append(list, Replica{Agent: addr, Local: f.agents[addr].local, User: f.agents[addr].user})
	}
	return list
}

// Connected returns the agents that answer, without rows.
func (f *Fleet) Connected() []Replica {
	all := f.All()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(all, func(r Replica) bool { return f.agents[r.Agent] == nil || f.agents[r.Agent].client == nil })
}

// Rows returns copies of the rows of all agents. Those of an agent that does not
// answer say so in their error.
func (f *Fleet) Rows() []*proto.FunctionJsonRsp { return f.rows.Rows() }

// Called returns the rows that calls of functions go to, read only: one of each agent that
// has the function, and of no other function of its path.
func (f *Fleet) Called() (rows []*proto.FunctionJsonRsp) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		a := f.agents[addr]
		for path, row := range a.rows {
			if a.owns[path] {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// Watch passes on all rows, and each that changes, until ctx is done.
func (f *Fleet) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	return f.rows.Watch(ctx, on)
}

// Tell shows watchers a row that its agent has not told. A later row of the agent
// replaces it.
func (f *Fleet) Tell(row *proto.FunctionJsonRsp) { f.rows.Set(row) }
