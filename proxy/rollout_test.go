package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// answers is a deploy, which waits, of a function Hello that answers with a text.
func answers(t testing.TB, text string, agents ...*node) *proto.FunctionJson {
	t.Helper()
	var addrs []string
	for _, n := range agents {
		addrs = append(addrs, n.addr)
	}
	return sourceOf(t, "Hello", fmt.Sprintf("package p\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\nfunc Hello(w http.ResponseWriter, r *http.Request) {\n\tfmt.Fprintln(w, %q)\n}\n", text), addrs...)
}

// newNodes starts agents whose functions answer.
func newNodes(t *testing.T, count int) []*node {
	t.Helper()
	nodes := make([]*node, count)
	for i := range nodes {
		nodes[i] = newNode(t)
		nodes[i].service = ""
	}
	return nodes
}

// numbers returns the version that serves at each agent, and the last that it has had.
func numbers(t *testing.T, nodes ...*node) (list []string) {
	t.Helper()
	for _, n := range nodes {
		rows, err := n.Details(t.Context())
		require.NoError(t, err)
		for _, row := range rows {
			list = append(list, fmt.Sprintf("%d of %d", row.GetVersion(), row.GetLastVersion()))
		}
	}
	return list
}

func deploys(t *testing.T, p *running, fn *proto.FunctionJson) []*proto.FunctionJsonRsp {
	t.Helper()
	rows, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	for _, row := range rows {
		require.Equal(t, string(proto.Deployed), row.GetStatus(), row.GetError())
	}
	return rows
}

// breaks makes an agent refuse the source.
func breaks(fn *proto.FunctionJson) error {
	fn.PackagePath = "elsewhere"
	return nil
}

func TestAgentsAreDeployedOneByOne(t *testing.T) {
	nodes := newNodes(t, 3)
	p := start(t, Config{})
	for i, n := range nodes[1:] {
		n.deploying = func(*proto.FunctionJson) error {
			assert.Equal(t, []string{"Hello Deployed"}, nodes[i].names(t), "the one before is done")
			return nil
		}
	}
	rows := deploys(t, p, answers(t, "one", nodes...))
	assert.Equal(t, []string{"Hello Deployed " + nodes[0].addr, "Hello Deployed " + nodes[1].addr, "Hello Deployed " + nodes[2].addr}, deployedAt(rows))
	assert.Equal(t, []string{"1 of 1", "1 of 1", "1 of 1"}, numbers(t, nodes...))
}

func TestAFailedRolloutGoesBack(t *testing.T) {
	for name, fault := range map[string]struct {
		at     func(*proto.FunctionJson) error
		reason string
	}{
		"the source is refused": {breaks, proto.ReasonCheck},
		"the agent refuses":     {func(*proto.FunctionJson) error { return proto.Errorf(proto.ErrExhausted, "no port is left") }, proto.ReasonAgent},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := newNodes(t, 3)
			p := start(t, Config{})
			deploys(t, p, answers(t, "one", nodes...))
			nodes[1].deploying = fault.at
			rows, err := p.Deploy(t.Context(), answers(t, "two", nodes...))
			require.NoError(t, err)
			require.Equal(t, []string{"Hello Failed " + nodes[0].addr, "Hello Failed " + nodes[1].addr, "Hello Failed " + nodes[2].addr}, deployedAt(rows))
			assert.Equal(t, "it is back at version 1: the rollout stopped at agent "+nodes[1].addr, rows[0].GetError())
			assert.Equal(t, proto.ReasonRollout, rows[0].GetReason())
			assert.Equal(t, fault.reason, rows[1].GetReason())
			assert.Equal(t, "it was not changed: the rollout stopped at agent "+nodes[1].addr, rows[2].GetError())
			for range 6 {
				_, body := p.call(t, "hello")
				assert.Equal(t, "one\n", body)
			}

			// The next one has a number that none of them has had.
			nodes[1].deploying = nil
			deploys(t, p, answers(t, "three", nodes...))
			assert.Equal(t, []string{"3 of 3", "3 of 3", "3 of 3"}, numbers(t, nodes...))
		})
	}
}

func TestAFailedRolloutLeavesNothingNew(t *testing.T) {
	nodes := newNodes(t, 3)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes[2]))
	nodes[1].deploying = breaks
	rows, err := p.Deploy(t.Context(), answers(t, "two", nodes...))
	require.NoError(t, err)
	assert.Equal(t, "it was stopped again: the rollout stopped at agent "+nodes[1].addr, rows[0].GetError())
	assert.Empty(t, nodes[0].names(t))
	assert.Equal(t, []string{"Hello Failed"}, nodes[1].names(t))
	assert.Equal(t, []string{"1 of 1"}, numbers(t, nodes[2]))
}

