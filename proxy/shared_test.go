package proxy

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
	"github.com/Ishan27g/ryo-faas/transport"
)

// pair starts two proxies that share a store.
func pair(t *testing.T, cfg Config) (s *storetest.Fake, a, b *running) {
	t.Helper()
	s = storetest.New()
	cfg.Store, cfg.Common = s, s
	return s, start(t, cfg), start(t, cfg)
}

func TestATokenHoldsAtEachProxyOfAStore(t *testing.T) {
	n := newNode(t)
	s, a, b := pair(t, Config{Agents: []string{n.addr}})
	atA := a.dial(t, transport.RPC)
	made, err := atA.CreateToken(t.Context(), &proto.TokenRequest{Name: "ci", Scopes: []string{"read"}})
	require.NoError(t, err)
	holds := func() bool {
		_, err := b.tokens.Verify(made.GetSecret())
		return err == nil
	}
	require.Eventually(t, holds, patience, time.Millisecond)

	// One that begins while the store is away knows it, too.
	dir := b.cfg.Dir
	b.stop()
	s.Fail(proto.Errorf(proto.ErrUnavailable, "no leader"))
	b = start(t, Config{Dir: dir, Agents: []string{n.addr}, Store: s, Common: s})
	assert.True(t, holds())
	_, err = b.dial(t, transport.RPC).RevokeToken(t.Context(), made.GetToken().GetId())
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.True(t, holds(), "a change that is not stored is none")
	s.Fail(nil)

	_, err = b.dial(t, transport.RPC).RevokeToken(t.Context(), made.GetToken().GetId())
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, err := a.tokens.Verify(made.GetSecret()); return err != nil }, patience, time.Millisecond)
	list, err := atA.Tokens(t.Context())
	require.NoError(t, err)
	assert.Empty(t, list)
}

func TestAnAgentThatJoinsOneProxyOfAStoreBelongsToAll(t *testing.T) {
	_, a, b := pair(t, Config{})
	m := newMember(t, "a1")
	token := b.token(t)
	require.NoError(t, m.join(t, a, token), "any proxy takes the token of another")
	require.ErrorIs(t, m.join(t, b, token), proto.ErrUnauthenticated, "which is good once")
	agentOf := func(p *running) *proto.AgentState {
		list, err := p.dial(t, transport.HTTP).Agents(t.Context())
		require.NoError(t, err)
		if len(list) == 0 {
			return nil
		}
		require.Len(t, list, 1)
		return list[0]
	}
	require.Eventually(t, func() bool { s := agentOf(b); return s.GetJoined() && s.GetConnected() }, patience, 10*time.Millisecond)
	_, err := a.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	for _, p := range []*running{a, b} {
		require.Eventually(t, func() bool {
			rows, err := p.Details(t.Context())
			return err == nil && len(rows) == 1 && rows[0].GetStatus() == string(proto.Deployed)
		}, patience, 10*time.Millisecond)
	}

	_, err = a.dial(t, transport.RPC).RemoveAgent(t.Context(), "a1")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return agentOf(b) == nil }, patience, 10*time.Millisecond, "the other ends its connection, too")
	rows, err := b.Details(t.Context())
	require.NoError(t, err)
	assert.Empty(t, rows)
}

func TestTheAuditOfAStoreHasWhatEachProxyDid(t *testing.T) {
	n := newNode(t)
	_, a, b := pair(t, Config{Agents: []string{n.addr}})
	_, err := a.dial(t, transport.RPC).CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"read"}})
	require.NoError(t, err)
	_, err = b.dial(t, transport.RPC).Deploy(t.Context(), source(t, "Hello", n.addr))
	require.NoError(t, err)
	for _, p := range []*running{a, b} {
		require.Eventually(t, func() bool {
			list, err := p.dial(t, transport.HTTP).Audit(t.Context(), 10)
			return err == nil && len(list) == 3 && list[0].GetCall() == "Deploy" && list[2].GetCall() == "CreateToken"
		}, patience, 10*time.Millisecond)
	}
}

// newAgents starts agents that have ids, as real ones do.
func newAgents(t *testing.T, n int) []*node {
	t.Helper()
	nodes := newNodes(t, n)
	for _, n := range nodes {
		n.info = protobuf.CloneOf(n.Fake.Info())
		n.info.Id = "id-" + n.addr
	}
	return nodes
}

