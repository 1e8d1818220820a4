package fleet

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/place"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func newFleet(t *testing.T, cfg Config) (*Fleet, error) {
	t.Helper()
	if cfg.Dir == nil {
		dir, err := state.Open(t.TempDir())
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, dir.Close()) })
		cfg.Dir = dir
	}
	if cfg.Publish == nil {
		cfg.Publish = func(map[string][]Replica) {}
	}
	cfg.Logger = hclog.NewNullLogger()
	return New(cfg)
}

func TestAgentsOnOtherMachinesAreNotLocal(t *testing.T) {
	given := []string{"10.0.0.1:9000"}
	_, err := newFleet(t, Config{Local: true, Agents: given})
	require.ErrorIs(t, err, proto.ErrForbidden)
	assert.Contains(t, proto.AsError(err).Hint, "-insecure")

	f, err := newFleet(t, Config{Agents: given})
	require.NoError(t, err)
	f.agents[given[0]].known = true
	f.save()

	// What an insecure proxy remembered, a protected one does not dial.
	f, err = newFleet(t, Config{Local: true, Dir: f.Dir})
	require.NoError(t, err)
	assert.Empty(t, f.agents)
}

func TestAnAgentOfThisMachineIsRemovedUnderEachOfItsNames(t *testing.T) {
	f, err := newFleet(t, Config{Agents: []string{"127.0.0.1:9000", "10.0.0.1:9001"}, Publish: func(map[string][]Replica) {}})
	require.NoError(t, err)
	_, err = f.Remove("localhost:9001")
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = f.Remove("")
	require.ErrorIs(t, err, proto.ErrNotFound, "it is not the one that has not told its id yet")
	was, err := f.Remove("localhost:9000")
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1:9000", was.GetAddr())
	assert.Len(t, f.agents, 1)
}

// deployed is the row of a function that runs.
func deployed(name string) *proto.FunctionJsonRsp {
	return &proto.FunctionJsonRsp{Name: name, Status: string(proto.Deployed)}
}

func TestEventsOfAnAgentInAnyOrder(t *testing.T) {
	published := map[string][]string{} // names by path
	f, err := newFleet(t, Config{Agents: []string{"localhost:9000"}, Publish: func(changes map[string][]Replica) {
		for path, replicas := range changes {
			delete(published, path)
			for _, r := range replicas {
				published[path] = append(published[path], r.Row.GetName())
			}
		}
	}})
	require.NoError(t, err)
	a := f.agents["localhost:9000"]
	client := transport.NewAgent(transport.RPC, a.addr)
	defer client.Close()
	old, changed := deployed("Hello"), deployed("HELLO")

	assert.True(t, f.apply(a, client, &proto.WatchEvent{Functions: []*proto.FunctionJsonRsp{old, nil, {Name: "../x"}}}))
	assert.Equal(t, map[string][]string{"hello": {"Hello"}}, published)

	// Another function has the path now; rows come ordered by name.
	f.apply(a, client, &proto.WatchEvent{Functions: []*proto.FunctionJsonRsp{changed, Stopped(old)}})
	assert.Equal(t, map[string][]string{"hello": {"HELLO"}}, published)
	require.Len(t, f.Rows(), 1)
	assert.Equal(t, "HELLO", f.Rows()[0].GetName())
	assert.Equal(t, a.addr, f.Rows()[0].GetAtAgent())

	f.Hide("hello")
	assert.Empty(t, published)
	f.Show("hello")
	assert.Equal(t, map[string][]string{"hello": {"HELLO"}}, published)

	a.removed = true
	assert.False(t, f.apply(a, client, &proto.WatchEvent{Snapshot: true}))
	assert.Len(t, f.Rows(), 1)
}

// said is the snapshot of an agent of an id with some functions.
func said(id string, rows ...*proto.FunctionJsonRsp) *proto.WatchEvent {
	return &proto.WatchEvent{Snapshot: true, Agent: &proto.AgentInfo{Id: id}, Functions: rows}
}

// heard is a fleet that published where calls go, and clients of no agents.
type heard struct {
	*Fleet
	t      *testing.T
	called map[string][]string // agents by path
}

func listen(t *testing.T, agents ...string) *heard {
	h := &heard{t: t, called: map[string][]string{}}
	var err error
	h.Fleet, err = newFleet(t, Config{Agents: agents, Publish: func(changes map[string][]Replica) {
		for path, replicas := range changes {
			delete(h.called, path)
			for _, r := range replicas {
				h.called[path] = append(h.called[path], r.Agent)
			}
		}
	}})
	require.NoError(t, err)
	return h
}

