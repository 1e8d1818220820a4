package proxy

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/server"
)

// between is a network on which somebody listens: it passes connections on to an
// address and keeps what it has seen.
type between struct {
	addr string
	mu   sync.Mutex
	seen bytes.Buffer
}

func (b *between) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen.Write(p)
}

// saw reports whether a text has passed in the clear.
func (b *between) saw(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.seen.Bytes(), []byte(text))
}

// inBetween returns a network to an address.
func inBetween(t *testing.T, to string) *between {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &between{addr: l.Addr().String()}
	var passing sync.WaitGroup
	conns := map[net.Conn]bool{}
	passing.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			b.mu.Lock()
			conns[in], conns[out] = true, true
			b.mu.Unlock()
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				passing.Go(func() {
					_, _ = io.Copy(io.MultiWriter(way[1], b), way[0])
					in.Close()
					out.Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		b.mu.Lock()
		for c := range conns {
			c.Close()
		}
		b.mu.Unlock()
		passing.Wait()
	})
	return b
}

// member is an agent that can join, behind a network on which somebody listens.
type member struct {
	*node
	id       string
	identity *pki.Identity
	network  *between
}

func newMember(t *testing.T, id string) *member {
	t.Helper()
	n := newNode(t)
	n.info = &proto.AgentInfo{Id: id, Platform: "linux/amd64", GoVersion: "go1.26"}
	n.stop()
	dir, err := state.Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dir.Close()) })
	m := &member{node: n, id: id, network: inBetween(t, n.addr)}
	m.identity, err = pki.OpenIdentity(dir, id)
	require.NoError(t, err)
	l, err := net.Listen("tcp", n.addr)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, n, server.Config{
			Listeners: []net.Listener{l}, Store: n.Store(), Worker: n, Certificates: m.identity,
		})
	}()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	return m
}

func (m *member) request(t *testing.T) *proto.JoinRequest {
	csr, err := m.identity.Request()
	require.NoError(t, err)
	return &proto.JoinRequest{Id: m.id, Addr: m.network.addr, Request: csr}
}

// join makes the agent a member of a proxy, over a network on which somebody listens.
func (m *member) join(t *testing.T, p *running, text string) error {
	t.Helper()
	token, err := pki.ParseToken(text)
	require.NoError(t, err)
	network := inBetween(t, p.rpc)
	client := transport.NewAgent(transport.RPC, network.addr, transport.WithTLS(token.Dial()))
	defer client.Close()
	req := m.request(t)
	req.Secret = token.Secret
	answer, err := client.Join(t.Context(), req)
	assert.False(t, network.saw(string(token.Secret)), "the secret is not sent in the clear")
	if err != nil {
		return err
	}
	require.NoError(t, m.identity.Keep(answer.GetChain(), token.Pin))
	// The proxy dials on its own account, too, maybe before the certificate is kept.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		_, err := p.fleet.Connect(t.Context(), m.network.addr)
		assert.NoError(c, err)
	}, patience, 10*time.Millisecond)
	return nil
}

// token makes a join token.
func (r *running) token(t *testing.T) string {
	t.Helper()
	made, err := r.dial(t, transport.RPC).JoinToken(t.Context())
	require.NoError(t, err)
	return made.GetToken()
}

