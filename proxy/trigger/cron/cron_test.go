package cron

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

// world is what schedulers share: what is stored, which functions serve, and the calls.
type world struct {
	*storetest.Fake

	mu       sync.Mutex
	rows     []*proto.FunctionJsonRsp
	watchers map[chan struct{}]bool
	order    []string // ids of calls, as they were enqueued
	times    map[string]time.Time
	states   map[string]string // of calls; "done" and "canceled" are final
	err      error             // of Enqueue
}

func newWorld(rows ...*proto.FunctionJsonRsp) *world {
	return &world{
		Fake: storetest.New(), rows: rows, watchers: map[chan struct{}]bool{},
		times: map[string]time.Time{}, states: map[string]string{},
	}
}

func (w *world) Enqueue(ctx context.Context, c Call) (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := "c_" + c.Key
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case w.err != nil:
		return "", w.err
	case w.states[id] != "":
		return id, nil
	}
	w.order, w.states[id], w.times[id] = append(w.order, id), "done", time.Now()
	return id, nil
}

func (w *world) State(_ context.Context, id string) (string, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	state := w.states[id]
	if state == "" {
		return "", false, proto.Errorf(proto.ErrNotFound, "there is no call %s", id)
	}
	return state, state == "done" || state == "canceled", nil
}

func (w *world) Cancel(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.states[id] == "running" {
		w.states[id] = "canceled"
	}
	return nil
}

// set gives a call a state.
func (w *world) set(id, state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states[id] = state
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// calls returns the ids of the calls that were enqueued since the last time.
func (w *world) calls() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	was := w.order
	w.order = nil
	return was
}

// serve changes what serves.
func (w *world) serve(rows ...*proto.FunctionJsonRsp) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rows = rows
	for ch := range w.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (w *world) list() []*proto.FunctionJsonRsp {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.rows)
}

func (w *world) watch(ctx context.Context, changed func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	w.watchers[ch] = true
	w.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ch:
			changed()
		}
	}
}

// scheduler returns a Scheduler of the world, which does not run.
func (w *world) scheduler() *Scheduler {
	return New(Config{Store: w, Calls: w, Rows: w.list, Watch: w.watch, Logger: hclog.NewNullLogger()})
}

// begins runs a Scheduler until stop is called.
func begins(t testing.TB, s *Scheduler) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// midnight is when the clock of a synctest begins, and a Saturday.
const midnight = "20000101T000000Z"

func row(schedule string) *proto.FunctionJsonRsp {
	return &proto.FunctionJsonRsp{Name: "Hello", Schedule: schedule}
}

// with returns a copy of a row that differs.
func with(row *proto.FunctionJsonRsp, change func(*proto.FunctionJsonRsp)) *proto.FunctionJsonRsp {
	row = protobuf.CloneOf(row)
	change(row)
	return row
}

// ids are those of calls at times of 1 January 2000.
func ids(times ...string) (list []string) {
	for _, at := range times {
		list = append(list, "c_hello@20000101T"+at+"Z")
	}
	return list
}

func TestAFunctionIsCalledWhenItsScheduleSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(row("*/10 * * * *"))
		defer begins(t, w.scheduler())()
		pass(35 * time.Minute)
		assert.Equal(t, ids("001000", "002000", "003000"), w.calls())
		for id, at := range w.times {
			assert.Equal(t, id, "c_"+keyOf("hello", at), "nothing is early, or late")
		}
	})
}

func TestASchedulesCallIsACloudEvent(t *testing.T) {
	s := newWorld().scheduler()
	c := s.call(&entry{record: record{Name: "Hello"}}, run{Tick: time.Date(2026, 3, 1, 2, 30, 0, 0, time.UTC), Key: "hello@x"})
	assert.Equal(t, "Hello", c.Function)
	assert.JSONEq(t, `{}`, string(c.Body))
	for name, want := range map[string]string{
		"ce-specversion": "1.0", "ce-id": "hello@x", "ce-source": "/schedules/hello", "ce-type": "ryofaas.schedule.run",
		"ce-time": "2026-03-01T02:30:00Z", "content-type": "application/json",
	} {
		assert.Equal(t, want, c.Header.Get(name))
	}
}

func TestASchedulesLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		s := w.scheduler()
		defer begins(t, s)()
		each := row("* * * * *")
		pass(90 * time.Second)
		assert.Empty(t, w.calls())

		w.serve(each)
		pass(time.Minute)
		assert.Equal(t, ids("000200"), w.calls())

		newer := with(each, func(r *proto.FunctionJsonRsp) { r.Schedule = "*/5 * * * *" })
		w.serve(newer)
		pass(3 * time.Minute)
		assert.Equal(t, ids("000500"), w.calls(), "its next version has another one")

		w.serve(with(newer, func(r *proto.FunctionJsonRsp) { r.Paused = true }))
		pass(10 * time.Minute)
		assert.Empty(t, w.calls(), "the function is paused")

		w.serve(with(newer, func(r *proto.FunctionJsonRsp) { r.Missed = proto.MissedOnce }))
		pass(2 * time.Minute)
		assert.Empty(t, w.calls(), "nothing is missed while it was paused")
		pass(3 * time.Minute)
		assert.Equal(t, ids("002000"), w.calls())

		require.NoError(t, s.Rest(t.Context(), "Hello"))
		pass(time.Second)
		w.serve() // its agent says so a little later
		pass(10 * time.Minute)
		list, err := s.List(t.Context(), "")
		require.NoError(t, err)
		require.Len(t, list, 1)
		assert.Equal(t, "the function is stopped", list[0].GetError())
		assert.Empty(t, list[0].GetNext())
		w.serve(with(newer, func(r *proto.FunctionJsonRsp) { r.Missed = proto.MissedOnce }))
		pass(time.Minute)
		assert.Empty(t, w.calls(), "nor while it was stopped")

		w.serve(with(newer, func(r *proto.FunctionJsonRsp) { r.Schedule = "" }))
		pass(10 * time.Minute)
		assert.Empty(t, w.calls())
		_, err = s.List(t.Context(), "Hello")
		require.ErrorIs(t, err, proto.ErrNotFound)
		all, err := w.Registry(store.Schedules).List(t.Context(), "")
		require.NoError(t, err)
		assert.Empty(t, all, "nothing is kept of a schedule that is over")
	})
}

func TestMissedRuns(t *testing.T) {
	for missedIs, want := range map[string][]string{"": nil, proto.MissedSkip: nil, proto.MissedOnce: ids("040000")} {
		t.Run("missed "+missedIs, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(with(row("0 * * * *"), func(r *proto.FunctionJsonRsp) { r.Missed = missedIs }))
				s := w.scheduler()
				stop := begins(t, s)
				pass(70 * time.Minute)
				assert.Equal(t, ids("010000"), w.calls())
				stop()
				pass(200 * time.Minute) // until 4:30
				stop = begins(t, s)
				pass(5 * time.Minute)
				assert.Equal(t, want, w.calls())
				list, err := s.List(t.Context(), "hello")
				require.NoError(t, err)
				assert.Equal(t, "2000-01-01T04:00:00Z", list[0].GetRuns()[0].GetTime())
				assert.Equal(t, map[bool]string{true: "missed", false: "done"}[want == nil], list[0].GetRuns()[0].GetState())
				pass(time.Hour)
				assert.Equal(t, ids("050000"), w.calls())
				stop()

				pass(25*time.Minute + late) // from 5:35:00
				defer begins(t, s)()
				synctest.Wait()
				assert.Equal(t, ids("060000"), w.calls(), "what is a little late is not missed")
			})
		})
	}
}

func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		overlap string
		second  []string
		first   string
		state   string
	}{
		{"", ids("000200"), "running", "done"},
		{proto.OverlapAllow, ids("000200"), "running", "done"},
		{proto.OverlapForbid, nil, "running", "skipped"},
		{proto.OverlapReplace, ids("000200"), "canceled", "done"},
	} {
		t.Run("overlap "+tt.overlap, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(with(row("* * * * *"), func(r *proto.FunctionJsonRsp) { r.Overlap = tt.overlap }))
				s := w.scheduler()
				defer begins(t, s)()
				pass(90 * time.Second)
				first := ids("000100")[0]
				assert.Equal(t, []string{first}, w.calls())
				w.set(first, "running")
				if tt.overlap == proto.OverlapForbid {
					_, err := s.Start(t.Context(), "Hello")
					require.ErrorIs(t, err, proto.ErrConflict)
					assert.Contains(t, proto.AsError(err).Hint, first)
				}
				pass(time.Minute)
				assert.Equal(t, tt.second, w.calls())
				state, _, err := w.State(t.Context(), first)
				require.NoError(t, err)
				assert.Equal(t, tt.first, state)
				list, err := s.List(t.Context(), "Hello")
				require.NoError(t, err)
				assert.Equal(t, tt.state, list[0].GetRuns()[0].GetState())
				w.set(first, "done")
				pass(time.Minute)
				assert.Equal(t, ids("000300"), w.calls())
			})
		})
	}
}

func TestJitterDelaysTheSameEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rows []*proto.FunctionJsonRsp
		for i := range 40 {
			rows = append(rows, &proto.FunctionJsonRsp{Name: fmt.Sprintf("F%d", i), Schedule: "* * * * *", Jitter: "1h"})
		}
		w := newWorld(rows...)
		s := w.scheduler()
		stop := begins(t, s)
		pass(11*time.Minute - 1)
		stop()
		assert.Len(t, w.calls(), 40*10, "each in the minute of its time")
		at := map[time.Duration]bool{}
		for id, began := range w.times {
			i := slices.IndexFunc(rows, func(r *proto.FunctionJsonRsp) bool {
				return id[:len(id)-len("@"+midnight)] == "c_"+proto.Path(r.GetName())
			})
			tick, err := time.Parse("20060102T150405Z", id[len(id)-len(midnight):])
			require.NoError(t, err)
			late := began.Sub(tick)
			at[late.Truncate(time.Second)] = true
			assert.GreaterOrEqual(t, late, time.Duration(0))
			assert.Less(t, late, time.Minute)
			assert.True(t, began.Equal(newWorld(rows...).scheduler().clocks()[proto.Path(rows[i].GetName())].begins(tick)))
		}
		assert.Greater(t, len(at), 30, "they are spread")
	})
}

func TestPausedSchedulesAreNotMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(with(row("*/10 * * * *"), func(r *proto.FunctionJsonRsp) { r.Missed = proto.MissedOnce }))
		s := w.scheduler()
		defer begins(t, s)()
		is, err := s.Pause(t.Context(), "hello")
		require.NoError(t, err)
		assert.True(t, is.GetPaused())
		assert.Empty(t, is.GetNext())
		pass(25 * time.Minute)
		assert.Empty(t, w.calls())

		ran, err := s.Start(t.Context(), "Hello")
		require.NoError(t, err)
		assert.True(t, ran.GetAsked())
		assert.Equal(t, []string{ran.GetCall()}, w.calls(), "it can be called all the same")

		is, err = s.Resume(t.Context(), "Hello")
		require.NoError(t, err)
		assert.False(t, is.GetPaused())
		assert.Equal(t, "2000-01-01T00:30:00Z", is.GetNext())
		assert.Equal(t, "done", is.GetRuns()[0].GetState(), "as List says")
		pass(10 * time.Minute)
		assert.Equal(t, ids("003000"), w.calls())

		for _, do := range []func(context.Context, string) (*proto.FunctionSchedule, error){s.Pause, s.Resume} {
			_, err = do(t.Context(), "Nobody")
			require.ErrorIs(t, err, proto.ErrNotFound)
		}
		_, err = s.Start(t.Context(), "Nobody")
		require.ErrorIs(t, err, proto.ErrNotFound)
		_, err = s.List(t.Context(), "Nobody")
		require.ErrorIs(t, err, proto.ErrNotFound)
	})
}

func TestWhatCannotBeEnqueuedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(row("*/10 * * * *"))
		s := w.scheduler()
		defer begins(t, s)()
		synctest.Wait()
		w.fail(proto.Errorf(proto.ErrExhausted, "it is full"))
		pass(15 * time.Minute)
		assert.Empty(t, w.calls())
		w.fail(nil)
		pass(2 * time.Second)
		assert.Equal(t, ids("001000"), w.calls())

		w.fail(proto.Errorf(proto.ErrExhausted, "it is full"))
		pass(16 * time.Minute) // over two times
		w.fail(nil)
		pass(2 * time.Second)
		assert.Equal(t, ids("003000"), w.calls(), "the later one alone")

		w.fail(proto.Errorf(proto.ErrInvalid, "it is wrong"))
		pass(10 * time.Minute)
		list, err := s.List(t.Context(), "Hello")
		require.NoError(t, err)
		assert.Equal(t, "refused", list[0].GetRuns()[0].GetState())
		assert.Contains(t, list[0].GetRuns()[0].GetError(), "it is wrong")
	})
}

func TestAStoreThatFailsIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(row("* * * * *"))
		defer begins(t, w.scheduler())()
		pass(70 * time.Second)
		w.Fail(proto.Errorf(proto.ErrUnavailable, "it is away"))
		pass(65 * time.Second)
		w.Fail(nil)
		pass(30 * time.Second)
		assert.Equal(t, ids("000100", "000200"), w.calls())
	})
}

func TestAClockThatWasPutBackRepeatsNothingAndIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(row("* * * * *"))
		s := w.scheduler()
		for ahead, want := range map[time.Duration][]string{30 * time.Minute: nil, 24 * time.Hour: {"c_hello@" + time.Now().UTC().Add(time.Minute).Format("20060102T150405Z")}} {
			_, err := s.change(t.Context(), "hello", func(e *entry) error {
				e.Name, e.Schedule, e.Last = "Hello", "* * * * *", time.Now().Add(ahead)
				return nil
			})
			require.NoError(t, err)
			stop := begins(t, s)
			pass(time.Minute)
			synctest.Wait()
			stop()
			got := w.calls()
			if want == nil {
				assert.Empty(t, got)
			} else {
				assert.Len(t, got, 1)
			}
		}
	})
}

func TestNothingIsKeptOfWhatIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(row("* * * * *"))
		s := w.scheduler()
		defer begins(t, s)()
		pass(90 * time.Second)
		require.NoError(t, s.Forget(t.Context(), "Hello"))
		pass(time.Second)
		w.serve() // its agent says so a little later
		list, err := s.List(t.Context(), "")
		require.NoError(t, err)
		assert.Empty(t, list)
		_, err = s.List(t.Context(), "Hello")
		require.ErrorIs(t, err, proto.ErrNotFound)
		_, err = s.Resume(t.Context(), "Hello")
		require.ErrorIs(t, err, proto.ErrNotFound)
		pass(time.Minute)
		all, err := w.Registry(store.Schedules).List(t.Context(), "")
		require.NoError(t, err)
		assert.Empty(t, all)
		require.NoError(t, s.Forget(t.Context(), "Hello"))
		require.NoError(t, s.Rest(t.Context(), "Hello"))

		w.serve(row("* * * * *")) // and is deployed again
		w.calls()
		pass(time.Minute)
		assert.Len(t, w.calls(), 1)
		w.serve()
		pass(forgotten - time.Hour)
		list, err = s.List(t.Context(), "")
		require.NoError(t, err)
		require.Len(t, list, 1, "its agent may come back")
		assert.Equal(t, "no agent that answers has the function", list[0].GetError())
		pass(2 * time.Hour)
		list, err = s.List(t.Context(), "")
		require.NoError(t, err)
		assert.Empty(t, list)
	})
}

func TestADamagedRecordStopsItsScheduleAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(row("* * * * *"), with(row("* * * * *"), func(r *proto.FunctionJsonRsp) { r.Name = "Other" }))
		_, err := w.Registry(store.Schedules).Create(t.Context(), key("other"), []byte("{"))
		require.NoError(t, err)
		defer begins(t, w.scheduler())()
		pass(90 * time.Second)
		assert.Equal(t, ids("000100"), w.calls())
	})
}

// mortal is what a process sees of the world, until it dies: from then on nothing that it
// does has an effect.
type mortal struct {
	*world
	kill func()

	mu    sync.Mutex
	left  int  // operations before it dies; -1: it does not
	after bool // the last one has an effect, of which it does not hear
	dead  bool
}

var errDead = proto.Errorf(proto.ErrUnavailable, "this process is dead")

// live does something that others see.
func (m *mortal) live(do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errDead
	}
	if m.left == 0 {
		m.dead = true
		if m.after {
			_ = do()
		}
		m.kill()
		return errDead
	}
	m.left--
	return do()
}

func (m *mortal) Registry(kind store.Kind) store.Registry {
	return mortalRegistry{m.world.Registry(kind), m}
}

func (m *mortal) Enqueue(ctx context.Context, c Call) (id string, err error) {
	err = m.live(func() error {
		id, err = m.world.Enqueue(context.WithoutCancel(ctx), c)
		return err
	})
	return id, err
}

