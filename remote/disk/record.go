package disk

import (
	"slices"
	"time"
)

// Record is what must outlive the agent about one function: what should run.
type Record struct {
	History
	// Port of the main service, kept over changes and restarts; 0 for none.
	Port int
	// Main is the version that serves, or should; 0: none.
	Main uint32
	// Canary serves beside it.
	Canary *Canary `json:",omitempty"`
	// Next was accepted and has neither come up nor failed yet.
	Next *Change `json:",omitempty"`
	// Stopping is set from the moment a stop is accepted.
	Stopping bool `json:",omitempty"`
}

// History is the part of a record that follows from nothing else.
type History struct {
	Name string
	// Generation counts the changes that were accepted, and Last is the highest
	// number that a version has had. Both count from 1.
	Generation, Last uint32
	// Versions that have come up and are kept, the oldest first.
	Versions []*Version `json:",omitempty"`
	// Before is the version that served before the one that serves; 0: none.
	Before uint32
	// Failure is why the last change came to nothing.
	Failure *Failure `json:",omitempty"`
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

// Failure is why a deploy or a process came to nothing.
type Failure struct {
	Version    uint32
	Generation uint32
	Kind       string `json:",omitempty"` // of the version that failed, when it is known
	Reason     string // one of proto's reasons
	Text       string
	At         time.Time
}

// Find returns the version of a number among those that are kept, nil if it is none.
func (h *History) Find(number uint32) *Version {
	i := slices.IndexFunc(h.Versions, func(v *Version) bool { return v.Number == number })
	if i < 0 {
		return nil
	}
	return h.Versions[i]
}

// Keep adds a version that has come up and lets go of the oldest beyond limit,
// which it returns, but never of one that is needed.
func (h *History) Keep(v *Version, limit int, needed func(uint32) bool) (gone []*Version) {
	if h.Find(v.Number) == nil {
		h.Versions = append(h.Versions, v)
	}
	surplus := len(h.Versions) - limit
	h.Versions = slices.DeleteFunc(slices.Clone(h.Versions), func(old *Version) bool {
		if surplus <= 0 || needed(old.Number) {
			return false
		}
		surplus--
		gone = append(gone, old)
		return true
	})
	return gone
}