// hear applies an event of the agent of an address, which is added if it is not known.
func (h *heard) hear(addr string, ev *proto.WatchEvent) *agent {
	a, err := h.add(addr)
	require.NoError(h.t, err)
	client := transport.NewAgent(transport.RPC, addr)
	h.t.Cleanup(func() { client.Close() })
	h.apply(a, client, ev)
	return a
}

func TestAnotherAddressOfAnAgentIsNoSecondAgent(t *testing.T) {
	h := listen(t, "localhost:9000")
	first := h.hear("localhost:9000", said("a", deployed("Hello")))
	again := h.hear("127.0.0.1:9000", said("a", deployed("Hello")))
	assert.Same(t, first, again.alias)
	assert.Len(t, h.Rows(), 1)
	assert.Equal(t, []Replica{{Agent: "localhost:9000", Local: true}}, h.All())
	assert.Equal(t, []string{"localhost:9000"}, h.called["hello"])

	// Where it no longer answers it has moved.
	h.fail(first, true, proto.ErrUnavailable)
	h.hear("localhost:9005", said("a", deployed("Hello")))
	assert.Equal(t, []Replica{{Agent: "localhost:9005", Local: true}}, h.All())
	assert.Equal(t, []string{"localhost:9005"}, h.called["hello"])
	require.Len(t, h.Rows(), 1)
	assert.Equal(t, "localhost:9005", h.Rows()[0].GetAtAgent())

	h.hear("localhost:9006", said("b"))
	assert.Len(t, h.All(), 2, "another id is another agent")
}

// A machine that was made anew, or whose agent has lost its folder.
func TestAnotherAgentAtAnAddressIsNoneThatWasRemoved(t *testing.T) {
	h := listen(t, "localhost:9000")
	h.hear("localhost:9000", said("a"))
	first := Known{ID: "a", Addr: "localhost:9000", Draining: true, Revision: 7}
	assert.Empty(t, h.Learn("epoch", []Known{first}))
	h.hear("localhost:9000", said("b"))
	assert.Equal(t, []Known{{ID: "b", Addr: "localhost:9000"}}, h.Learn("epoch", []Known{first}), "it has no record yet, and does not drain")
	h.Noted("epoch", "b", 8)
	assert.Empty(t, h.Learn("epoch", []Known{first, {ID: "b", Addr: "localhost:9000", Revision: 8}}))
	require.Len(t, h.States(), 1)
	assert.Equal(t, "b", h.States()[0].ID)
	assert.Empty(t, h.Learn("epoch", []Known{first}))
	assert.Empty(t, h.States(), "now it is")
}

// Its functions may well run, so that they stay published: but others are called first.
func TestReplicasOfAnAgentThatDoesNotAnswerSaySo(t *testing.T) {
	reasons := map[string]string{} // by path
	f, err := newFleet(t, Config{Agents: []string{"localhost:9000"}, Publish: func(changes map[string][]Replica) {
		for path, replicas := range changes {
			delete(reasons, path)
			for _, r := range replicas {
				reasons[path] += r.Row.GetReason()
			}
		}
	}})
	require.NoError(t, err)
	a := f.agents["localhost:9000"]
	client := transport.NewAgent(transport.RPC, a.addr)
	defer client.Close()
	f.apply(a, client, said("a", deployed("Hello"), deployed("Other")))
	require.Equal(t, map[string]string{"hello": "", "other": ""}, reasons)
	f.fail(a, true, proto.ErrUnavailable)
	assert.Equal(t, map[string]string{"hello": proto.ReasonUnreachable, "other": proto.ReasonUnreachable}, reasons)
	assert.Equal(t, proto.ReasonUnreachable, f.Find("hello")[0].Row.GetReason())
	f.apply(a, client, said("a", deployed("Hello"), deployed("Other")))
	assert.Equal(t, map[string]string{"hello": "", "other": ""}, reasons)
}

// members is an Authority of agents that are not dialed.
type members struct{ removing func() }

func (members) Members() []pki.Member   { return nil }
func (members) Dial(string) *tls.Config { return nil }

func (m members) Remove(string) (bool, error) {
	m.removing()
	return true, nil
}

func TestAMemberThatMovesWhileItIsRemovedIsRemoved(t *testing.T) {
	h := listen(t)
	h.Authority = members{removing: func() { h.Join("a", "localhost:9001") }}
	h.Join("a", "localhost:9000")
	_, err := h.Remove("a")
	require.NoError(t, err)
	assert.Empty(t, h.All())
}

