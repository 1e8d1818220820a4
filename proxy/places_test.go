package proxy

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
	"github.com/Ishan27g/ryo-faas/transport"
)

// label gives a node labels, as if its machine had a size.
func label(n *node, labels map[string]string) {
	n.info = &proto.AgentInfo{Platform: n.Fake.Info().GetPlatform(), GoVersion: "go1.26", Isolation: "full", Labels: labels, Memory: 4 << 30, Cpus: 4}
}

func addrs(nodes ...*node) (list []string) {
	for _, n := range nodes {
		list = append(list, n.addr)
	}
	return list
}

// at returns where a function is Deployed, by the proxy.
func (r *running) at(t *testing.T, name string) (list []string) {
	t.Helper()
	for _, row := range r.fleet.Rows() {
		if row.GetName() == name && row.GetStatus() == string(proto.Deployed) && r.fleet.Problem(row.GetAtAgent()) == nil {
			list = append(list, row.GetAtAgent())
		}
	}
	slices.Sort(list)
	return list
}

// has waits until a function is at some nodes, and nowhere else.
func (r *running) has(t *testing.T, name string, nodes ...*node) {
	t.Helper()
	want := addrs(nodes...)
	slices.Sort(want)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Equal(c, want, r.at(t, name))
	}, patience, 5*time.Millisecond)
	for _, n := range nodes {
		assert.Contains(t, n.names(t), name+" Deployed")
	}
}

func TestReplicasGoToDifferentAgentsWithTheirLabels(t *testing.T) {
	nodes := newNodes(t, 4)
	for _, n := range nodes[1:] {
		label(n, map[string]string{"zone": "a"})
	}
	p := start(t, Config{Agents: addrs(nodes...)})
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		c := p.dial(t, kind)
		fn := source(t, "Hello")
		fn.Replicas, fn.Placement = "2", map[string]string{"zone": "a"}
		rows, err := c.Deploy(t.Context(), fn)
		require.NoError(t, err)
		require.Len(t, rows, 2)
		assert.Equal(t, "2", rows[0].GetReplicas())
		assert.Equal(t, map[string]string{"zone": "a"}, rows[0].GetPlacement())
		assert.NotContains(t, p.at(t, "Hello"), nodes[0].addr)

		fn = source(t, "Hello")
		fn.Placement = map[string]string{"zone": "a"}
		again, err := c.Deploy(t.Context(), fn)
		require.NoError(t, err)
		assert.Equal(t, deployedAt(rows), deployedAt(again), "it stays where it is")

		fn.Placement = map[string]string{"zone": "b"}
		fn.Name = "Other"
		_, err = c.Deploy(t.Context(), fn)
		require.ErrorIs(t, err, proto.ErrUnavailable)
		require.ErrorContains(t, err, "no agent that can have it has the labels zone=b")
		_, err = c.Remove(t.Context(), "Hello")
		require.NoError(t, err)
	}
}

// What serves goes on serving where no agent has the labels that a deploy asks for, and every
// row says so until one has them.
func TestAFunctionThatStaysWithoutItsLabelsSaysSo(t *testing.T) {
	here, there := newNode(t), newNode(t)
	label(here, map[string]string{"zone": "a"})
	label(there, map[string]string{"zone": "b"})
	p := start(t, Config{Agents: addrs(here)})
	fn := source(t, "Hello")
	fn.Placement = map[string]string{"zone": "a"}
	rows, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	assert.Empty(t, rows[0].GetError())

	fn = source(t, "Hello")
	fn.Placement = map[string]string{"zone": "b"}
	for _, ask := range []func() ([]*proto.FunctionJsonRsp, error){
		func() ([]*proto.FunctionJsonRsp, error) { return p.Deploy(t.Context(), fn) },
		func() ([]*proto.FunctionJsonRsp, error) { return p.Details(t.Context()) },
		func() ([]*proto.FunctionJsonRsp, error) { return p.List(t.Context(), here.addr) },
	} {
		rows, err = ask()
		require.NoError(t, err)
		require.Len(t, rows, 1)
		assert.Equal(t, []string{string(proto.Deployed), here.addr, proto.ReasonPlacement}, []string{rows[0].GetStatus(), rows[0].GetAtAgent(), rows[0].GetReason()})
		assert.Equal(t, "no agent that could have it has the labels zone=b, so it stays on this one, which has zone=a: start an agent with -labels zone=b, and it moves there", rows[0].GetError())
	}
	status, _ := p.call(t, "hello")
	assert.Equal(t, 200, status)

	_, err = p.fleet.Resolve(t.Context(), there.addr)
	require.NoError(t, err)
	p.has(t, "Hello", there)
	rows, err = p.Details(t.Context())
	require.NoError(t, err)
	assert.Empty(t, rows[0].GetError())
}

