package scale

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// A simulation: calls come by chance at a rate that changes, each takes work, and the
// processes share it. A process serves as many calls as its target at full speed; more
// slow each other down. A new process serves after a start.

const (
	tick   = 10 * time.Millisecond
	work   = 100 * time.Millisecond // of a call, on average
	start  = 500 * time.Millisecond // of a process: a slow one
	target = 10.0                   // calls in flight per process
	decide = 10                     // ticks between two decisions
	room   = 1000                   // calls in flight; further ones fail
)

// outcome is what a load came to.
type outcome struct {
	p50, p99 time.Duration
	cost     float64 // processes on average
	peak     int
	turns    int // from up to down and back
	changes  int
	failed   int
	behind   time.Duration // longest time that calls needed more than there was, with a tenth of grace
}

func (o outcome) String() string {
	return fmt.Sprintf("p50 %4dms  p99 %5dms  processes %5.1f (peak %3d)  %3d changes, %2d turns  behind %5s  failed %d", o.p50.Milliseconds(), o.p99.Milliseconds(), o.cost, o.peak, o.changes, o.turns, o.behind.Round(10*time.Millisecond), o.failed)
}

// simulate runs a load, rate calls a second at each time, for a time. A nil policy keeps
// the size.
func simulate(seed uint64, length time.Duration, rate func(time.Duration) float64, size int, p *Policy) (o outcome) {
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // it need not be secret
	type call struct {
		came time.Duration
		left float64 // seconds of work
	}
	var calls []call
	var took []time.Duration
	var starts []time.Duration // when further processes serve
	wanted, serving := size, size
	direction := 0
	var late time.Duration
	for step, at := 0, time.Duration(0); at < length; step, at = step+1, at+tick {
		for n := poisson(r, rate(at)*tick.Seconds()); n > 0; n-- {
			if len(calls) < room {
				calls = append(calls, call{at, r.ExpFloat64() * work.Seconds()})
			} else {
				o.failed++
			}
		}
		for len(starts) > 0 && starts[0] <= at {
			starts, serving = starts[1:], serving+1
		}
		speed := 1.0
		if busy := float64(len(calls)); busy > float64(serving)*target {
			speed = float64(serving) * target / busy
		}
		calls = slices.DeleteFunc(calls, func(c call) bool { return c.left <= 0 })
		for i := range calls {
			c := &calls[i]
			c.left -= tick.Seconds() * speed
			if c.left <= 0 {
				took = append(took, at-c.came+tick)
			}
		}
		if float64(len(calls)) > float64(serving)*target*1.5 {
			late += tick
			o.behind = max(o.behind, late)
		} else {
			late = 0
		}
		o.cost += float64(wanted) * tick.Seconds()
		o.peak = max(o.peak, wanted)
		if p == nil {
			continue
		}
		p.Observe(at+tick, float64(len(calls)))
		if step%decide != 0 {
			continue
		}
		now := p.Decide(Bounds{Min: 1, Max: 200, Target: target}).Processes
		switch {
		case now > wanted:
			for range now - wanted {
				starts = append(starts, at+start)
			}
			if direction < 0 {
				o.turns++
			}
			direction, o.changes = 1, o.changes+1
		case now < wanted:
			gone := wanted - now
			fewer := min(gone, len(starts))
			starts = starts[:len(starts)-fewer]
			serving -= gone - fewer
			if direction > 0 {
				o.turns++
			}
			direction, o.changes = -1, o.changes+1
		}
		wanted = now
	}
	slices.Sort(took)
	o.p50, o.p99 = took[len(took)/2], took[len(took)*99/100]
	o.cost /= length.Seconds()
	return o
}

func poisson(r *rand.Rand, mean float64) (n int) {
	for limit, product := math.Exp(-mean), r.Float64(); product > limit; product *= r.Float64() {
		n++
	}
	return n
}

// TestSimulations prints what loads cost and how long calls take, beside sizes that never
// change: the one that holds the average, and the one that holds the peak.
func TestSimulations(t *testing.T) {
	steady := func(perSecond float64) func(time.Duration) float64 {
		return func(time.Duration) float64 { return perSecond }
	}
	for _, l := range []struct {
		name          string
		length        time.Duration
		rate          func(time.Duration) float64
		average, peak int           // fixed sizes
		turns         int           // at most
		p99           time.Duration // at most
	}{
		{"steady, 250 calls a second", 10 * time.Minute, steady(250), 3, 4, 3, 550 * time.Millisecond},
		{"steady, between two sizes", 20 * time.Minute, steady(300), 3, 4, 4, 550 * time.Millisecond},
		{"a step from 10 to 1000 a second, and back", 10 * time.Minute, func(at time.Duration) float64 {
			if at > 2*time.Minute && at < 6*time.Minute {
				return 1000
			}
			return 10
		}, 5, 11, 2, 1000 * time.Millisecond},
		{"spikes of 5 s each minute, 20 to 800 a second", 15 * time.Minute, func(at time.Duration) float64 {
			if at%time.Minute < 5*time.Second {
				return 800
			}
			return 20
		}, 2, 9, 4, 1000 * time.Millisecond},
		{"a day in an hour, 20 to 800 a second", time.Hour, func(at time.Duration) float64 {
			return 410 - 390*math.Cos(2*math.Pi*at.Minutes()/60)
		}, 5, 9, 8, 550 * time.Millisecond},
	} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			scaled := simulate(1, l.length, l.rate, 1, New(Windows{}, 1))
			average := simulate(1, l.length, l.rate, l.average, nil)
			peak := simulate(1, l.length, l.rate, l.peak, nil)
			t.Logf("\nscaled          %s\nfixed average   %s\nfixed peak      %s", scaled, average, peak)
			assert.LessOrEqual(t, scaled.turns, l.turns, "it flaps")
			assert.LessOrEqual(t, scaled.p99, l.p99)
			assert.Zero(t, scaled.failed)
			assert.LessOrEqual(t, scaled.behind, 2*time.Second)
		})
	}
}
