package fleet

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// A function may be removed while an agent that has it does not answer. What that agent
// still has to remove is stored, and is removed before the proxy tells anything of the
// agent when it is back.

const (
	removalsFile = "removals.json"
	// maxRemovals bounds what is stored. Of the oldest nothing is known any longer: the
	// functions are listed when their agents are back, and can be removed again.
	maxRemovals = 1000
)

// removal is a function that an agent has to remove.
type removal struct {
	Agent string    `json:"agent"`        // its address
	ID    string    `json:"id,omitempty"` // as it said itself
	Name  string    `json:"name"`
	At    time.Time `json:"at"`
}

// of reports whether the removal is an agent's.
func (r *removal) of(addr, id string) bool {
	if r.ID != "" && id != "" {
		return r.ID == id
	}
	return r.Agent == addr
}

// removalsOnDisk is the content of their file.
type removalsOnDisk struct {
	Removals []removal `json:"removals"`
}

// loadRemovals reads what earlier runs have stored.
func (f *Fleet) loadRemovals() error {
	var file removalsOnDisk
	_, err := f.Dir.Read(removalsFile, &file)
	f.removals = file.Removals
	return err
}

// changeRemovals changes what is stored, if change, which is called with f.mu held,
// returns something else.
func (f *Fleet) changeRemovals(change func([]removal) []removal) {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	before := f.removals
	f.removals = change(slices.Clone(before))
	f.removals = f.removals[max(0, len(f.removals)-maxRemovals):]
	now := f.removals
	f.mu.Unlock()
	if slices.Equal(before, now) {
		return
	}
	f.saveRemovals(now)
}

// saveRemovals stores what agents have to remove. f.saving is held.
func (f *Fleet) saveRemovals(all []removal) {
	if err := f.Dir.Write(removalsFile, removalsOnDisk{all}); err != nil && !errors.Is(err, state.ErrLent) {
		f.Logger.Error("what agents still have to remove is not saved", "error", err)
	}
}

// RemoveLater lets agents that do not answer remove a function when they are back, and
// removes their rows of it. It returns the addresses of these agents.
func (f *Fleet) RemoveLater(name string) (absent []string) {
	path, now := proto.Path(name), time.Now().UTC()
	// In one step: an agent that comes back is not absent any longer, or finds the removal.
	f.changeRemovals(func(all []removal) []removal {
		for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
			a := f.agents[addr]
			if a.client != nil || !a.known {
				continue
			}
			absent = append(absent, addr)
			all = append(without(all, path, addr), removal{Agent: addr, ID: a.id, Name: name, At: now})
			f.forget(a, path)
		}
		return all
	})
	if len(absent) > 0 {
		f.save()
	}
	return absent
}

// RemoveAt lets one agent that does not answer remove a function when it is back, and
// removes its row of it. It reports false if the agent is back, or not known.
func (f *Fleet) RemoveAt(name, addr string) (absent bool) {
	path, now := proto.Path(name), time.Now().UTC()
	f.changeRemovals(func(all []removal) []removal {
		a := f.agents[addr]
		if a == nil || a.client != nil || !a.known {
			return all
		}
		absent = true
		f.forget(a, path)
		return append(without(all, path, addr), removal{Agent: addr, ID: a.id, Name: name, At: now})
	})
	if absent {
		f.save()
	}
	return absent
}

// Forget removes the rows of a path at agents that do not answer, of some addresses or, with
// none, of all, and returns these. What becomes of them when they are back, others know.
func (f *Fleet) Forget(path string, addrs ...string) (absent []Replica) {
	f.mu.Lock()
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		if a := f.agents[addr]; a.client == nil && a.known && (len(addrs) == 0 || slices.Contains(addrs, addr)) {
			absent = append(absent, Replica{Agent: addr, ID: a.id, Row: a.rows[path]})
			f.forget(a, path)
		}
	}
	f.mu.Unlock()
	if len(absent) > 0 {
		f.save()
	}
	return absent
}

// forget removes an agent's row of a path. f.mu is held.
func (f *Fleet) forget(a *agent, path string) {
	if a.rows[path] == nil {
		return
	}
	rows := maps.Clone(a.rows)
	delete(rows, path)
	f.claim(a, rows)
	f.replace(a, rows, false)
}

// cancelRemoval cancels the removal of a function that an agent still has to do.
func (f *Fleet) cancelRemoval(path, addr string) {
	f.changeRemovals(func(all []removal) []removal { return without(all, path, addr) })
}

// without returns the removals but that of a function by an agent.
func without(all []removal, path, addr string) []removal {
	return slices.DeleteFunc(all, func(r removal) bool { return r.Agent == addr && proto.Path(r.Name) == path })
}

// removeNow removes from an agent that is back what was removed while it was away. It
// returns the names of these functions.
func (f *Fleet) removeNow(ctx context.Context, a *agent, id string, client *transport.Client) (gone []string) {
	f.mu.Lock()
	due := slices.DeleteFunc(slices.Clone(f.removals), func(r removal) bool { return !r.of(a.addr, id) })
	f.mu.Unlock()
	if len(due) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	var done []removal
	for _, r := range due {
		removed, err := removeOlder(ctx, client, r)
		switch {
		case err != nil:
			f.Logger.Error("a function that was removed while its agent was away is still there", "function", r.Name, "agent", a.addr, "error", err)
			continue
		case removed:
			f.Logger.Info("removed, as was asked while the agent was away", "function", r.Name, "agent", a.addr)
			gone = append(gone, r.Name)
		}
		done = append(done, r)
	}
	f.changeRemovals(func(all []removal) []removal {
		return slices.DeleteFunc(all, func(r removal) bool { return slices.Contains(done, r) })
	})
	return gone
}

// removeOlder removes a function, unless it was deployed since it was to be removed, or
// the agent does not have it.
func removeOlder(ctx context.Context, client *transport.Client, r removal) (removed bool, err error) {
	versions, err := client.Versions(ctx, r.Name)
	for _, v := range versions {
		if at, err := time.Parse(time.RFC3339, v.GetTime()); err == nil && at.After(r.At) {
			return false, nil
		}
	}
	if err == nil {
		_, err = client.Remove(ctx, r.Name)
	}
	if errors.Is(err, proto.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
