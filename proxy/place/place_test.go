package place_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/place"
)

const lostAfter = time.Minute

func agents(names ...string) (list []place.Agent) {
	for _, name := range names {
		list = append(list, place.Agent{Name: name, Isolation: proto.IsolationBasic})
	}
	return list
}

func with(list []place.Agent, name string, change func(*place.Agent)) []place.Agent {
	i := slices.IndexFunc(list, func(a place.Agent) bool { return a.Name == name })
	change(&list[i])
	return list
}

func drains(a *place.Agent) { a.Draining = true }
func blinks(a *place.Agent) { a.Silent = lostAfter / 2 }
func isLost(a *place.Agent) { a.Silent = lostAfter }

func TestPlan(t *testing.T) {
	hello := func(replicas int, on ...string) place.Function {
		return place.Function{Path: "hello", Replicas: replicas, On: on}
	}
	gpu := map[string]string{"gpu": "yes"}
	for name, tt := range map[string]struct {
		agents []place.Agent
		f      place.Function
		others []place.Function
		want   place.Target
	}{
		"a new function goes to the agent with the least to do": {
			agents: agents("a", "b"), f: hello(1), others: []place.Function{{Path: "busy", On: []string{"a"}, Fixed: true}},
			want: place.Target{Agents: []string{"b"}, Add: []string{"b"}},
		},
		"a large machine has less to do": {
			agents: with(agents("a", "b"), "b", func(a *place.Agent) { a.Memory, a.CPUs = 64<<30, 32 }), f: hello(1),
			others: []place.Function{{Path: "x", On: []string{"b"}, Fixed: true}, {Path: "y", On: []string{"b"}, Fixed: true}},
			want:   place.Target{Agents: []string{"b"}, Add: []string{"b"}},
		},
		"what declares much memory goes where there is room": {
			agents: with(with(agents("a", "b"), "a", func(a *place.Agent) { a.Memory = 1 << 30 }), "b", func(a *place.Agent) { a.Memory = 4 << 30 }),
			f:      place.Function{Path: "hello", Replicas: 1, Memory: 2 << 30},
			others: []place.Function{{Path: "x", On: []string{"b"}, Fixed: true}},
			want:   place.Target{Agents: []string{"b"}, Add: []string{"b"}},
		},
		"a full machine is better than none": {
			agents: with(agents("a"), "a", func(a *place.Agent) { a.Memory = 1 << 30 }), f: place.Function{Path: "hello", Replicas: 1, Memory: 2 << 30},
			want: place.Target{Agents: []string{"a"}, Add: []string{"a"}},
		},
		"an agent without ports gets nothing": {
			agents: with(agents("a", "b"), "a", func(a *place.Agent) { a.Ports = 1 }), f: hello(2),
			others: []place.Function{{Path: "x", On: []string{"a"}, Fixed: true}},
			want:   place.Target{Agents: []string{"b"}, Add: []string{"b"}, Short: 1},
		},
		"what holds no port there leaves it to others": {
			agents: with(agents("a"), "a", func(a *place.Agent) { a.Ports = 2 }), f: hello(1),
			others: []place.Function{{Path: "broken", On: []string{"a"}, Ports: map[string]int{"a": 0}, Replicas: 1}, {Path: "x", On: []string{"a"}, Fixed: true}},
			want:   place.Target{Agents: []string{"a"}, Add: []string{"a"}},
		},
		"a canary holds a second port": {
			agents: with(agents("a"), "a", func(a *place.Agent) { a.Ports = 2 }), f: hello(1),
			others: []place.Function{{Path: "x", On: []string{"a"}, Ports: map[string]int{"a": 2}, Fixed: true}},
			want:   place.Target{Short: 1},
		},
		"what comes before it takes the port": {
			agents: with(agents("a"), "a", func(a *place.Agent) { a.Ports = 1 }), f: hello(1),
			others: []place.Function{{Path: "earlier", Replicas: 1}},
			want:   place.Target{Short: 1},
		},
		"replicas spread over machines": {
			agents: with(with(agents("a", "b", "c"), "a", func(a *place.Agent) { a.Machine = "m" }), "b", func(a *place.Agent) { a.Machine = "m" }), f: hello(2),
			others: []place.Function{{Path: "x", On: []string{"c"}, Fixed: true}},
			want:   place.Target{Agents: []string{"a", "c"}, Add: []string{"a", "c"}},
		},
		"more replicas than agents": {
			agents: agents("a", "b"), f: hello(3, "a"),
			want: place.Target{Agents: []string{"a", "b"}, Add: []string{"b"}, Short: 1},
		},
		"where calls decide, it stays on as many as it has": {
			agents: agents("a", "b", "c"), f: place.Function{Path: "hello", Replicas: 1, Most: 3, On: []string{"a", "b"}},
			want: place.Target{Agents: []string{"a", "b"}},
		},
		"and is on no fewer than it may": {
			agents: agents("a", "b", "c"), f: place.Function{Path: "hello", Replicas: 2, Most: 3},
			want: place.Target{Agents: []string{"a", "b"}, Add: []string{"a", "b"}},
		},
		"and goes to further ones when they want it": {
			agents: agents("a", "b", "c"), f: place.Function{Path: "hello", Replicas: 1, Most: 3, Wanted: 3, On: []string{"b"}},
			want: place.Target{Agents: []string{"a", "b", "c"}, Add: []string{"a", "c"}},
		},
		"and to no more than it may": {
			agents: agents("a", "b", "c"), f: place.Function{Path: "hello", Replicas: 1, Most: 2, Wanted: 3, On: []string{"b"}},
			want: place.Target{Agents: []string{"a", "b"}, Add: []string{"a"}},
		},
		"and leaves those that they want no longer": {
			agents: agents("a", "b", "c"), f: place.Function{Path: "hello", Replicas: 1, Most: 3, Wanted: 1, On: []string{"a", "b"}, Chosen: []string{"b"}},
			want: place.Target{Agents: []string{"b"}, Remove: []string{"a"}},
		},
		"and is replaced where it is lost": {
			agents: with(agents("a", "b", "c"), "a", isLost), f: place.Function{Path: "hello", Replicas: 1, Most: 3, On: []string{"a", "b"}},
			want: place.Target{Agents: []string{"b", "c"}, Add: []string{"c"}, Remove: []string{"a"}},
		},
		"labels say where": {
			agents: with(agents("a", "b"), "b", func(a *place.Agent) { a.Labels = gpu }), f: place.Function{Path: "hello", Replicas: 2, Labels: gpu},
			want: place.Target{Agents: []string{"b"}, Add: []string{"b"}, Short: 1},
		},
		"isolation says where": {
			agents: with(agents("a", "b"), "b", func(a *place.Agent) { a.Isolation = proto.IsolationFull }), f: place.Function{Path: "hello", Replicas: 1, Isolation: proto.IsolationStrong},
			want: place.Target{Agents: []string{"b"}, Add: []string{"b"}},
		},
		"other labels move it": {
			agents: with(agents("a", "b"), "b", func(a *place.Agent) { a.Labels = gpu }), f: place.Function{Path: "hello", Replicas: 1, On: []string{"a"}, Labels: gpu},
			want: place.Target{Agents: []string{"b"}, Add: []string{"b"}, Remove: []string{"a"}},
		},
		"labels that nobody has leave it where it is": {
			agents: agents("a", "b"), f: place.Function{Path: "hello", Replicas: 1, On: []string{"a"}, Labels: gpu},
			want: place.Target{Agents: []string{"a"}, Stuck: []string{"a"}},
		},
		"a new agent moves nothing": {
			agents: agents("a", "b", "new"), f: hello(1, "a"), others: []place.Function{{Path: "x", On: []string{"a"}, Replicas: 1}},
			want: place.Target{Agents: []string{"a"}},
		},
		"all means each that may": {
			agents: with(agents("a", "b", "c"), "c", drains), f: place.Function{Path: "hello", All: true, On: []string{"a"}},
			want: place.Target{Agents: []string{"a", "b"}, Add: []string{"b"}},
		},
		"all leaves the one that drains": {
			agents: with(agents("a", "b"), "b", drains), f: place.Function{Path: "hello", All: true, On: []string{"a", "b"}},
			want: place.Target{Agents: []string{"a"}, Remove: []string{"b"}},
		},
		"all waits for the one that is lost": {
			agents: with(agents("a", "b"), "b", isLost), f: place.Function{Path: "hello", All: true, On: []string{"a", "b"}},
			want: place.Target{Agents: []string{"a", "b"}},
		},
		"all of nobody": {
			agents: nil, f: place.Function{Path: "hello", All: true}, want: place.Target{Short: 1},
		},
		"an agent that drains is left": {
			agents: with(agents("a", "b"), "a", drains), f: hello(1, "a"),
			want: place.Target{Agents: []string{"b"}, Add: []string{"b"}, Remove: []string{"a"}},
		},
		"what drains keeps what nobody else can take": {
			agents: with(agents("a", "b"), "a", drains), f: hello(2, "a", "b"),
			want: place.Target{Agents: []string{"a", "b"}, Stuck: []string{"a"}},
		},
		"what is fixed stays on an agent that drains": {
			agents: with(agents("a", "b"), "a", drains), f: place.Function{Path: "hello", On: []string{"a"}, Fixed: true},
			want: place.Target{Agents: []string{"a"}},
		},
		"an agent that is silent for a moment keeps what it has": {
			agents: with(agents("a", "b"), "a", blinks), f: hello(1, "a"), want: place.Target{Agents: []string{"a"}},
		},
		"and gets nothing new": {
			agents: with(agents("a"), "a", blinks), f: hello(1), want: place.Target{Short: 1},
		},
		"an agent that is lost is replaced": {
			agents: with(agents("a", "b"), "a", isLost), f: hello(1, "a"),
			want: place.Target{Agents: []string{"b"}, Add: []string{"b"}, Remove: []string{"a"}},
		},
		"one that is lost keeps its place where there is no other": {
			agents: with(agents("a", "b"), "a", isLost), f: hello(2, "a", "b"), want: place.Target{Agents: []string{"a", "b"}, Short: 1},
		},
		"when it is back the replacement stays": {
			agents: agents("a", "b"), f: place.Function{Path: "hello", Replicas: 1, On: []string{"a", "b"}, Chosen: []string{"b"}},
			want: place.Target{Agents: []string{"b"}, Remove: []string{"a"}},
		},
		"of too many the busiest goes": {
			agents: agents("a", "b"), f: hello(1, "a", "b"), others: []place.Function{{Path: "x", On: []string{"a"}, Fixed: true}},
			want: place.Target{Agents: []string{"b"}, Remove: []string{"a"}},
		},
		"an agent that is not known does not have it": {
			agents: agents("a"), f: hello(1, "gone"), want: place.Target{Agents: []string{"a"}, Add: []string{"a"}, Remove: []string{"gone"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.want.Path = "hello"
			targets := place.Plan(tt.agents, append(tt.others, tt.f), lostAfter)
			i := slices.IndexFunc(targets, func(t place.Target) bool { return t.Path == "hello" })
			require.GreaterOrEqual(t, i, 0)
			assert.Equal(t, tt.want, targets[i])
		})
	}
}

func TestNobodyIsLostWithoutATime(t *testing.T) {
	targets := place.Plan(with(agents("a", "b"), "a", isLost), []place.Function{{Path: "hello", Replicas: 1, On: []string{"a"}}}, 0)
	assert.Equal(t, []string{"a"}, targets[0].Agents)
}

func TestNewFunctionsSpreadEvenly(t *testing.T) {
	var functions []place.Function
	for i := range 30 {
		functions = append(functions, place.Function{Path: fmt.Sprintf("f%02d", i), Replicas: 1})
	}
	counts := map[string]int{}
	for _, target := range place.Plan(agents("a", "b", "c"), functions, lostAfter) {
		counts[target.Agents[0]]++
	}
	assert.Equal(t, map[string]int{"a": 10, "b": 10, "c": 10}, counts)
}

// TestRandomFleets checks what holds for any fleet.
func TestRandomFleets(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // it need not be secret
		fleet, functions := random(r)
		targets := place.Plan(fleet, functions, lostAfter)
		require.Len(t, targets, len(functions))

		shuffled, others := slices.Clone(fleet), slices.Clone(functions)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		r.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		require.Equal(t, targets, place.Plan(shuffled, others, lostAfter), "seed %d: the order of what comes in does not matter", seed)

		for i, f := range functions {
			check(t, seed, fleet, f, targets[i])
			functions[i].On, functions[i].Chosen = targets[i].Agents, targets[i].Agents
		}
		for i, again := range place.Plan(fleet, functions, lostAfter) {
			// Where agents lack ports, others may have made room for all, and for what was short.
			if targets[i].Short == 0 && targets[i].Stuck == nil && !functions[i].All {
				require.Empty(t, again.Remove, "seed %d: %s is moved again", seed, again.Path)
				require.Empty(t, again.Add, "seed %d: %s is moved again", seed, again.Path)
			}
		}
	}
}

