package fleet

import (
	"maps"
	"slices"
)

// Known is an agent as proxies that have one store know it.
type Known struct {
	ID       string `json:"id"`
	Addr     string `json:"addr"` // by which one of them reaches it
	Joined   bool   `json:"joined,omitempty"`
	Draining bool   `json:"draining,omitempty"` // it gets no functions, and gives away those it has

	// Revision is that of its record.
	Revision uint64 `json:"-"`
}

// Learn takes over which agents there are by the records of a store, which its epoch names:
// those that other proxies have added or removed, and whether they drain. It returns those
// that have no record yet, or have another address now.
func (f *Fleet) Learn(epoch string, list []Known) (news []Known) {
	byID := make(map[string]Known, len(list))
	for _, k := range list {
		byID[k.ID] = k
	}
	changed := false
	for _, k := range list {
		changed = f.learn(epoch, k) || changed
	}
	f.mu.Lock()
	for _, addr := range slices.Sorted(maps.Keys(f.agents)) {
		a := f.agents[addr]
		k, is := byID[a.id]
		switch {
		case a.id == "" || !a.known:
		case !is && a.stored == epoch:
			f.Logger.Info("another proxy has removed an agent", "agent", addr, "id", a.id)
			f.drop(a)
			changed = true
		case !is, a.moved && a.client != nil && k.Addr != addr:
			news = append(news, Known{ID: a.id, Addr: addr, Joined: a.member != "", Draining: a.draining || k.Draining, Revision: k.Revision})
		}
	}
	f.mu.Unlock()
	if changed {
		f.save()
	}
	return news
}

// learn takes over one record, and reports whether something has changed.
func (f *Fleet) learn(epoch string, k Known) (changed bool) {
	f.mu.Lock()
	a := f.withID(k.ID)
	away := a != nil && a.client == nil && a.addr != k.Addr && a.member == ""
	f.mu.Unlock()
	if a == nil && k.Joined { // it is a member, or will be, as the authority says
		return false
	}
	if a == nil || away { // where it is away it may have moved
		at, err := f.add(k.Addr)
		if err != nil {
			f.Logger.Warn("an agent that another proxy knows is refused", "agent", k.Addr, "id", k.ID, "error", err)
			return false
		}
		f.mu.Lock()
		if a == nil && at.id == "" {
			at.id, at.known = k.ID, true
			a, changed = at, true
		}
		f.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if a == nil || a.id != k.ID || k.Revision < a.revision {
		return changed
	}
	if a.draining != k.Draining || a.stored != epoch {
		changed = true
		f.broadcast()
	}
	a.draining, a.stored, a.revision = k.Draining, epoch, k.Revision
	return changed
}

// Noted says that an agent's record has a revision now.
func (f *Fleet) Noted(epoch, id string, revision uint64) {
	f.mu.Lock()
	a := f.withID(id)
	if a != nil {
		a.stored, a.revision, a.moved = epoch, max(a.revision, revision), false
	}
	f.mu.Unlock()
	if a != nil {
		f.save()
	}
}

// Meant returns the id and the address of an agent that is named by either, an ErrNotFound
// where there is none.
func (f *Fleet) Meant(name string) (k Known, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.meant(name)
	if a == nil {
		return k, f.notKnown(name).WithHint("proxyCli agents shows addresses and ids")
	}
	return Known{ID: a.id, Addr: a.addr, Joined: a.member != "", Draining: a.draining}, nil
}