func (m *mortal) Cancel(ctx context.Context, id string) error {
	return m.live(func() error { return m.world.Cancel(ctx, id) })
}

type mortalRegistry struct {
	store.Registry
	m *mortal
}

func (r mortalRegistry) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	err = r.m.live(func() error {
		revision, err = r.Registry.Create(context.WithoutCancel(ctx), key, value)
		return err
	})
	return revision, err
}

func (r mortalRegistry) Update(ctx context.Context, key string, value []byte, was uint64) (revision uint64, err error) {
	err = r.m.live(func() error {
		revision, err = r.Registry.Update(context.WithoutCancel(ctx), key, value, was)
		return err
	})
	return revision, err
}

// Whenever one of two proxies dies, each time of a schedule has one run, and its call is
// enqueued once.
func TestEachTimeHasOneRunWhereverAProxyDies(t *testing.T) {
	const operations = 12 // of which three are a run's
	for _, overlap := range []string{proto.OverlapAllow, proto.OverlapReplace} {
		for left := range operations {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, operation %d, done %v", overlap, left, after), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(with(row("* * * * *"), func(r *proto.FunctionJsonRsp) { r.Overlap = overlap }))
						ctx, kill := context.WithCancel(t.Context())
						m := &mortal{world: w, left: left, after: after, kill: kill}
						first := make(chan struct{})
						go func() {
							defer close(first)
							New(Config{Store: m, Calls: m, Rows: w.list, Watch: w.watch, Logger: hclog.NewNullLogger()}).Run(ctx)
						}()
						synctest.Wait() // it leads
						s := w.scheduler()
						defer begins(t, s)()
						pass(6*time.Minute + 10*time.Second)
						kill()
						<-first
						assert.True(t, m.dead)
						assert.Equal(t, ids("000100", "000200", "000300", "000400", "000500", "000600"), w.calls())
						list, err := s.List(t.Context(), "Hello")
						require.NoError(t, err)
						require.Len(t, list[0].GetRuns(), 6)
						for _, r := range list[0].GetRuns() {
							assert.Equal(t, "done", r.GetState())
						}
					})
				})
			}
		}
	}
}

// What was decided is done although the next time has come before there is another proxy.
func TestWhatWasDecidedIsDoneLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(row("* * * * *"))
		ctx, kill := context.WithCancel(t.Context())
		m := &mortal{world: w, left: 2, kill: kill} // it is not enqueued
		New(Config{Store: m, Calls: m, Rows: w.list, Watch: w.watch, Logger: hclog.NewNullLogger()}).Run(ctx)
		assert.True(t, m.dead)
		pass(61 * time.Second) // until 0:02:01
		defer begins(t, w.scheduler())()
		synctest.Wait()
		assert.Equal(t, ids("000100", "000200"), w.calls())
	})
}

// A run whose jitter is not over is not lost because the one before it comes late.
func TestALateRunDoesNotTakeTheNextOnesPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(with(row("* * * * *"), func(r *proto.FunctionJsonRsp) { r.Jitter = "1h" }))
		s := w.scheduler()
		stop := begins(t, s)
		synctest.Wait()
		stop()
		tick := time.Now()
		for range 5 { // one that begins long after its time
			if tick = tick.Add(time.Minute); s.clocks()["hello"].begins(tick).Sub(tick) > 10*time.Second {
				break
			}
		}
		pass(time.Until(tick.Add(time.Second)))
		stop = begins(t, s)
		synctest.Wait()
		assert.Len(t, w.calls(), 1, "the one before")
		pass(time.Minute - 2*time.Second)
		stop()
		assert.Equal(t, []string{"c_" + keyOf("hello", tick)}, w.calls())
	})
}

// Two that both believe to lead still begin each run once.
func TestTwoLeadersBeginEachRunOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(row("* * * * *"))
		ctx, cancel := context.WithCancel(t.Context())
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() { w.scheduler().lead(ctx) })
		}
		pass(10*time.Minute + 10*time.Second)
		cancel()
		both.Wait()
		assert.Len(t, w.calls(), 10)
		list, err := w.scheduler().List(t.Context(), "Hello")
		require.NoError(t, err)
		assert.Len(t, list[0].GetRuns(), 10)
	})
}