func check(t *testing.T, seed uint64, fleet []place.Agent, f place.Function, got place.Target) {
	t.Helper()
	say := fmt.Sprintf("seed %d, function %+v, target %+v", seed, f, got)
	if f.Fixed {
		require.Equal(t, f.On, got.Agents, say)
		return
	}
	good, free := 0, 0
	for _, a := range fleet {
		has := slices.Contains(f.On, a.Name)
		may := (f.Labels["zone"] == "" || a.Labels["zone"] == f.Labels["zone"]) && a.Isolation >= f.Isolation && !a.Draining
		switch {
		case has && may && a.Silent < lostAfter:
			good++
		case !has && may && a.Silent == 0 && a.Ports == 0:
			free++
		}
		if slices.Contains(got.Add, a.Name) {
			require.True(t, may && a.Silent == 0, say)
		}
		if slices.Contains(got.Remove, a.Name) && has && may && a.Silent < lostAfter {
			require.False(t, f.All, say)
			require.Len(t, got.Agents, f.Replicas, say) // it was one too many
		}
	}
	if f.All {
		require.GreaterOrEqual(t, len(got.Agents), good+free, say)
		return
	}
	require.LessOrEqual(t, len(got.Agents), f.Replicas, say)
	require.GreaterOrEqual(t, len(got.Agents), min(f.Replicas, good+free), say)
	require.LessOrEqual(t, len(got.Add), max(0, f.Replicas-good), say) // nothing moves without need
	require.LessOrEqual(t, f.Replicas-len(got.Agents), got.Short, say)
}

