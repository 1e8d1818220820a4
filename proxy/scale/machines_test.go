package scale_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/Ishan27g/ryo-faas/proxy/scale"
)

func TestMachinesFollowProcesses(t *testing.T) {
	const room = 4
	m := scale.NewMachines(scale.Windows{}, 1)
	for _, step := range []struct {
		at              time.Duration
		processes, want int
		why             string
	}{
		{0, 1, 1, "it has room"},
		{1 * time.Second, 4, 1, "processes first"},
		{2 * time.Second, 5, 2, "then machines"},
		{3 * time.Second, 100, 6, "up to most"},
		{4 * time.Second, 9, 6, "it does not go down at once"},
		{63 * time.Second, 14, 6, "nor before a stable window has passed"},
		{64 * time.Second, 1, 5, "then to what was needed most in it"},
		{65 * time.Second, 1, 5, "and it waits again"},
		{100 * time.Second, 16, 5, "what leaves no room free"},
		{126 * time.Second, 1, 5, "begins the wait anew"},
		{185 * time.Second, 1, 5, "which takes as long"},
		{187 * time.Second, 1, 1, "over"},
	} {
		assert.Equal(t, step.want, m.Decide(step.at, step.processes, room, 1, 6), "at %s: %s", step.at, step.why)
	}
	assert.Equal(t, 2, m.Decide(200*time.Second, 1, room, 2, 6), "on as many as it is to be at least")
	assert.Equal(t, 1, m.Decide(300*time.Second, 40, room, 1, 1), "and at most")
}

// A load that sways where one machine turns into two, with calls that come by chance, does not move
// the function to and fro; one that grows takes machines in time, and gives them back.
func TestMachinesDoNotFlap(t *testing.T) {
	const room, target = 4, 10
	for name, load := range map[string]struct {
		at          func(s float64) float64 // calls in flight
		moves, last int
	}{
		"at the edge":       {func(s float64) float64 { return 42 + 6*math.Sin(s) }, 1, 2},
		"a wave of minutes": {func(s float64) float64 { return 60 + 50*math.Sin(s/100) }, 4 * 6, 3},
		"a day":             {func(s float64) float64 { return 100 - 95*math.Cos(s/3600*2*math.Pi) }, 12, 1},
	} {
		t.Run(name, func(t *testing.T) {
			p, m := scale.New(scale.Windows{}, 1), scale.NewMachines(scale.Windows{}, 1)
			n, moves, short := 1, 0, 0
			for at := time.Duration(0); at < time.Hour; at += 100 * time.Millisecond {
				p.Observe(at, load.at(at.Seconds()))
				size := p.Decide(scale.Bounds{Min: 1, Max: 8 * room, Target: target})
				now := m.Decide(at, size.Processes, room, 1, 8)
				if now != n {
					n, moves = now, moves+1
				}
				if size.Processes > n*room {
					short++
				}
			}
			assert.LessOrEqual(t, moves, load.moves)
			assert.Equal(t, load.last, n)
			assert.Zero(t, short, "the machines have room for what is decided")
		})
	}
}
