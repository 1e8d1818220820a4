package cron

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// none is the error for a function without a schedule.
func none(name string) error {
	return proto.Errorf(proto.ErrNotFound, "function %.100q has no schedule", name).
		WithHint("deploy it with one: proxyCli deploy -schedule \"30 2 * * *\"; proxyCli cron shows those that there are")
}

// List returns the schedule of a function or, for "", all, ordered by name. Those too that
// functions have had which do not serve now.
func (s *Scheduler) List(ctx context.Context, name string) ([]*proto.FunctionSchedule, error) {
	clocks, records := s.clocks(), map[string]entry{}
	if name != "" {
		e, err := s.load(ctx, proto.Path(name))
		if err != nil {
			return nil, err
		}
		records[proto.Path(name)] = e
	} else {
		list, err := s.registry.List(ctx, "")
		if err != nil {
			return nil, err
		}
		for _, stored := range list {
			e, err := decode(stored)
			if err != nil {
				return nil, err
			}
			records[proto.Path(e.Name)] = e
		}
		for path := range clocks {
			if _, looked := records[path]; !looked {
				records[path] = entry{}
			}
		}
	}
	list := []*proto.FunctionSchedule{}
	for path, e := range records {
		c, serves := clocks[path]
		switch {
		case serves:
		case name == "" && e.Gone:
			continue
		case e.revision == 0 || e.Gone:
			return nil, none(name)
		}
		if _, err := s.look(ctx, &e); err != nil {
			return nil, err
		}
		list = append(list, describe(e, c, serves))
	}
	slices.SortFunc(list, func(a, b *proto.FunctionSchedule) int { return cmp.Compare(a.GetName(), b.GetName()) })
	return list, nil
}

// describe is a schedule as callers see it.
func describe(e entry, c clock, serves bool) *proto.FunctionSchedule {
	is := &proto.FunctionSchedule{Name: e.Name, Schedule: e.Schedule, Timezone: e.Timezone, Paused: e.Paused}
	if serves {
		is.Name, is.Schedule, is.Timezone = c.row.GetName(), c.row.GetSchedule(), c.row.GetTimezone()
		is.Overlap, is.Missed = cmp.Or(c.row.GetOverlap(), proto.OverlapAllow), cmp.Or(c.row.GetMissed(), proto.MissedSkip)
	}
	is.Timezone = cmp.Or(is.Timezone, proto.DefaultTimezone)
	switch {
	case !serves && !e.Resting.IsZero():
		is.Error = "the function is stopped"
	case !serves:
		is.Error = "no agent that answers has the function"
	case c.row.GetPaused():
		is.Error = "the function is paused"
	case !e.Paused:
		after := e.Last
		if after.IsZero() || !e.Resting.IsZero() {
			after = time.Now()
		}
		if next := c.Next(after); !next.IsZero() {
			is.Next = c.begins(next).UTC().Format(time.RFC3339)
		}
	}
	for _, r := range e.Runs {
		is.Runs = append(is.Runs, r.describe())
	}
	return is
}

func (r *run) describe() *proto.ScheduleRun {
	return &proto.ScheduleRun{Time: r.Tick.Format(time.RFC3339), Call: r.Call, State: r.State, Error: r.Error, Asked: r.Asked}
}

// Start calls a function as its schedule does, now, even if that is paused. It returns
// when the call is enqueued. If the run before goes on, and overlap is forbid, it is an
// ErrConflict.
func (s *Scheduler) Start(ctx context.Context, name string) (*proto.ScheduleRun, error) {
	path := proto.Path(name)
	c, ok := s.clocks()[path]
	if !ok {
		return nil, none(name)
	}
	now := time.Now()
	r := run{Tick: now.UTC().Truncate(time.Second), Key: path + "@" + strings.ToLower(rand.Text()[:12]), State: due, Asked: true}
	e, err := s.change(ctx, path, func(e *entry) error {
		s.renew(e, c, now)
		underWay, err := s.look(ctx, e)
		if err != nil {
			return err
		}
		if underWay && c.row.GetOverlap() == proto.OverlapForbid {
			return proto.Errorf(proto.ErrConflict, "function %s is called by its schedule already, and its overlap is forbid", e.Name).
				WithHint("wait until call " + e.goesOn() + " has ended, or cancel it: proxyCli calls cancel " + e.goesOn())
		}
		r.Cancel = underWay && c.row.GetOverlap() == proto.OverlapReplace
		e.add(r)
		return nil
	})
	for range attempts {
		if err != nil {
			return nil, err
		}
		if err = s.finish(ctx, path, &e); !errors.Is(err, proto.ErrConflict) {
			break
		}
		e, err = s.load(ctx, path) // the proxy that leads may have done it
	}
	if err != nil {
		return nil, err
	}
	if is := e.run(r.Key); is != nil {
		if is.State == refused {
			return nil, proto.Errorf(proto.ErrUnavailable, "function %s is not called: %s", name, is.Error)
		}
		r = *is
	}
	return r.describe(), nil
}

// goesOn returns the id of a call that is known not to have ended.
func (e *entry) goesOn() string {
	for _, r := range e.Runs {
		if !r.Ended && r.State != due {
			return r.Call
		}
	}
	return ""
}

// Pause keeps a schedule from calling its function.
func (s *Scheduler) Pause(ctx context.Context, name string) (*proto.FunctionSchedule, error) {
	return s.set(ctx, name, func(e *entry) { e.Paused = true })
}

// Resume undoes Pause. What was paused is not missed.
func (s *Scheduler) Resume(ctx context.Context, name string) (*proto.FunctionSchedule, error) {
	return s.set(ctx, name, func(e *entry) {
		if e.Paused {
			e.Paused, e.Last = false, time.Now().UTC()
		}
	})
}

func (s *Scheduler) set(ctx context.Context, name string, do func(*entry)) (*proto.FunctionSchedule, error) {
	path := proto.Path(name)
	c, serves := s.clocks()[path]
	e, err := s.change(ctx, path, func(e *entry) error {
		switch {
		case serves:
			s.renew(e, c, time.Now())
		case e.revision == 0 || e.Gone:
			return none(name)
		}
		do(e)
		_, err := s.look(ctx, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	return describe(e, c, serves), nil
}

// errNothing says that a record stays as it is.
var errNothing = errors.New("there is nothing to change")

// Rest says that a function was stopped by somebody, so that it misses nothing until it
// serves again.
func (s *Scheduler) Rest(ctx context.Context, name string) error { return s.rest(ctx, name, false) }

// Forget says that a function was removed, so that nothing is kept of its schedule.
func (s *Scheduler) Forget(ctx context.Context, name string) error { return s.rest(ctx, name, true) }

func (s *Scheduler) rest(ctx context.Context, name string, gone bool) error {
	_, err := s.change(ctx, proto.Path(name), func(e *entry) error {
		if e.revision == 0 {
			return errNothing
		}
		e.Resting, e.Gone = time.Now().UTC(), gone
		return nil
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}
