package proxy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/transport"
)

// pair starts two proxies that share a store.
func pair(t *testing.T, cfg Config) (s *storetest.Fake, a, b *running) {
	t.Helper()
	s = storetest.New()
	cfg.Common, cfg.Shared = s, true
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
	require.Eventually(t, holds, time.Second, time.Millisecond)

	// One that begins while the store is away knows it, too.
	dir := b.cfg.Dir
	b.stop()
	s.Fail(proto.Errorf(proto.ErrUnavailable, "no leader"))
	b = start(t, Config{Dir: dir, Agents: []string{n.addr}, Common: s, Shared: true})
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