func random(r *rand.Rand) (fleet []place.Agent, functions []place.Function) {
	for i := range r.IntN(8) {
		a := place.Agent{Name: fmt.Sprintf("a%d", i), Machine: fmt.Sprintf("m%d", r.IntN(4)), Isolation: proto.Isolation(r.IntN(4))}
		if r.IntN(2) == 0 {
			a.Labels = map[string]string{"zone": string(rune('x' + r.IntN(2)))}
		}
		if r.IntN(3) == 0 {
			a.Memory, a.CPUs = uint64(r.IntN(8)+1)<<30, float64(r.IntN(8)+1) //nolint:gosec // small
		}
		if r.IntN(5) == 0 {
			a.Ports = r.IntN(10) + 1
		}
		a.Draining = r.IntN(5) == 0
		a.Silent = []time.Duration{0, 0, 0, lostAfter / 2, 2 * lostAfter}[r.IntN(5)]
		fleet = append(fleet, a)
	}
	for i := range r.IntN(12) {
		f := place.Function{Path: fmt.Sprintf("f%02d", i), Replicas: 1 + r.IntN(4), All: r.IntN(6) == 0, Fixed: r.IntN(6) == 0}
		if r.IntN(3) == 0 {
			f.Labels = map[string]string{"zone": string(rune('x' + r.IntN(2)))}
		}
		if r.IntN(3) == 0 {
			f.Isolation = proto.Isolation(r.IntN(4))
		}
		if r.IntN(3) == 0 {
			f.Memory = uint64(r.IntN(4096)+1) << 20 //nolint:gosec // small
		}
		for _, a := range fleet {
			if r.IntN(3) == 0 {
				f.On = append(f.On, a.Name)
			}
		}
		functions = append(functions, f)
	}
	return fleet, functions
}