func TestACanaryThatFailsSomewhereIsDropped(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes...))
	nodes[1].deploying = breaks
	fn := answers(t, "two", nodes...)
	fn.Canary = 50
	rows, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	assert.Contains(t, rows[0].GetError(), "back at version 1")
	for range 4 {
		_, body := p.call(t, "hello")
		assert.Equal(t, "one\n", body)
	}
}

func TestWhoDoesNotWaitSeesAllAgentsDeploying(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	release := make(chan struct{})
	nodes[1].deploying = func(*proto.FunctionJson) error { <-release; return nil }
	fn := answers(t, "one", nodes...)
	fn.Wait = false
	rows, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Deploying " + nodes[0].addr, "Hello Deploying " + nodes[1].addr}, deployedAt(rows))
	assert.Equal(t, proto.StageQueued, rows[1].GetStage())
	close(release)
	require.Eventually(t, func() bool { return len(numbers(t, nodes...)) == 2 }, patience, time.Millisecond)
}

func TestADeployReplacesARolloutUnderWay(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes...))

	var count atomic.Int32
	reached := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	nodes[1].deploying = func(fn *proto.FunctionJson) error {
		if count.Add(1) == 1 {
			close(reached)
			<-ctx.Done() // as slow as can be
			return errors.New("nobody waits any longer")
		}
		return breaks(fn)
	}
	ended := make(chan []*proto.FunctionJsonRsp, 1)
	fn := answers(t, "two", nodes...)
	go func() {
		rows, err := p.Deploy(t.Context(), fn)
		assert.NoError(t, err)
		ended <- rows
	}()
	<-reached
	_, err := p.Rollback(t.Context(), "Hello", 1)
	require.ErrorIs(t, err, proto.ErrConflict)
	rows, err := p.Deploy(t.Context(), answers(t, "three", nodes...))
	require.NoError(t, err)
	cancel()
	replaced := <-ended
	assert.Equal(t, []string{"Hello Deployed " + nodes[0].addr, "Hello Failed " + nodes[1].addr}, deployedAt(replaced))
	assert.Equal(t, fleet.ErrReplaced.Error(), replaced[1].GetError())
	assert.Contains(t, rows[0].GetError(), "back at version 1", "not at what the first rollout had begun")
	for range 4 {
		_, body := p.call(t, "hello")
		assert.Equal(t, "one\n", body)
	}
}

func TestStopCancelsARolloutUnderWay(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	reached := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	nodes[1].deploying = func(*proto.FunctionJson) error {
		close(reached)
		<-ctx.Done()
		return errors.New("nobody waits any longer")
	}
	ended := make(chan []*proto.FunctionJsonRsp, 1)
	fn := answers(t, "one", nodes...)
	go func() {
		rows, err := p.Deploy(t.Context(), fn)
		assert.NoError(t, err)
		ended <- rows
	}()
	<-reached
	row, err := p.Stop(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, string(proto.Stopped), row.GetStatus())
	cancel()
	assert.Equal(t, string(proto.Failed), (<-ended)[1].GetStatus())
	assert.Empty(t, nodes[0].names(t))
	assert.Empty(t, nodes[1].names(t))
}

func TestARestartedProxyCompletesARolloutWithTheNextDeploy(t *testing.T) {
	nodes := newNodes(t, 2)
	fn := answers(t, "two", nodes...)
	p := start(t, Config{Agents: []string{nodes[0].addr, nodes[1].addr}})
	deploys(t, p, answers(t, "one", nodes...))
	p.stop()
	alone := start(t, Config{Agents: []string{nodes[0].addr}}) // as if it had died half way
	half := answers(t, "", nodes[0])
	half.Dir = fn.Dir
	deploys(t, alone, half)
	alone.stop()

	p = start(t, Config{Agents: []string{nodes[0].addr, nodes[1].addr}})
	rows, err := p.Details(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []uint32{2, 1}, versionsOf(rows, nodes...))
	rows = deploys(t, p, fn)
	assert.Equal(t, []uint32{2, 2}, versionsOf(rows, nodes...), "the number that one of them has given to it")
}

// versionsOf returns the versions of rows in the order of their agents.
func versionsOf(rows []*proto.FunctionJsonRsp, nodes ...*node) (list []uint32) {
	for _, n := range nodes {
		for _, row := range rows {
			if row.GetAtAgent() == n.addr {
				list = append(list, row.GetVersion())
			}
		}
	}
	return list
}