func TestScaleChangesOnHowManyAgentsAFunctionIs(t *testing.T) {
	nodes := newNodes(t, 3)
	p := start(t, Config{Agents: addrs(nodes...)})
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		c := p.dial(t, kind)
		rows, err := c.Deploy(t.Context(), source(t, "Hello"))
		require.NoError(t, err)
		require.Len(t, rows, 1)
		first := rows[0].GetAtAgent()
		rows, err = c.Scale(t.Context(), "hello", "3")
		require.NoError(t, err)
		require.Len(t, rows, 3)
		for _, row := range rows {
			assert.Equal(t, "3", row.GetReplicas())
			assert.Equal(t, uint32(1), row.GetVersion(), "a replica is no new version")
		}
		rows, err = c.Scale(t.Context(), "Hello", "1")
		require.NoError(t, err)
		require.Len(t, rows, 1)
		_ = first // which one is left depends on what else they have
		rows, err = c.Scale(t.Context(), "Hello", "all")
		require.NoError(t, err)
		require.Len(t, rows, 3)
		_, err = c.Scale(t.Context(), "Hello", "0")
		require.ErrorIs(t, err, proto.ErrInvalid)
		_, err = c.Scale(t.Context(), "Nobody", "2")
		require.ErrorIs(t, err, proto.ErrNotFound)
		_, err = c.Remove(t.Context(), "Hello")
		require.NoError(t, err)
	}
	_, err := nodes[0].dial(t).Scale(t.Context(), "Hello", "2")
	require.ErrorIs(t, err, proto.ErrUnsupported)
}

// Who names agents has chosen them: how the proxy chose them before is not kept, and counts
// again once it is said.
func TestNamedAgentsReplaceChosenOnes(t *testing.T) {
	for name, s := range map[string]store.Store{"without a store": nil, "with one": storetest.New()} {
		t.Run(name, func(t *testing.T) {
			nodes := newNodes(t, 2)
			p := start(t, Config{Agents: addrs(nodes...), Store: s})
			c := p.dial(t, transport.RPC)
			keep := []string{"replicas", "placement", "memory"}
			fn := source(t, "Hello")
			fn.Replicas, fn.Memory = "2", "64MiB"
			_, err := c.Deploy(t.Context(), fn)
			require.NoError(t, err)
			p.has(t, "Hello", nodes...)

			fn = source(t, "Hello", nodes[0].addr)
			fn.Keep = keep
			rows, err := c.Deploy(t.Context(), fn)
			require.NoError(t, err)
			require.Len(t, rows, 1)
			p.has(t, "Hello", nodes[0])
			versions, err := c.Versions(t.Context(), "Hello")
			require.NoError(t, err)
			assert.Equal(t, "64MiB", versions[0].GetSettings().GetMemory(), "the rest is kept")

			fn = source(t, "Hello")
			fn.Keep, fn.Env = keep, map[string]string{"A": "1"}
			rows, err = c.Deploy(t.Context(), fn)
			require.NoError(t, err)
			require.Len(t, rows, 1, "it stays where a user has put it")
			assert.Empty(t, rows[0].GetReplicas())
			p.has(t, "Hello", nodes[0])

			fn = source(t, "Hello")
			fn.Replicas, fn.Keep = "2", keep[2:]
			rows, err = c.Deploy(t.Context(), fn)
			require.NoError(t, err)
			require.Len(t, rows, 2, "its agents of before do not clash with a number")
			p.has(t, "Hello", nodes...)
		})
	}
}

