package scale

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// feed gives a policy the same figure for a time, and returns its last size.
func feed(p *Policy, at *time.Duration, calls float64, for_ time.Duration, b Bounds) (size Size) {
	const step = 100 * time.Millisecond
	for end := *at + for_; *at < end; {
		*at += step
		p.Observe(*at, calls)
		size = p.Decide(b)
	}
	return size
}

func TestUpWithinASecond(t *testing.T) {
	p, at, b := New(Windows{}, 1), time.Duration(0), Bounds{Min: 1, Max: 100, Target: 1}
	feed(p, &at, 1, 5*time.Minute, b)
	size := feed(p, &at, 50, 1200*time.Millisecond, b)
	assert.Equal(t, 50, size.Processes)
	assert.Equal(t, "50.0 calls in flight in the last 1s, 1 to a process", size.Why)
}

func TestDownSlowlyAndInOneDirection(t *testing.T) {
	p, at, b := New(Windows{}, 1), time.Duration(0), Bounds{Min: 1, Max: 100, Target: 1}
	feed(p, &at, 48, 5*time.Minute, b)
	size := feed(p, &at, 48, time.Second, b).Processes
	assert.Equal(t, size, feed(p, &at, 1, 55*time.Second, b).Processes, "a lull")
	changes := 0
	for range 180 {
		now := feed(p, &at, 1, time.Second, b).Processes
		assert.LessOrEqual(t, now, size)
		assert.GreaterOrEqual(t, now, size/2, "it halves at most")
		if now != size {
			changes, size = changes+1, now
		}
	}
	assert.Equal(t, 2, size)
	assert.LessOrEqual(t, changes, 6)
}

func TestABurstKeepsItsSizeForAStableWindow(t *testing.T) {
	p, at, b := New(Windows{}, 1), time.Duration(0), Bounds{Min: 1, Max: 100, Target: 1}
	feed(p, &at, 1, time.Minute, b)
	feed(p, &at, 20, 6*time.Second, b)
	assert.Equal(t, 20, feed(p, &at, 0.5, 50*time.Second, b).Processes, "bursts come in groups")
	assert.LessOrEqual(t, feed(p, &at, 0.5, 2*time.Minute, b).Processes, 2)
}

func TestWhatWasStartedForAQueueThatIsGoneGoesSoon(t *testing.T) {
	p, at, b := New(Windows{}, 1), time.Duration(0), Bounds{Min: 1, Max: 200, Target: 10}
	feed(p, &at, 5, time.Minute, b)
	assert.Greater(t, feed(p, &at, 700, 2*time.Second, b).Processes, 60)
	assert.LessOrEqual(t, feed(p, &at, 50, 20*time.Second, b).Processes, 36)
}

func TestTheBandKeepsALoadBetweenTwoSizesFromChangingThem(t *testing.T) {
	p, at, b := New(Windows{}, 1), time.Duration(0), Bounds{Min: 1, Max: 100, Target: 10}
	changes, last := 0, 1
	for i := range 600 {
		size := feed(p, &at, 10+float64(i%2)*0.8-0.4, time.Second, b).Processes
		if size != last {
			changes, last = changes+1, size
		}
	}
	assert.LessOrEqual(t, changes, 1)
}

func TestToZeroAndBack(t *testing.T) {
	p, at, b := New(Windows{}, 1), time.Duration(0), Bounds{Max: 10, Target: 5, Idle: 5 * time.Minute}
	feed(p, &at, 3, time.Minute, b)
	assert.Equal(t, 1, feed(p, &at, 0, 4*time.Minute, b).Processes)
	size := feed(p, &at, 0, 2*time.Minute, b)
	assert.Equal(t, Size{0, "no call for 5m0s"}, size)
	size = feed(p, &at, 12, 100*time.Millisecond, b)
	assert.Equal(t, Size{3, "12 calls came to none"}, size)
	b.Min = 2
	assert.Equal(t, Size{2, "min"}, feed(p, &at, 0, 10*time.Minute, b), "min is kept")
}

func TestBoundsHold(t *testing.T) {
	p, at := New(Windows{}, 1), time.Duration(0)
	size := feed(p, &at, 500, 3*time.Second, Bounds{Max: 8, Target: 1})
	assert.Equal(t, Size{8, "max; the calls would need 500"}, size)
	assert.Equal(t, 9, feed(p, &at, 1, time.Second, Bounds{Min: 9, Max: 4, Target: 1}).Processes)
}

// What is remembered does not grow, and a proxy that was busy elsewhere for an hour goes on.
func TestGapsInTheReadings(t *testing.T) {
	p, at, b := New(Windows{}, 1), time.Duration(0), Bounds{Min: 1, Max: 100, Target: 1}
	feed(p, &at, 5, time.Minute, b)
	at += time.Hour
	p.Observe(at, 5)
	assert.Equal(t, 5, p.Decide(b).Processes)
	assert.InDelta(t, 5, p.average(p.windows.Stable), 0.01)
}

func TestSplitFillsFewMachinesEvenly(t *testing.T) {
	for _, tt := range []struct {
		processes int
		room      []int
		least     int
		want      []int
	}{
		{1, []int{4, 4}, 1, []int{1, 0}},
		{4, []int{4, 4}, 1, []int{4, 0}},
		{5, []int{4, 4}, 1, []int{3, 2}},
		{1, []int{4, 4}, 2, []int{1, 1}},
		{6, []int{2, 8}, 1, []int{2, 4}},
		{12, []int{4, 4}, 1, []int{6, 6}},
		{0, []int{4, 4}, 1, []int{1, 0}},
		{3, []int{0, 2}, 1, []int{1, 2}},
		{3, nil, 1, nil},
	} {
		assert.Equal(t, tt.want, Split(tt.processes, tt.room, tt.least), "%+v", tt)
	}
}

// Averages are of times that no float has to the last bit: six calls all the time are six, and
// need no seventh process.
func TestAConstantLoadIsRoundedToNothingMore(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		p, at := New(Windows{}, 1), time.Duration(0)
		for at < 6*time.Second {
			calls := 1.0
			if at > 2*time.Second {
				calls = 6
			}
			at += 100*time.Millisecond + time.Duration(random.IntN(600_000_000)) // as on a machine with too much to do
			p.Observe(at, calls)
			require.LessOrEqual(t, p.Decide(Bounds{Min: 1, Max: 20, Target: 1}).Processes, 6)
		}
	}
}
