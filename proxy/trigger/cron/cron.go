package cron

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	// lease is the name of that of the proxy that looks at the clock.
	lease = "cron"
	// nap is the longest wait: a clock that is set is noticed as late.
	nap = 30 * time.Second
	// soon is the wait after something could not be done.
	soon = time.Second
	// late is how much later than its time a run may begin before it counts as missed:
	// another proxy leads within seconds of the death of one.
	late = time.Minute
	// putBack is how far ahead of the clock the last run may lie. Further, the clock was
	// wrong then, and is not waited for.
	putBack = time.Hour
	// settles is how long a row of a function that was stopped may still be seen.
	settles = 5 * time.Second
	// forgotten is how long a record is kept of a function that no agent has told of.
	forgotten = 30 * 24 * time.Hour
	// atOnce are schedules that are worked on at the same time: each waits for disks.
	atOnce = 16
)

// Call is the call of a function that a run is.
type Call struct {
	Key      string // a second one of a key is the first
	Function string // its name
	Header   http.Header
	Body     []byte
}

// Calls are those that wait to be made, and were made.
type Calls interface {
	// Enqueue stores a call durably, unless one of its key is there, and returns its id.
	Enqueue(ctx context.Context, c Call) (id string, err error)
	// State returns what became of a call by now, in a word, and whether that is final.
	// One that is not known, or no more, is an ErrNotFound.
	State(ctx context.Context, id string) (state string, ended bool, err error)
	// Cancel ends a call that waits or is under way. One that has ended is no error.
	Cancel(ctx context.Context, id string) error
}

// Config is what a Scheduler needs to know.
type Config struct {
	Store store.Store
	Calls Calls
	// Rows returns a row of each function that serves.
	Rows func() []*proto.FunctionJsonRsp
	// Watch calls changed after rows may have changed, until ctx is done.
	Watch  func(ctx context.Context, changed func())
	Logger hclog.Logger
}

// Scheduler calls functions when their schedules say.
type Scheduler struct {
	Config
	registry store.Registry
}

// New returns a Scheduler, which does nothing by itself before Run.
func New(cfg Config) *Scheduler {
	return &Scheduler{Config: cfg, registry: cfg.Store.Registry(store.Schedules)}
}

// Run looks at the clock, whenever this proxy leads, until ctx is done.
func (s *Scheduler) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.Store.Lead(ctx, lease, func(ctx context.Context, _ uint64) { s.lead(ctx) })
		if ctx.Err() == nil {
			s.Logger.Warn("no proxy can be chosen to look after schedules", "error", err)
			pause(ctx, nil, nap)
		}
	}
}

// pause waits until something changes, but not for ever.
func pause(ctx context.Context, changed <-chan struct{}, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}

// lead looks at the clock until ctx is done.
func (s *Scheduler) lead(ctx context.Context) {
	changed := make(chan struct{}, 1)
	hint := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer cancel()
	watches.Go(func() { s.Watch(ctx, hint) })
	watches.Go(func() {
		for ctx.Err() == nil {
			_ = s.registry.Watch(ctx, "", hint) // what is missed is seen after a nap
			pause(ctx, nil, nap)
		}
	})
	for ctx.Err() == nil {
		pause(ctx, changed, s.pass(ctx))
	}
}

// pass does what is due and returns how long nothing will be.
func (s *Scheduler) pass(ctx context.Context) time.Duration {
	serving := s.serving()
	clocks := s.clocksOf(serving)
	entries, err := s.registry.List(ctx, "")
	if err != nil {
		if ctx.Err() == nil {
			s.Logger.Warn("schedules cannot be looked at", "error", err)
		}
		return soon
	}
	records := make(map[string]entry, len(entries))
	for _, stored := range entries {
		e, err := decode(stored)
		if err != nil {
			s.Logger.Error("a schedule rests", "error", err)
			continue
		}
		records[proto.Path(e.Name)] = e
		if e.over(serving[proto.Path(e.Name)], stored.Time) {
			if err := s.registry.Delete(ctx, stored.Key, stored.Revision); err != nil && ctx.Err() == nil {
				s.Logger.Warn("a schedule that is over is kept", "function", e.Name, "error", err)
			}
		}
	}
	var (
		all  sync.WaitGroup
		busy = make(chan struct{}, atOnce)
		mu   sync.Mutex // guards wait
		wait = nap
	)
	for path, c := range clocks {
		busy <- struct{}{}
		all.Go(func() {
			defer func() { <-busy }()
			e := records[path]
			next, err := s.tend(ctx, path, c, &e)
			if err != nil && ctx.Err() == nil && !errors.Is(err, proto.ErrConflict) {
				s.Logger.Warn("a schedule waits", "function", c.row.GetName(), "error", err)
			}
			if err != nil {
				next = soon
			}
			mu.Lock()
			defer mu.Unlock()
			wait = min(wait, next)
		})
	}
	all.Wait()
	return wait
}