func (n *node) dial(t *testing.T) *transport.Client {
	t.Helper()
	c := transport.NewAgent(transport.RPC, n.addr)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAllIsNewAgentsToo(t *testing.T) {
	nodes := newNodes(t, 2)
	nodes[1].stop()
	p := start(t, Config{Agents: addrs(nodes...)})
	fn := source(t, "Hello")
	fn.Replicas = proto.ReplicasAll
	_, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	p.has(t, "Hello", nodes[0])
	nodes[1].start(t)
	p.has(t, "Hello", nodes...)
}

func TestWhatIsDrainedMovesFirstAndStaysKnown(t *testing.T) {
	nodes := newNodes(t, 2)
	cfg := Config{Agents: addrs(nodes...), Dir: t.TempDir()}
	p := start(t, cfg)
	c := p.dial(t, transport.RPC)
	rows, err := c.Deploy(t.Context(), source(t, "Hello"), source(t, "Named", nodes[0].addr))
	require.NoError(t, err)
	require.Len(t, rows, 2)
	if p.at(t, "Hello")[0] != nodes[0].addr { // drain the one that has it
		_, err := c.Scale(t.Context(), "Hello", "2")
		require.NoError(t, err)
		_, err = c.DrainAgent(t.Context(), nodes[1].addr)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return len(p.stays(t, nodes[1])) == 1 }, patience, 5*time.Millisecond, "there is no other")
		_, err = c.ResumeAgent(t.Context(), nodes[1].addr)
		require.NoError(t, err)
		_, err = c.Scale(t.Context(), "Hello", "1")
		require.NoError(t, err)
	}
	p.has(t, "Named", nodes[0])
	state, err := c.DrainAgent(t.Context(), nodes[0].addr)
	require.NoError(t, err)
	assert.True(t, state.GetDraining())
	p.has(t, "Hello", nodes[1])
	p.has(t, "Named", nodes[0])
	require.Eventually(t, func() bool {
		return slices.Equal([]string{"Named: it was deployed to agents by name"}, p.stays(t, nodes[0]))
	}, patience, 5*time.Millisecond)

	p.stop()
	p = start(t, cfg)
	c = p.dial(t, transport.HTTP)
	agents, err := c.Agents(t.Context())
	require.NoError(t, err)
	for _, a := range agents {
		assert.Equal(t, a.GetAddr() == nodes[0].addr, a.GetDraining(), "it is known over restarts")
	}
	rows, err = c.Deploy(t.Context(), source(t, "Another"), source(t, "AndAnother"))
	require.NoError(t, err)
	for _, row := range rows {
		assert.Equal(t, nodes[1].addr, row.GetAtAgent())
	}
	_, err = c.ResumeAgent(t.Context(), nodes[0].addr)
	require.NoError(t, err)
	rows, err = c.Deploy(t.Context(), source(t, "Third"))
	require.NoError(t, err)
	assert.Equal(t, nodes[0].addr, rows[0].GetAtAgent())
	_, err = c.DrainAgent(t.Context(), "nobody:9000")
	require.ErrorIs(t, err, proto.ErrNotFound)
}

// stays returns why functions stay on a node.
func (r *running) stays(t *testing.T, n *node) []string {
	t.Helper()
	list, err := r.Agents(t.Context())
	require.NoError(t, err)
	for _, a := range list {
		if a.GetAddr() == n.addr {
			return a.GetStays()
		}
	}
	return nil
}

func TestALostAgentIsReplacedAndNotDoubled(t *testing.T) {
	for name, s := range map[string]store.Store{"without a store": nil, "with one": storetest.New()} {
		t.Run(name, func(t *testing.T) { aLostAgentIsReplaced(t, s) })
	}
}

