package dashboard

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// counts of a version's calls: so many that took about a millisecond, and about a second.
func traffic(version uint32, fast, slow, errors uint64) *proto.Usage {
	return &proto.Usage{Function: "Hello", Version: version, Traffic: &proto.Traffic{
		Calls: fast + slow, Errors: errors, Took: []*proto.Took{{Bucket: -80, Calls: fast}, {Bucket: 0, Calls: slow}},
	}}
}

func process(pid int32, cpu float64) *proto.Usage {
	return &proto.Usage{Function: "Hello", Version: 1, AtAgent: "a:1", Pid: pid, Since: "s", CpuSeconds: cpu, Resident: 1 << 20}
}

func TestHistoryIsWhatHasHappenedSinceTheSampleBefore(t *testing.T) {
	h := newHistory(nil)
	at := time.Unix(1000, 0)
	step := func(list ...*proto.Usage) sample {
		at = at.Add(2 * time.Second)
		h.take(list, at)
		all := h.of("hello")
		return all[len(all)-1]
	}
	first := step(traffic(1, 100, 0, 5), process(1, 10))
	assert.Zero(t, first.calls, "nothing is known of the time before")
	s := step(traffic(1, 190, 10, 7), process(1, 11), process(2, 3), &proto.Usage{AtAgent: "b:1", Error: "gone"})
	assert.InDelta(t, 50, s.calls, 1e-9)
	assert.InDelta(t, 1, s.errors, 1e-9)
	assert.InDelta(t, 0.5, s.cpu, 1e-9, "of the process that was there before")
	assert.Equal(t, []any{uint64(2 << 20), 2, uint32(1)}, []any{s.memory, s.processes, s.version})
	assert.InEpsilon(t, 0.001, quantile([]sample{s}, 0.5), 0.1)
	assert.InEpsilon(t, 1, quantile([]sample{s}, 0.99), 0.1)
	assert.True(t, math.IsNaN(quantile(nil, 0.5)))
	calls, failed := rate([]sample{first, s})
	assert.InDelta(t, 25, calls, 1e-9)
	assert.InDelta(t, 0.02, failed, 1e-9)
	l, ok := h.load("a:1")
	require.True(t, ok)
	assert.Equal(t, 2, l.processes)

	s = step(traffic(1, 1, 0, 0), traffic(2, 4, 0, 0))
	assert.Equal(t, uint32(2), s.version)
	assert.InDelta(t, 2, s.calls, 1e-9, "counts that begin anew are no calls; those of a new version are")
	for range 2 * keptSamples {
		step(traffic(1, 1, 0, 0))
	}
	assert.Len(t, h.of("Hello"), keptSamples)
	h.take(nil, at.Add(time.Second))
	assert.Empty(t, h.of("Hello"), "it was removed")
}

// Agents are asked while somebody looks, and for a while after it.
func TestNobodyIsAskedForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		h := newHistory(func(context.Context) ([]*proto.Usage, error) {
			asked.Add(1)
			return []*proto.Usage{traffic(1, 1, 0, 0)}, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); h.run(ctx) }()
		after := func(d time.Duration) int {
			<-time.After(d)
			synctest.Wait()
			return int(asked.Load())
		}
		assert.Zero(t, after(time.Hour))
		h.look()
		assert.Positive(t, after(time.Millisecond), "at once")
		assert.InDelta(t, lingers/sampleEvery, after(time.Hour), 2)
		assert.Empty(t, h.of("Hello"), "what is old is forgotten")
		cancel()
		<-ended
	})
}