func TestAnAgentJoins(t *testing.T) {
	p, m := start(t, Config{}), newMember(t, "a1")
	token := p.token(t)
	require.NoError(t, m.join(t, p, token))
	require.ErrorIs(t, m.join(t, p, token), proto.ErrUnauthenticated, "a token is good once")

	_, err := p.dial(t, transport.RPC).Join(t.Context(), m.request(t))
	require.ErrorIs(t, err, proto.ErrForbidden, "it came in the clear")

	c := p.dial(t, transport.HTTP)
	entries, err := c.Audit(t.Context(), 4)
	require.NoError(t, err)
	var joins []string
	for _, e := range entries {
		joins = append(joins, e.GetCall()+" "+e.GetAgent()+" "+e.GetResult())
	}
	assert.Equal(t, []string{"Join a1 forbidden", "Join a1 unauthenticated", "Join a1 ok", "JoinToken  ok"}, joins)
	rows, err := c.Deploy(t.Context(), source(t, "HelloWorld"))
	require.NoError(t, err)
	require.Equal(t, []string{"HelloWorld Deployed " + m.network.addr}, deployedAt(rows))
	assert.False(t, m.network.saw("HelloWorld"), "nothing is sent in the clear")

	agents, err := c.Agents(t.Context())
	require.NoError(t, err)
	require.Len(t, agents, 1)
	assert.True(t, agents[0].GetJoined() && agents[0].GetConnected())
	assert.Equal(t, "a1", agents[0].GetId())
	assert.EqualValues(t, 1, agents[0].GetFunctions())

	// The agent's own address, where it is reached without TLS, is no second agent.
	rows, err = c.Deploy(t.Context(), source(t, "Other", m.addr))
	require.NoError(t, err)
	assert.Equal(t, []string{"Other Deployed " + m.network.addr}, deployedAt(rows))

	// Forgotten, it does not come back with its certificate, but with another token.
	removed, err := c.RemoveAgent(t.Context(), "a1")
	require.NoError(t, err)
	assert.Equal(t, m.network.addr, removed.GetAddr())
	_, err = c.RemoveAgent(t.Context(), "a1")
	require.ErrorIs(t, err, proto.ErrNotFound)
	rows, err = c.Details(t.Context())
	require.NoError(t, err)
	assert.Empty(t, rows)
	renewing := transport.NewAgent(transport.RPC, p.rpc, transport.WithTLS(m.identity.Dial()))
	defer renewing.Close()
	_, err = renewing.Renew(t.Context(), m.request(t))
	require.ErrorIs(t, err, proto.ErrForbidden)
	assert.ErrorContains(t, err, "was removed")
	require.NoError(t, m.join(t, p, p.token(t)))
}

func TestMembersAreKnownAfterARestart(t *testing.T) {
	dir := t.TempDir()
	p, m := start(t, Config{Dir: dir}), newMember(t, "a1")
	require.NoError(t, m.join(t, p, p.token(t)))
	_, err := p.Deploy(t.Context(), source(t, "HelloWorld"))
	require.NoError(t, err)
	p.stop()

	p = start(t, Config{Dir: dir})
	agents, err := p.dial(t, transport.RPC).Agents(t.Context())
	require.NoError(t, err)
	require.Len(t, agents, 1)
	assert.True(t, agents[0].GetJoined() && agents[0].GetConnected(), agents[0].GetError())
}

func TestAnAgentsCertificateControlsNothing(t *testing.T) {
	p, m := start(t, Config{}), newMember(t, "a1")
	other := newMember(t, "a2")
	require.NoError(t, m.join(t, p, p.token(t)))
	require.NoError(t, other.join(t, p, p.token(t)))
	at := map[string]string{"the proxy": p.rpc}
	for name, addr := range at {
		for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
			c := transport.NewAgent(kind, addr, transport.WithTLS(m.identity.Dial()))
			_, err := c.Deploy(t.Context(), source(t, "HelloWorld"))
			assert.ErrorIs(t, err, proto.ErrForbidden, name)
			_, err = c.Details(t.Context())
			assert.ErrorIs(t, err, proto.ErrForbidden, name)
			_, err = c.JoinToken(t.Context())
			assert.ErrorIs(t, err, proto.ErrForbidden, name)
			_, err = c.Renew(t.Context(), &proto.JoinRequest{Id: "a2", Addr: ":9000", Request: other.request(t).GetRequest()})
			assert.ErrorIs(t, err, proto.ErrUnauthenticated, "it renews its own certificate alone")
			taking := m.request(t)
			taking.Addr = other.network.addr
			_, err = c.Renew(t.Context(), taking)
			assert.ErrorIs(t, err, proto.ErrConflict, "it does not take the place of another")
			require.NoError(t, c.Close())
		}
	}
	third := newMember(t, "a3")
	third.network = other.network
	require.ErrorIs(t, third.join(t, p, p.token(t)), proto.ErrConflict, "nor does one that joins")
	wrong, err := pki.ParseToken(p.token(t))
	require.NoError(t, err)
	wrong.Secret[0]++
	require.ErrorIs(t, third.join(t, p, wrong.String()), proto.ErrUnauthenticated, "which says nothing to strangers")
	agents, err := p.Agents(t.Context())
	require.NoError(t, err)
	require.Len(t, agents, 2)
	for _, a := range agents {
		assert.True(t, a.GetConnected(), a.GetError())
	}
	// Agents do not even answer each other.
	c := transport.NewAgent(transport.RPC, other.addr, transport.WithTLS(m.identity.Dial()))
	defer c.Close()
	_, err = c.Details(t.Context())
	assert.ErrorContains(t, err, "not the proxy")
}