func aLostAgentIsReplaced(t *testing.T, s store.Store) {
	nodes := newNodes(t, 3)
	const lostAfter = 300 * time.Millisecond
	p := start(t, Config{Agents: addrs(nodes...), LostAfter: lostAfter, Store: s})
	fn := source(t, "Hello")
	fn.Replicas = "2"
	_, err := p.Deploy(t.Context(), fn, source(t, "Named", nodes[0].addr))
	require.NoError(t, err)
	at := p.at(t, "Hello")
	require.Len(t, at, 2)
	var lost *node
	var others []*node
	for _, n := range nodes {
		if n.addr == at[0] && lost == nil {
			lost = n
		} else {
			others = append(others, n)
		}
	}
	lost.stop()
	p.has(t, "Hello", others...)
	lost.start(t)
	require.Eventually(t, func() bool { return p.fleet.Problem(lost.addr) == nil }, patience, 5*time.Millisecond)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.NotContains(c, lost.names(t), "Hello Deployed", "it was replaced")
	}, patience, 5*time.Millisecond)
	p.has(t, "Hello", others...)
	p.has(t, "Named", nodes[0])
}

// With a store what only a lost agent had is brought up elsewhere, also by a proxy that has
// never heard of it.
func TestWhatOnlyALostAgentHadIsReplaced(t *testing.T) {
	nodes := newNodes(t, 2)
	cfg := Config{Agents: addrs(nodes...), LostAfter: 300 * time.Millisecond, Store: storetest.New(), Dir: t.TempDir()}
	p := start(t, cfg)
	_, err := p.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	first, other := nodes[0], nodes[1]
	if p.at(t, "Hello")[0] != first.addr {
		first, other = other, first
	}
	first.stop()
	p.has(t, "Hello", other)
	first.start(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Empty(c, first.names(t)) }, patience, 5*time.Millisecond)
	p.has(t, "Hello", other)

	p.stop()
	other.stop()
	p = start(t, cfg)
	p.has(t, "Hello", first)
	other.start(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Empty(c, other.names(t)) }, patience, 5*time.Millisecond)
	p.has(t, "Hello", first)
}

// A store follows moves: nothing is brought back to where it was.
func TestAMoveIsWished(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{Agents: addrs(nodes...), Store: storetest.New()})
	c := p.dial(t, transport.RPC)
	_, err := c.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	for range 3 {
		at := p.at(t, "Hello")
		require.Len(t, at, 1)
		to := nodes[0]
		if at[0] == to.addr {
			to = nodes[1]
		}
		_, err = c.DrainAgent(t.Context(), at[0])
		require.NoError(t, err)
		p.has(t, "Hello", to)
		_, err = c.ResumeAgent(t.Context(), at[0])
		require.NoError(t, err)
	}
	rows, err := c.Scale(t.Context(), "Hello", "2")
	require.NoError(t, err)
	require.Len(t, rows, 2)
	rows, err = c.Scale(t.Context(), "Hello", "1")
	require.NoError(t, err)
	require.Len(t, rows, 1)
	w := p.wishes.Get("hello")
	assert.Equal(t, "1", w.Replicas)
	require.Eventually(t, func() bool {
		w := p.wishes.Get("hello")
		return len(w.At) == 1 && w.At[0].Agent == rows[0].GetAtAgent()
	}, patience, 5*time.Millisecond)
	rows, err = c.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	require.Len(t, rows, 1)
}

func TestAnAgentThatBlinksKeepsItsFunctions(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{Agents: addrs(nodes...), LostAfter: time.Minute})
	_, err := p.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	has, other := nodes[0], nodes[1]
	if p.at(t, "Hello")[0] != has.addr {
		has, other = other, has
	}
	has.stop()
	require.Eventually(t, func() bool { return p.fleet.Problem(has.addr) != nil }, patience, 5*time.Millisecond)
	var none = make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // some looks long
	defer cancel()
	select {
	case <-ctx.Done():
	case <-none:
	}
	assert.Empty(t, other.names(t))
	has.start(t)
	p.has(t, "Hello", has)
}

// pick returns the one of two nodes that has Hello, and the other.
func (r *running) pick(t *testing.T, nodes []*node) (has, other *node) {
	t.Helper()
	at := r.at(t, "Hello")
	require.Len(t, at, 1)
	if at[0] == nodes[0].addr {
		return nodes[0], nodes[1]
	}
	return nodes[1], nodes[0]
}

