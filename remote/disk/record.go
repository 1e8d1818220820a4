package disk

import (
	"fmt"
	"slices"
	"time"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

// Record is what must outlive the agent about one function: what should run.
type Record struct {
	History
	// Port of the main service, kept over changes and restarts; 0: none.
	Port int
	// Main is the version that serves, or should; 0: none.
	Main uint32
	// Canary serves beside it.
	Canary *Canary `json:",omitempty"`
	// Next was accepted, and has neither become ready nor failed yet.
	Next *Change `json:",omitempty"`
	// Paused: callers get 503, and no process runs.
	Paused bool `json:",omitempty"`
	// Stopped is when it was stopped; zero: it was not.
	Stopped time.Time `json:"-"`
}

// History is the part of a record that the agent cannot derive from what runs.
type History struct {
	Name string
	// Generation counts the changes that were accepted, and Last is the highest
	// number that a version has had. Both count from 1.
	Generation, Last uint32
	// User is the number that the function's own user follows from; 0: it has none yet. No
	// other function of the folder has it.
	User uint32 `json:",omitempty"`
	// Versions are those that were ready once and are kept, the oldest first.
	Versions []*Version `json:",omitempty"`
	// Before is the version that served before the one that serves; 0: none. Of a
	// stopped function it is the one that served last, and Earlier the one before that.
	Before  uint32
	Earlier uint32 `json:",omitempty"`
	// Failure is why the last change failed.
	Failure *Failure `json:",omitempty"`
	// Placed is how its proxy places it; nil: the user has named its agents.
	Placed *Placed `json:",omitempty"`
}

// Placed is on which agents a function is to be, as the last deploy said. It is no part of
// a version: versions are the same on all agents.
type Placed struct {
	Replicas string            // a number, or all
	Labels   map[string]string `json:",omitempty"`
}

// PlacedBy returns what a deploy says of where the function is to be.
func PlacedBy(fn *proto.FunctionJson) *Placed {
	if fn.GetReplicas() == "" {
		return nil
	}
	return &Placed{Replicas: fn.GetReplicas(), Labels: fn.GetPlacement()}
}

// Canary is a version that gets a part of the calls.
type Canary struct {
	Version uint32
	Weight  uint32 // percentage
	Port    int
}

// Change is what a function is on its way to.
type Change struct {
	Version *Version // one that is kept, or a new one
	Canary  uint32   `json:",omitempty"` // percentage that it is to get; 0: all calls
}

// Failure is why a deploy or a process failed.
type Failure struct {
	Version    uint32
	Generation uint32
	Kind       string `json:",omitempty"` // of the version that failed, when it is known
	Reason     string // one of proto's reasons
	Text       string
	At         time.Time
	Preview    string `json:",omitempty"` // of the version that failed: it has no row to say so
	PreviewTTL string `json:",omitempty"`
}

// check reports damage in the record of the function at a path.
func (r *Record) check(path string) error {
	damaged := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{state.ErrDamaged}, args...)...)
	}
	if proto.CheckName(r.Name) != nil || proto.Path(r.Name) != path {
		return damaged("it is the record of %q", r.Name)
	}
	for i, v := range r.Versions {
		if v == nil || v.Number == 0 || v.Number > r.Last || v.Folder > v.Number || v.Spec.FunctionJson == nil || r.Find(v.Number) != v {
			return damaged("element %d of Versions", i)
		}
	}
	switch {
	case r.Port < 0 || r.Port > 65535 || r.Canary != nil && (r.Canary.Port < 0 || r.Canary.Port > 65535):
		return damaged("Port")
	case r.Main != 0 && r.Find(r.Main) == nil:
		return damaged("version %d, which serves, is not in it", r.Main)
	case r.Canary != nil && r.Find(r.Canary.Version) == nil:
		return damaged("version %d, the canary, is not in it", r.Canary.Version)
	case r.Next != nil && (r.Next.Version == nil || r.Next.Version.Spec.FunctionJson == nil):
		return damaged("Next")
	}
	return nil
}

// AsStopped is the record of the function once it is stopped.
func (r *Record) AsStopped(at time.Time) *Record {
	stopped := &Record{History: r.History, Stopped: at}
	stopped.Failure = nil
	if r.Main != 0 {
		stopped.Earlier, stopped.Before = r.Before, r.Main
	}
	return stopped
}

// Find returns the version of a number among those that are kept, nil if it is not one.
func (h *History) Find(number uint32) *Version {
	i := slices.IndexFunc(h.Versions, func(v *Version) bool { return v.Number == number })
	if i < 0 {
		return nil
	}
	return h.Versions[i]
}

// Uses reports whether a version that is kept has the folder of a number.
func (h *History) Uses(folder uint32) bool {
	return slices.ContainsFunc(h.Versions, func(v *Version) bool { return v.Home() == folder })
}

// Keep adds a version that was ready, and removes and returns the oldest ones beyond
// limit that are not needed.
func (h *History) Keep(v *Version, limit int, needed func(uint32) bool) (removed []*Version) {
	if h.Find(v.Number) == nil {
		h.Versions = append(h.Versions, v)
	}
	surplus := len(h.Versions) - limit
	h.Versions = slices.DeleteFunc(slices.Clone(h.Versions), func(old *Version) bool {
		if surplus <= 0 || needed(old.Number) {
			return false
		}
		surplus--
		removed = append(removed, old)
		return true
	})
	return removed
}
