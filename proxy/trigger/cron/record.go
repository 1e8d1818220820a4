package cron

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	// keptRuns are shown to people: what came of the last ones. A record has some KiB.
	keptRuns = 20
	// attempts of a change that another proxy's change precedes. A record is changed some
	// times in a run.
	attempts = 8
)

// The states of a run, beside those of its call.
const (
	due     = "due"     // it was decided that it is to be; its call may or may not be enqueued
	begun   = "begun"   // its call is enqueued
	missed  = "missed"  // it came too late
	skipped = "skipped" // the one before went on
	refused = "refused" // its call could not be enqueued
)

// record is what is kept of a function's schedule.
type record struct {
	Name     string    `json:"name"`
	Schedule string    `json:"schedule"` // that Last is of
	Timezone string    `json:"timezone,omitempty"`
	Last     time.Time `json:"last"` // all times of the schedule up to it are decided
	Paused   bool      `json:"paused,omitempty"`
	Resting  time.Time `json:"resting,omitzero"` // since when the function is stopped or paused: nothing is missed
	Gone     bool      `json:"gone,omitempty"`   // it was removed: what is here is, soon
	Runs     []run     `json:"runs,omitempty"`   // newest first
}

// run is what came of one time of the schedule, or of somebody's wish.
type run struct {
	Tick   time.Time `json:"tick"`
	Key    string    `json:"key,omitempty"`  // of its call; "": there is none
	Call   string    `json:"call,omitempty"` // its id, once it is enqueued
	State  string    `json:"state"`          // one of the above, or how its call ended
	Ended  bool      `json:"ended,omitempty"`
	Error  string    `json:"error,omitempty"`
	Asked  bool      `json:"asked,omitempty"`  // for by somebody, at Tick
	Cancel bool      `json:"cancel,omitempty"` // those before it that go on
}

// add puts a run before the others.
func (r *record) add(n run) {
	r.Runs = append([]run{n}, r.Runs...)
	r.Runs = r.Runs[:min(len(r.Runs), keptRuns)]
}

// run returns the run of a key, nil if it is not kept.
func (r *record) run(key string) *run {
	for i := range r.Runs {
		if r.Runs[i].Key == key {
			return &r.Runs[i]
		}
	}
	return nil
}

// key is that of a function's record.
func key(path string) string { return path + "/schedule" }

// entry is a record as it is stored.
type entry struct {
	record
	revision uint64 // 0: it is not stored yet
}

func decode(e store.Entry) (entry, error) {
	is := entry{revision: e.Revision}
	if err := json.Unmarshal(e.Value, &is.record); err != nil {
		return entry{}, fmt.Errorf("the record of schedule %s: %w", e.Key, err)
	}
	return is, nil
}

// load returns the record of a path, an empty one if there is none.
func (s *Scheduler) load(ctx context.Context, path string) (entry, error) {
	e, err := s.registry.Get(ctx, key(path))
	if errors.Is(err, proto.ErrNotFound) {
		return entry{}, nil
	}
	if err != nil {
		return entry{}, err
	}
	return decode(e)
}

// save stores a record in the place of the one that it was made of. If that was changed
// meanwhile, it is an ErrConflict.
func (s *Scheduler) save(ctx context.Context, path string, e *entry) error {
	value, err := json.Marshal(e.record)
	if err != nil {
		return err
	}
	var revision uint64
	if e.revision == 0 {
		revision, err = s.registry.Create(ctx, key(path), value)
	} else {
		revision, err = s.registry.Update(ctx, key(path), value, e.revision)
	}
	if err == nil {
		e.revision = revision
	}
	return err
}

// change loads a record, lets do change it, and stores it, anew if somebody else was
// first.
func (s *Scheduler) change(ctx context.Context, path string, do func(*entry) error) (e entry, err error) {
	for range attempts {
		if e, err = s.load(ctx, path); err != nil {
			return e, err
		}
		if err := do(&e); err != nil {
			return e, err
		}
		if err = s.save(ctx, path, &e); !errors.Is(err, proto.ErrConflict) {
			return e, err
		}
	}
	return e, err
}