func TestAFunctionThatIsBroughtUpElsewhereIsUnavailableAndNotUnknown(t *testing.T) {
	nodes := newNodes(t, 2)
	cfg := Config{Agents: addrs(nodes...), LostAfter: 100 * time.Millisecond, Store: storetest.New()}
	p := start(t, cfg)
	_, err := p.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	has, other := p.pick(t, nodes)
	reached, release := make(chan struct{}), make(chan struct{})
	other.deploying = func(*proto.FunctionJson) error { close(reached); <-release; return nil }
	p.stop()
	has.stop()
	p = start(t, cfg) // which knows no more than what is wished
	<-reached
	res, err := client(t).Get("http://" + p.http + "/functions/hello")
	require.NoError(t, err)
	assert.Equal(t, 503, res.StatusCode)
	assert.Equal(t, "1", res.Header.Get("Retry-After"))
	e := errorOf(t, res)
	assert.Equal(t, `function "Hello" is not called now: these agents do not answer: `+has.addr, e["message"])
	res, err = client(t).Get("http://" + p.http + "/functions/other")
	require.NoError(t, err)
	assert.Equal(t, 404, res.StatusCode)
	_ = bodyOf(t, res)
	other.deploying = nil
	close(release)
	p.has(t, "Hello", other)
}

// What was stopped at its agent, or may have been through a proxy that has another store, is
// not there.
func TestAFunctionThatWasStoppedPastTheProxyIsUnknown(t *testing.T) {
	for name, shared := range map[string]bool{"at its agent": false, "with -shared": true} {
		t.Run(name, func(t *testing.T) {
			nodes := newNodes(t, 2)
			p := start(t, Config{Agents: addrs(nodes...), Store: storetest.New(), Shared: shared})
			deploys(t, p, source(t, "Hello", nodes[0].addr))
			_, err := nodes[0].Stop(t.Context(), "Hello")
			require.NoError(t, err)
			eventually(t, func() bool { status, _ := p.call(t, "hello"); return status == 404 }, "it is not there")
		})
	}
}

// Where a function is to be, also what is to leave an agent that is away, lies in the store
// alone: a proxy with another folder knows as much.
func TestWhatALostAgentHasToRemoveIsWished(t *testing.T) {
	nodes := newNodes(t, 2)
	cfg := Config{Agents: addrs(nodes...), LostAfter: 100 * time.Millisecond, Store: storetest.New(), Dir: t.TempDir()}
	p := start(t, cfg)
	_, err := p.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	has, other := p.pick(t, nodes)
	has.stop()
	p.has(t, "Hello", other)
	wishOf(t, p, func(w *wish.Wish) bool { at := w.Place(has.addr, ""); return at != nil && at.Leaving })
	p.stop()
	assert.NoFileExists(t, filepath.Join(cfg.Dir, "removals.json"))
	cfg.Dir = t.TempDir()
	p = start(t, cfg)
	has.start(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Empty(c, has.names(t)) }, patience, 5*time.Millisecond)
	p.has(t, "Hello", other)
}

// A move that failed is tried again after a while; but when nobody serves the function any
// longer, it is brought up elsewhere at once.
func TestWhatNobodyServesDoesNotWaitForAMoveThatFailed(t *testing.T) {
	nodes := newNodes(t, 3)
	p := start(t, Config{Agents: addrs(nodes...), LostAfter: 100 * time.Millisecond, Store: storetest.New()})
	fn := source(t, "Hello")
	fn.Replicas = "2"
	_, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	at := p.at(t, "Hello")
	i := slices.IndexFunc(nodes, func(n *node) bool { return !slices.Contains(at, n.addr) })
	spare := nodes[i]
	had := slices.Delete(slices.Clone(nodes), i, i+1)
	spare.deploying = breaks
	had[0].stop()
	eventually(t, func() bool {
		p.places.mu.Lock()
		defer p.places.mu.Unlock()
		f, failed := p.places.failed["hello"]
		f.retry = time.Now().Add(time.Hour)
		if failed {
			p.places.failed["hello"] = f
		}
		return failed
	}, "the move has failed")
	spare.deploying = nil
	had[1].stop()
	p.has(t, "Hello", spare)
}