func TestAFunctionThatMovesKeepsCounting(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes[0]))
	deploys(t, p, answers(t, "two", nodes[0]))
	rows := deploys(t, p, answers(t, "three", nodes[1]))
	assert.Equal(t, uint32(3), rows[0].GetVersion())
	assert.Empty(t, nodes[0].names(t))
}

func TestPlansChangeNothing(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes[0]))
	for _, fn := range []*proto.FunctionJson{answers(t, "two", nodes...), {Name: "Hello", Package: "sha256:" + strings.Repeat("ab", 32), ToAgent: []string{nodes[0].addr, nodes[1].addr}}} {
		fn.Plan = true
		rows, err := p.Deploy(t.Context(), fn)
		require.NoError(t, err)
		require.Len(t, rows, 2)
		assert.Equal(t, "code", rows[0].GetChange())
		assert.Equal(t, "create", rows[1].GetChange())
	}
	assert.Equal(t, []string{"1 of 1"}, numbers(t, nodes...))
}

func TestAStoppedFunctionComesBackWhereItWas(t *testing.T) {
	nodes := newNodes(t, 3)
	addrs := []string{nodes[0].addr, nodes[1].addr}
	p := start(t, Config{Agents: []string{nodes[0].addr, nodes[1].addr, nodes[2].addr}})
	deploys(t, p, answers(t, "one", nodes[0]))
	deploys(t, p, answers(t, "two", nodes[:2]...))
	stop := func() {
		t.Helper()
		_, err := p.Stop(t.Context(), "Hello")
		require.NoError(t, err)
		require.Empty(t, numbers(t, nodes...))
	}

	stop()
	rows, err := p.Stopped(t.Context(), nodes[1].addr)
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.Equal(t, nodes[1].addr, rows[0].GetAtAgent())
	_, err = p.Rollback(t.Context(), "Hello", 0)
	require.NoError(t, err)
	assert.Equal(t, []string{"2 of 2", "2 of 2"}, numbers(t, nodes...))
	_, body := p.call(t, "hello")
	assert.Equal(t, "two\n", body)

	// A rollout that fails leaves it stopped.
	stop()
	nodes[1].deploying = breaks
	_, err = p.Deploy(t.Context(), answers(t, "three"))
	require.NoError(t, err)
	assert.Empty(t, nodes[0].names(t))
	nodes[1].deploying = nil

	rows = deploys(t, p, answers(t, "four"))
	var at []string
	for _, row := range rows {
		at = append(at, row.GetAtAgent())
	}
	assert.ElementsMatch(t, addrs, at, "not where there are the fewest functions")
	assert.Equal(t, []string{"4 of 4", "4 of 4"}, numbers(t, nodes...))

	_, err = p.Remove(t.Context(), "Hello")
	require.NoError(t, err)
	for _, n := range nodes {
		rows, err := n.Stopped(t.Context(), "")
		require.NoError(t, err)
		assert.Empty(t, rows)
	}
}

func TestAgentsThatIsolateLessAreRefusedBeforeAnythingIsBuilt(t *testing.T) {
	nodes := newNodes(t, 3)
	for i, tier := range []string{"full", "basic", "none"} {
		nodes[i].info = &proto.AgentInfo{Platform: nodes[i].Fake.Info().GetPlatform(), GoVersion: "go1.26", Isolation: tier}
		nodes[i].deploying = func(fn *proto.FunctionJson) error {
			if fn.GetIsolation() != "" && i > 0 {
				t.Errorf("agent %d is asked", i)
			}
			return nil
		}
	}
	p := start(t, Config{Agents: []string{nodes[1].addr, nodes[2].addr}})
	fn := answers(t, "one", nodes...)
	fn.Isolation = "strong"
	for _, plan := range []bool{true, false} {
		fn.Plan = plan
		_, err := p.Deploy(t.Context(), fn)
		require.ErrorIs(t, err, proto.ErrIncapable)
		_, status := wire.CodeOf(proto.AsError(err).Kind)
		assert.Equal(t, http.StatusUnprocessableEntity, status, "there is such a call, and it may be repeated elsewhere")
		assert.EqualError(t, err, "function Hello: isolation strong is more than these agents have: "+nodes[1].addr+" (basic), "+nodes[2].addr+" (none)")
		assert.NotEmpty(t, proto.AsError(err).Hint)
		assert.Empty(t, nodes[0].names(t))
	}
	fn.Plan, fn.ToAgent = false, nil
	_, err := p.Deploy(t.Context(), fn) // on whichever, but the one that has it is not busy
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Deployed"}, nodes[0].names(t))

	none := start(t, Config{Agents: []string{nodes[2].addr}})
	_, err = none.Deploy(t.Context(), fn)
	require.ErrorContains(t, err, nodes[2].addr+" (none)")
}