// over reports whether a record, last changed at a time, is of no use, given the row of its
// function, or nil.
func (e *entry) over(row *proto.FunctionJsonRsp, changed time.Time) bool {
	switch {
	case row != nil:
		return row.GetSchedule() == "" // its next version has none
	case e.Gone:
		return time.Since(e.Resting) > settles
	}
	return time.Since(changed) > forgotten
}

// clock is a function with a schedule.
type clock struct {
	proto.Schedule
	row    *proto.FunctionJsonRsp
	jitter time.Duration
}

// clocks returns the functions that have schedules, by their paths.
func (s *Scheduler) clocks() map[string]clock { return s.clocksOf(s.serving()) }

// serving returns the rows of the functions that serve, by their paths.
func (s *Scheduler) serving() map[string]*proto.FunctionJsonRsp {
	rows := make(map[string]*proto.FunctionJsonRsp)
	for _, row := range s.Rows() {
		rows[proto.Path(row.GetName())] = row
	}
	return rows
}

func (s *Scheduler) clocksOf(rows map[string]*proto.FunctionJsonRsp) map[string]clock {
	clocks := make(map[string]clock, len(rows))
	for path, row := range rows {
		if row.GetSchedule() == "" {
			continue
		}
		said := &proto.FunctionJson{Name: row.GetName(), Schedule: row.GetSchedule(), Timezone: row.GetTimezone(), Jitter: row.GetJitter()}
		schedule, err := said.Clock()
		jitter, jitterErr := said.JitterLimit()
		if err := cmp.Or(err, jitterErr); err != nil { // an agent has checked it
			s.Logger.Error("an agent says what is no schedule", "function", row.GetName(), "error", err)
			continue
		}
		clocks[path] = clock{Schedule: schedule, row: row, jitter: jitter}
	}
	return clocks
}

// begins returns when the run of a time of the schedule begins: later by a part of the
// jitter that every proxy finds to be the same, and before the next time.
func (c clock) begins(tick time.Time) time.Time {
	if c.jitter == 0 {
		return tick
	}
	most := c.jitter
	if next := c.Next(tick); !next.IsZero() {
		most = min(most, next.Sub(tick))
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(keyOf(proto.Path(c.row.GetName()), tick)))
	return tick.Add(time.Duration(h.Sum64() % uint64(most)))
}

// due returns the last time after from whose run is to have begun by now, zero if there
// is none.
func (c clock) due(from, now time.Time) time.Time {
	tick := c.Last(from, now)
	if !tick.IsZero() && c.begins(tick).After(now) {
		tick = c.Last(from, tick.Add(-1))
	}
	return tick
}

// keyOf names the run of a time of a schedule.
func keyOf(path string, tick time.Time) string {
	return path + "@" + tick.UTC().Format("20060102T150405Z")
}

// tend does what is due of one schedule and returns how long nothing will be.
func (s *Scheduler) tend(ctx context.Context, path string, c clock, e *entry) (time.Duration, error) {
	now := time.Now()
	if c.row.GetPaused() {
		if e.revision == 0 || !e.Resting.IsZero() {
			return nap, nil
		}
		e.Resting = now.UTC()
		return nap, s.save(ctx, path, e)
	}
	if rested := now.Sub(e.Resting); rested >= 0 && rested < settles {
		return settles - rested, nil
	}
	if s.renew(e, c, now) {
		if err := s.save(ctx, path, e); err != nil {
			return 0, err
		}
	}
	err := s.finish(ctx, path, e)
	if e.Paused {
		return nap, err
	}
	if tick := c.due(e.Last, now); !tick.IsZero() {
		if err := s.decide(ctx, path, c, e, tick); err != nil {
			return 0, err
		}
		err = s.finish(ctx, path, e)
	}
	if err != nil {
		return 0, err
	}
	next := c.Next(e.Last)
	if next.IsZero() {
		return nap, nil
	}
	return min(nap, max(0, time.Until(c.begins(next)))), nil
}