func TestAMemberThatMovesReplacesWhatWasKnownOfBothAddresses(t *testing.T) {
	h := listen(t, "localhost:9001") // named before anything listened there
	h.Authority = members{}
	named := h.agents["localhost:9001"]
	h.Join("a", "localhost:9000")
	before := h.hear("localhost:9000", said("a", deployed("Hello")))
	h.Join("a", "localhost:9001")
	assert.True(t, before.removed)
	assert.True(t, named.removed, "else it is watched on beside the member")
	a := h.hear("localhost:9001", said("a", deployed("Hello")))
	assert.True(t, a.given)
	assert.Equal(t, []Replica{{Agent: "localhost:9001", Local: true}}, h.All())
	assert.Equal(t, []string{"localhost:9001"}, h.called["hello"])
}

func TestANameLeadsToTheAgentThatHasIt(t *testing.T) {
	h := listen(t, "localhost:9000")
	h.hear("localhost:9000", said("a", deployed("Hello")))
	b := h.hear("localhost:9001", said("b", deployed("Hello"), deployed("Other")))
	assert.Equal(t, map[string][]string{"hello": {"localhost:9000"}, "other": {"localhost:9001"}}, h.called)
	refused := h.Rows()[1]
	assert.Equal(t, "localhost:9001", refused.GetAtAgent())
	assert.Contains(t, refused.GetError(), "calls go to agent localhost:9000")

	// It stays so after a restart, in whatever order agents answer.
	h.save()
	again, err := newFleet(t, Config{Dir: h.Dir})
	require.NoError(t, err)
	assert.Equal(t, map[string]bool{"other": true}, again.agents["localhost:9001"].owns)

	// A deploy through the proxy makes it a replica.
	h.give(b, "hello")
	assert.Equal(t, []string{"localhost:9000", "localhost:9001"}, h.called["hello"])
	assert.Empty(t, h.Rows()[1].GetError())

	// What nobody else has any longer goes to who has it.
	h.hear("localhost:9002", said("c", deployed("Other")))
	assert.Equal(t, []string{"localhost:9001"}, h.called["other"])
	h.hear("localhost:9001", said("b", deployed("Hello")))
	assert.Equal(t, []string{"localhost:9002"}, h.called["other"])
}

func TestAgentsNamedAtStartMayShareNames(t *testing.T) {
	h := listen(t, "localhost:9000", "localhost:9001")
	h.hear("localhost:9000", said("a", deployed("Hello")))
	h.hear("localhost:9001", said("b", deployed("Hello")))
	assert.Equal(t, []string{"localhost:9000", "localhost:9001"}, h.called["hello"])
}

func TestANameLeadsToAllAgentsThatAreShared(t *testing.T) {
	h := listen(t, "localhost:9000")
	h.Shared = true
	h.hear("localhost:9000", said("a", deployed("Hello")))
	h.hear("localhost:9001", said("b", deployed("Hello")))
	assert.Equal(t, []string{"localhost:9000", "localhost:9001"}, h.called["hello"])
	for _, row := range h.Rows() {
		assert.Empty(t, row.GetError())
	}
	h.hear("localhost:9001", said("b"))
	assert.Equal(t, []string{"localhost:9000"}, h.called["hello"])
}

func TestAgentsOfEarlierVersionsAreRemembered(t *testing.T) {
	dir, err := state.Open(t.TempDir())
	require.NoError(t, err)
	defer dir.Close()
	require.NoError(t, dir.Write(agentsFile, map[string]any{"agents": []string{"localhost:9000"}}))
	f, err := newFleet(t, Config{Dir: dir})
	require.NoError(t, err)
	require.Contains(t, f.agents, "localhost:9000")
	assert.True(t, f.agents["localhost:9000"].adopt, "what it has then was called before")
}

func TestServicesLieAtTheirAgent(t *testing.T) {
	for _, tt := range []struct{ agent, said, used string }{
		{"localhost:9000", "http://127.0.0.1:5000", "http://127.0.0.1:5000"},
		{"localhost:9000", "http://[::1]:5000", "http://[::1]:5000"},
		{"localhost:9000", "http://10.0.0.9:5000", "http://localhost:5000"},
		{"10.0.0.7:9000", "http://agent-1:5000", "http://10.0.0.7:5000"},
		{"10.0.0.7:9000", "http://127.0.0.1:5000", "http://10.0.0.7:5000"},
		{"10.0.0.7:9000", "http://169.254.169.254", ""},
		{"[fd00::7]:9000", "https://agent-1:5000/x", "http://[fd00::7]:5000"},
		{"10.0.0.7:9000", "", ""},
		{"10.0.0.7:9000", "://", ""},
	} {
		h := listen(t, tt.agent)
		h.hear(tt.agent, said("a", &proto.FunctionJsonRsp{
			Name: "Hello", Status: string(proto.Deployed), Proxy: tt.said, Serving: []*proto.Serving{{Proxy: tt.said}},
		}))
		require.Len(t, h.Rows(), 1)
		assert.Equal(t, tt.used, h.Rows()[0].GetProxy(), tt.said)
		assert.Equal(t, tt.used, h.Rows()[0].GetServing()[0].GetProxy(), tt.said)
	}
}