func TestProxiesOfAStoreKnowEachOthersAgents(t *testing.T) {
	nodes := newAgents(t, 3)
	s, a, b := pair(t, Config{Agents: []string{nodes[0].addr}})
	known := func(p *running, want ...*node) {
		t.Helper()
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			list, err := p.Agents(t.Context())
			require.NoError(c, err)
			var at []string
			for _, s := range list {
				assert.True(c, s.GetConnected())
				at = append(at, s.GetAddr())
			}
			assert.ElementsMatch(c, addrs(want...), at)
		}, patience, 5*time.Millisecond)
	}
	deploys(t, a, source(t, "One", nodes[1].addr)) // a call names it
	known(b, nodes[:2]...)
	deploys(t, b, source(t, "Two", nodes[2].addr))
	known(a, nodes...)
	for _, p := range []*running{a, b} {
		status, _ := p.call(t, "one")
		assert.Equal(t, 200, status)
	}

	// What is drained at one is drained at all, also for one with another folder.
	_, err := b.DrainAgent(t.Context(), nodes[2].addr)
	require.NoError(t, err)
	c := start(t, Config{Store: s, Common: s})
	for _, p := range []*running{a, b, c} {
		require.Eventually(t, func() bool {
			list, err := p.Agents(t.Context())
			i := slices.IndexFunc(list, func(s *proto.AgentState) bool { return s.GetAddr() == nodes[2].addr })
			return err == nil && len(list) == 3 && i >= 0 && list[i].GetDraining()
		}, patience, 5*time.Millisecond)
	}
	dir := a.cfg.Dir
	a.stop()
	_, err = b.RemoveAgent(t.Context(), nodes[0].addr)
	require.NoError(t, err)
	known(c, nodes[1:]...)
	known(b, nodes[1:]...)
	known(start(t, Config{Dir: dir, Store: s, Common: s}), nodes[1:]...) // one that was away as well
}

func TestAnAgentIsNotRemovedOrDrainedWithoutTheStore(t *testing.T) {
	n := newAgents(t, 1)[0]
	s, a, _ := pair(t, Config{Agents: []string{n.addr}})
	s.Fail(proto.Errorf(proto.ErrUnavailable, "no leader"))
	_, err := a.DrainAgent(t.Context(), n.addr)
	require.ErrorIs(t, err, proto.ErrUnavailable)
	_, err = a.RemoveAgent(t.Context(), n.addr)
	require.ErrorIs(t, err, proto.ErrUnavailable)
	list, err := a.Agents(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.False(t, list[0].GetDraining())
}

func TestADeployDoesNotWaitForWhatAnotherProxyMends(t *testing.T) {
	nodes := newAgents(t, 2)
	_, a, b := pair(t, Config{Agents: addrs(nodes...)})
	deploys(t, b, answers(t, "one", nodes...))
	nodes[1].stop()
	a.away(t, nodes[1])
	b.away(t, nodes[1])
	_, err := b.Deploy(t.Context(), answers(t, "two", nodes...))
	require.NoError(t, err)
	mends, release := make(chan struct{}), make(chan struct{})
	var asked atomic.Bool
	nodes[1].deploying = func(*proto.FunctionJson) error {
		if asked.Swap(true) {
			return nil
		}
		close(mends)
		<-release
		return errors.New("it was not to be")
	}
	callsA, callsB := a.caller(t), b.caller(t)
	nodes[1].start(t)
	<-mends // by the proxy that leads
	defer close(release)
	deploys(t, b, answers(t, "three", nodes...))
	for _, n := range nodes {
		eventually(t, func() bool { return serves(n, 3) || serves(n, 4) }, "it has the last one")
	}
	for _, c := range []*caller{callsA, callsB} {
		c.more(t)
		assert.NotContains(t, c.stop(), "one", "an agent that is back serves what it had")
	}
	w := wishOf(t, b, func(w *wish.Wish) bool { return len(w.At) == 2 && !w.Behind(&w.At[0]) && !w.Behind(&w.At[1]) })
	assert.EqualValues(t, 3, w.Generation)
	changes, err := b.cfg.Store.Registry(store.Rollouts).List(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, changes)
}

func TestOfTwoProxiesOneMovesFunctions(t *testing.T) {
	nodes := newAgents(t, 3)
	var brought atomic.Int32
	for _, n := range nodes {
		n.deploying = func(*proto.FunctionJson) error { brought.Add(1); return nil }
	}
	_, a, b := pair(t, Config{Agents: addrs(nodes...), LostAfter: 300 * time.Millisecond})
	deploys(t, b, answers(t, "one"))
	proxies := []*running{a, b}
	for i := range 4 { // a drain, a loss, and both without the one that led
		if i == 2 {
			a.stop()
			proxies = proxies[1:]
		}
		before := brought.Load()
		at := b.at(t, "Hello")
		require.Len(t, at, 1)
		from := nodes[slices.IndexFunc(nodes, func(n *node) bool { return n.addr == at[0] })]
		if i%2 == 0 {
			_, err := b.DrainAgent(t.Context(), from.addr)
			require.NoError(t, err)
		} else {
			from.stop()
		}
		for _, p := range proxies {
			require.Eventually(t, func() bool { now := p.at(t, "Hello"); return len(now) == 1 && now[0] != from.addr }, patience, 5*time.Millisecond)
		}
		if i%2 == 0 {
			_, err := b.ResumeAgent(t.Context(), from.addr)
			require.NoError(t, err)
		} else {
			from.start(t)
			require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Empty(c, from.names(t)) }, patience, 5*time.Millisecond)
		}
		assert.Equal(t, before+1, brought.Load(), "once")
		wishOf(t, b, func(w *wish.Wish) bool { return len(w.At) == 1 })
	}
}