// renew begins anew where nothing is missed, and reports whether it did: the schedule is
// another one, or takes effect, or the clock was put back.
func (s *Scheduler) renew(e *entry, c clock, now time.Time) bool {
	same := e.Schedule == c.row.GetSchedule() && e.Timezone == c.row.GetTimezone()
	if e.revision > 0 && e.Resting.IsZero() && same && !e.Last.After(now.Add(putBack)) {
		return false
	}
	e.Name, e.Schedule, e.Timezone = c.row.GetName(), c.row.GetSchedule(), c.row.GetTimezone()
	e.Last, e.Resting, e.Gone = now.UTC(), time.Time{}, false
	return true
}

// decide writes what is to become of a time of a schedule.
func (s *Scheduler) decide(ctx context.Context, path string, c clock, e *entry, tick time.Time) error {
	underWay, err := s.look(ctx, e)
	if err != nil {
		return err
	}
	for i := range e.Runs {
		if r := &e.Runs[i]; r.State == due { // for longer than until the next
			r.State, r.Ended = refused, true
		}
	}
	r := run{Tick: tick.UTC(), Key: keyOf(path, tick), State: due}
	switch overlap := c.row.GetOverlap(); {
	case time.Since(c.begins(tick)) > late && c.row.GetMissed() != proto.MissedOnce:
		r = run{Tick: r.Tick, State: missed, Ended: true}
	case underWay && overlap == proto.OverlapForbid:
		r = run{Tick: r.Tick, State: skipped, Ended: true}
	case underWay && overlap == proto.OverlapReplace:
		r.Cancel = true
	}
	e.Last = tick.UTC()
	e.add(r)
	if r.Ended {
		s.Logger.Info("a run of a schedule is left out", "function", e.Name, "time", r.Tick, "because", r.State)
	}
	return s.save(ctx, path, e)
}

// look brings the states of runs up to date, and reports whether one goes on. Nothing is
// stored.
func (s *Scheduler) look(ctx context.Context, e *entry) (underWay bool, err error) {
	for i := range e.Runs {
		r := &e.Runs[i]
		if r.Ended || r.State == due {
			continue
		}
		state, ended, err := s.Calls.State(ctx, r.Call)
		switch {
		case errors.Is(err, proto.ErrNotFound): // nobody remembers
			r.Ended = true
		case err != nil:
			return false, err
		default:
			r.State, r.Ended = state, ended
			underWay = underWay || !ended
		}
	}
	return underWay, nil
}

// finish enqueues the calls of runs that were decided.
func (s *Scheduler) finish(ctx context.Context, path string, e *entry) error {
	changed := false
	for i := range slices.Backward(e.Runs) {
		r := &e.Runs[i]
		if r.State != due {
			continue
		}
		if id, err := s.begin(ctx, e, i); err != nil {
			if ctx.Err() != nil || passes(err) {
				return errors.Join(err, s.keep(ctx, path, e, changed))
			}
			s.Logger.Warn("a run of a schedule cannot begin", "function", e.Name, "error", err)
			r.State, r.Ended, r.Error = refused, true, err.Error()
		} else {
			r.State, r.Call = begun, id
		}
		changed = true
	}
	return s.keep(ctx, path, e, changed)
}

// keep saves a record that was changed.
func (s *Scheduler) keep(ctx context.Context, path string, e *entry, changed bool) error {
	if !changed {
		return nil
	}
	return s.save(ctx, path, e)
}

// passes reports whether what an error says is over some time.
func passes(err error) bool {
	for _, kind := range []error{proto.ErrUnavailable, proto.ErrExhausted, proto.ErrTimeout, proto.ErrTooMany} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// begin enqueues the call of run i, after it has canceled those that it replaces.
func (s *Scheduler) begin(ctx context.Context, e *entry, i int) (id string, err error) {
	if e.Runs[i].Cancel {
		for _, earlier := range e.Runs[i+1:] {
			if earlier.Ended || earlier.State == due {
				continue
			}
			if err := s.Calls.Cancel(ctx, earlier.Call); err != nil && !errors.Is(err, proto.ErrNotFound) {
				return "", err
			}
		}
	}
	return s.Calls.Enqueue(ctx, s.call(e, e.Runs[i]))
}

// call is that of a run: an empty object of JSON, as a CloudEvent.
func (s *Scheduler) call(e *entry, r run) Call {
	return Call{
		Key: r.Key, Function: e.Name, Body: []byte("{}"),
		Header: http.Header{
			"Content-Type":   {"application/json"},
			"Ce-Specversion": {"1.0"},
			"Ce-Id":          {r.Key},
			"Ce-Source":      {"/schedules/" + proto.Path(e.Name)},
			"Ce-Type":        {EventType},
			"Ce-Time":        {r.Tick.Format(time.RFC3339)},
		},
	}
}

// EventType is that of the CloudEvent that a run is to its function.
const EventType = "ryofaas.schedule.run"