func TestOthersDoNotJoin(t *testing.T) {
	p, m := start(t, Config{}), newMember(t, "a1")
	stranger := start(t, Config{})
	err := m.join(t, p, stranger.token(t))
	require.Error(t, err)
	assert.ErrorContains(t, err, "its authority is another", "the pin is wrong, and nothing was sent")

	token, err := pki.ParseToken(p.token(t))
	require.NoError(t, err)
	token.Secret = bytes.Repeat([]byte{1}, len(token.Secret))
	err = m.join(t, p, token.String())
	require.ErrorIs(t, err, proto.ErrUnauthenticated)
	assert.ErrorContains(t, err, "not one of this proxy")

	client := transport.NewAgent(transport.RPC, p.rpc, transport.WithTLS(token.Dial()))
	defer client.Close()
	for _, bad := range []*proto.JoinRequest{{}, {Id: "a\n1", Addr: ":9000"}, {Id: "a1", Addr: "worker"}, {Id: "a1", Addr: ":9000", Request: []byte("x")}} {
		_, err = client.Join(t.Context(), bad)
		require.ErrorIs(t, err, proto.ErrInvalid, "%v", bad)
	}

	require.NoError(t, m.join(t, p, p.token(t)))
	err = newMember(t, "a1").join(t, p, p.token(t))
	require.ErrorIs(t, err, proto.ErrConflict, "the id is another agent's")
	agents, err := p.Agents(t.Context())
	require.NoError(t, err)
	assert.Len(t, agents, 1)
}

// New connections and old ones work while both certificates are renewed again and again.
func TestCertificatesAreRenewedUnderLoad(t *testing.T) {
	p, m := start(t, Config{}), newMember(t, "a1")
	require.NoError(t, m.join(t, p, p.token(t)))
	pin, _ := m.identity.Joined()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	var calls atomic.Int64
	for range 4 {
		load.Go(func() {
			old := transport.NewAgent(transport.RPC, m.addr, transport.WithTLS(p.authority.Dial("a1")))
			defer old.Close()
			for ctx.Err() == nil {
				fresh := transport.NewAgent(transport.HTTP, m.addr, transport.WithTLS(p.authority.Dial("a1")))
				for _, c := range []*transport.Client{old, fresh} {
					if _, err := c.Details(t.Context()); !assert.NoError(t, err) {
						cancel()
					}
					calls.Add(1)
				}
				fresh.Close()
			}
		})
	}
	client := transport.NewAgent(transport.RPC, p.rpc, transport.WithTLS(m.identity.Dial()))
	defer client.Close()
	for n := 0; n < 20 || calls.Load() < 200; n++ {
		answer, err := client.Renew(t.Context(), m.request(t))
		require.NoError(t, err)
		require.NoError(t, m.identity.Keep(answer.GetChain(), pin))
	}
	cancel()
	load.Wait()
}