func TestAskingForAnAgentAddsNone(t *testing.T) {
	h := listen(t, "localhost:9000")
	for _, name := range []string{"localhost:9000", ":9000", "http://127.0.0.1:9000", "[::1]:9000"} {
		addr, err := h.Known(name)
		require.NoError(t, err, name)
		assert.Equal(t, "localhost:9000", addr)
	}
	_, err := h.Known("localhost:9001")
	require.ErrorIs(t, err, proto.ErrNotFound)
	assert.ErrorContains(t, err, "localhost:9000 is")
	assert.Contains(t, proto.AsError(err).Hint, "-agents localhost:9001")
	assert.Len(t, h.All(), 1)
}

func TestAClientOfAnAgentHasNoOtherConnectionThanTheOneThatWasIdentified(t *testing.T) {
	var c connection
	var far []net.Conn
	dial := func() net.Conn {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		far = append(far, b)
		c.opened(a)
		return a
	}
	dial()
	second := dial()
	assert.Same(t, second, c.settle())
	dial()
	assert.Same(t, second, c.settle())
	_, err := far[2].Read(make([]byte, 1))
	assert.ErrorIs(t, err, io.EOF, "it was closed before anything was sent")
}

// counter counts how often it was told tokens.
type counter struct{ told int }

func (c *counter) ShareTokens(context.Context, *proto.TokenShare) error { c.told++; return nil }

func TestAgentsAreToldTokensThoughTheyHaveNotChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, err := newFleet(t, Config{Tokens: func() (*proto.TokenShare, <-chan struct{}) { return &proto.TokenShare{}, nil }})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 3*wire.ShareEvery+time.Minute)
		defer cancel()
		c := new(counter)
		f.share(ctx, &agent{}, c)
		assert.Equal(t, 4, c.told)
	})
}

func TestAFunctionThatDoesNotRunHoldsNoPort(t *testing.T) {
	h := listen(t, "a:1")
	runs, broken := deployed("Runs"), &proto.FunctionJsonRsp{Name: "Broken", Status: string(proto.Failed)}
	runs.Proxy = "http://a:5000"
	says := func(rows ...*proto.FunctionJsonRsp) {
		ev := said("x", rows...)
		ev.Agent.Ports, ev.Agent.Isolation, ev.Agent.Labels = 2, "basic", map[string]string{"zone": "a"}
		h.hear("a:1", ev)
	}
	fn := place.Function{Path: "new", Replicas: 1, Labels: map[string]string{"zone": "a"}}
	says(runs, broken)
	target, release, err := h.Place(fn, 0)
	require.NoError(t, err)
	assert.Equal(t, []string{"a:1"}, target.Agents)

	other := place.Function{Path: "other", Replicas: 1}
	full := func(why string) {
		t.Helper()
		for _, fn := range []place.Function{other, {Path: "other", Replicas: 1, Labels: fn.Labels}} {
			_, _, err := h.Place(fn, 0)
			require.ErrorIs(t, err, proto.ErrExhausted, why)
			assert.Equal(t, "ports", proto.AsError(err).Reason)
			require.ErrorContains(t, err, "are in use: a:1")
		}
	}
	full("one on its way takes the port")
	release()
	broken.Status = string(proto.Deploying)
	says(runs, broken)
	full("one that is being deployed is about to take it")
	broken.Status = string(proto.Failed)
	runs.Serving = []*proto.Serving{{Version: 1, Proxy: "http://a:5000"}, {Version: 2, Proxy: "http://a:5001"}}
	says(runs, broken)
	full("a canary has it")
	runs.Serving = nil
	says(runs, broken)
	_, release, err = h.Place(other, 0)
	require.NoError(t, err)
	release()
	_, _, err = h.Place(place.Function{Path: "other", Replicas: 1, Labels: map[string]string{"zone": "b"}}, 0)
	require.ErrorIs(t, err, proto.ErrUnavailable)
	require.ErrorContains(t, err, "has the labels zone=b")
	_, _, err = h.Place(place.Function{Path: "other", Replicas: 1, Isolation: proto.IsolationFull}, 0)
	require.ErrorIs(t, err, proto.ErrIncapable)
}
