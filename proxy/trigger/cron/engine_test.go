package cron

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// open opens a store in a folder, until close is called.
func open(t testing.TB, dir string) (s *store.Engine, shut func()) {
	t.Helper()
	s = store.New(store.Config{Dir: dir, Logger: hclog.NewNullLogger()})
	require.NoError(t, s.Start())
	return s, func() { assert.NoError(t, s.Stop()) }
}

// What was decided is on the disk: the next proxy goes on from there.
func TestAScheduleGoesOnWithTheNextProxy(t *testing.T) {
	const patience = testkit.Patience
	dir, w := t.TempDir(), newWorld(row("@every 1s"))
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.order)
	}
	for life := range 2 {
		engine, shut := open(t, dir)
		s := New(Config{Store: engine, Calls: w, Rows: w.list, Watch: w.watch, Logger: hclog.NewNullLogger()})
		stop := begins(t, s)
		want := count() + 2
		require.Eventually(t, func() bool { return count() >= want }, patience, 10*time.Millisecond)
		list, err := s.List(t.Context(), "Hello")
		require.NoError(t, err)
		assert.GreaterOrEqual(t, len(list[0].GetRuns()), 2+2*life)
		stop()
		shut()
	}
	assert.Len(t, w.times, count(), "none came twice")
}

// BenchmarkRuns is how long it takes to begin a run of each of a thousand functions.
func BenchmarkRuns(b *testing.B) {
	engine, shut := open(b, b.TempDir())
	defer shut()
	w := newWorld()
	for i := range 1000 {
		w.rows = append(w.rows, &proto.FunctionJsonRsp{Name: fmt.Sprintf("F%d", i), Schedule: "@every 1s"})
	}
	s := New(Config{Store: engine, Calls: w, Rows: w.list, Watch: w.watch, Logger: hclog.NewNullLogger()})
	s.pass(b.Context())
	for b.Loop() {
		b.StopTimer()
		<-time.After(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		b.StartTimer()
		s.pass(b.Context())
	}
	b.ReportMetric(float64(len(w.order))/b.Elapsed().Seconds(), "runs/s")
}
