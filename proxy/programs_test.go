package proxy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

// programsGiven records the program that each deploy at a node names.
func (n *node) programsGiven() *[]string {
	var list []string
	n.deploying = func(fn *proto.FunctionJson) error {
		list = append(list, fn.GetProgram())
		return nil
	}
	return &list
}

func TestAgentsOfAPlatformShareOneBuild(t *testing.T) {
	nodes := newNodes(t, 3)
	nodes[2].info = &proto.AgentInfo{Platform: "other/arch", GoVersion: "go1.26"}
	p := start(t, Config{})
	built, given, foreign := nodes[0].programsGiven(), nodes[1].programsGiven(), nodes[2].programsGiven()
	rows := deploys(t, p, answers(t, "one", nodes...))
	key := rows[0].GetProgram().GetKey()
	assert.Equal(t, []string{""}, *built)
	assert.Equal(t, []string{key}, *given)
	assert.Equal(t, []string{""}, *foreign)
	assert.True(t, nodes[1].HasProgram(key))
	_, body := p.call(t, "hello")
	assert.Equal(t, "one\n", body)
}

func TestAFunctionMovesWithItsProgram(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	fn := answers(t, "one", nodes[0])
	key := deploys(t, p, fn)[0].GetProgram().GetKey()
	given := nodes[1].programsGiven()
	fn.ToAgent = []string{nodes[1].addr}
	deploys(t, p, fn)
	assert.Equal(t, []string{key}, *given)

	// Another build is not the same, though the package is.
	*given = nil
	fn.Tags, fn.ToAgent = []string{"slow"}, []string{nodes[0].addr}
	built := nodes[0].programsGiven()
	deploys(t, p, fn)
	assert.Equal(t, []string{""}, *built)
}

func TestAProgramThatCannotBeMovedIsBuilt(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	nodes[1].keeping = func() error { return errors.New("the disk is full") }
	given := nodes[1].programsGiven()
	deploys(t, p, answers(t, "one", nodes...))
	assert.Equal(t, []string{""}, *given)
}

func TestAgentsThatDoNotBuild(t *testing.T) {
	nodes := newNodes(t, 2)
	builder, runner := nodes[1], nodes[0]
	runner.info = &proto.AgentInfo{Platform: builder.Info().GetPlatform()}
	given := runner.programsGiven()
	p := start(t, Config{Agents: []string{runner.addr}})

	_, err := p.Deploy(t.Context(), answers(t, "one", runner))
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.Contains(t, err.Error(), builder.Info().GetPlatform())
	assert.NotEmpty(t, proto.AsError(err).Hint)
	assert.Empty(t, *given)

	t.Run("a builder among the targets goes first", func(t *testing.T) {
		built := builder.programsGiven()
		rows := deploys(t, p, answers(t, "one", runner, builder))
		assert.Equal(t, []string{"Hello Deployed " + runner.addr, "Hello Deployed " + builder.addr}, deployedAt(rows))
		assert.Equal(t, []string{""}, *built)
		assert.Equal(t, []string{rows[1].GetProgram().GetKey()}, *given)
	})
	t.Run("another agent builds", func(t *testing.T) {
		*given = nil
		rows := deploys(t, p, answers(t, "two", runner))
		assert.Equal(t, []string{rows[0].GetProgram().GetKey()}, *given)
		assert.Empty(t, builder.names(t), "it only builds")
	})
	t.Run("what serves already needs no build", func(t *testing.T) {
		fn := answers(t, "three", runner)
		key := deploys(t, p, fn)[0].GetProgram().GetKey()
		builder.stop()
		*given = nil
		fn.Env = map[string]string{"A": "b"}
		deploys(t, p, fn)
		assert.Equal(t, []string{key}, *given)
	})
	builder.start(t)
	t.Run("what does not compile is a row", func(t *testing.T) {
		_, err := p.fleet.Connect(t.Context(), builder.addr)
		require.NoError(t, err)
		rows, err := p.Deploy(t.Context(), sourceOf(t, "Hello", "package p\nfunc Hello(", runner.addr))
		require.NoError(t, err)
		assert.Equal(t, []string{"Hello Failed " + runner.addr}, deployedAt(rows))
		assert.Equal(t, proto.ReasonCheck, rows[0].GetReason())
	})
}

// While a function is built for an agent, that agent knows nothing of it.
func TestWhatIsBuiltElsewhereIsTold(t *testing.T) {
	for name, s := range map[string]store.Store{"without a store": nil, "with one": storetest.New()} {
		t.Run(name, func(t *testing.T) { whatIsBuiltElsewhereIsTold(t, s) })
	}
}

func whatIsBuiltElsewhereIsTold(t *testing.T, s store.Store) {
	t.Helper()
	nodes := newNodes(t, 2)
	builder, runner := nodes[0], nodes[1]
	runner.info = &proto.AgentInfo{Platform: builder.Info().GetPlatform()}
	building, finish := make(chan struct{}), make(chan error)
	builder.building = func(ctx context.Context) error {
		building <- struct{}{}
		select {
		case err := <-finish:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p := start(t, Config{Agents: []string{builder.addr, runner.addr}, Store: s})
	details := func() (list []string) {
		rows, err := p.Details(t.Context())
		require.NoError(t, err)
		for _, row := range rows {
			list = append(list, strings.TrimSpace(row.GetStatus()+" "+row.GetStage()+" "+row.GetError()))
		}
		return list
	}
	begin := func(text string) {
		t.Helper()
		fn := answers(t, text, runner)
		fn.Wait = false
		rows, err := p.Deploy(t.Context(), fn)
		require.NoError(t, err)
		assert.Equal(t, []string{"Hello Deploying " + runner.addr}, deployedAt(rows))
		<-building
		assert.Equal(t, []string{"Deploying building"}, details())
	}
	becomes := func(want ...string) {
		t.Helper()
		require.Eventually(t, func() bool { return slices.Equal(want, details()) }, patience, time.Millisecond, "%v", want)
	}
	wrong := proto.Errorf(proto.ErrInvalid, "fn.go:1:1: wrong").From("agent", proto.ReasonBuild)

	begin("one")
	finish <- wrong
	becomes("Failed  fn.go:1:1: wrong")
	row, err := p.Stop(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, string(proto.Stopped), row.GetStatus())
	becomes()

	begin("one")
	_, err = p.Stop(t.Context(), "Hello")
	require.NoError(t, err)
	becomes()
	if s != nil { // nobody goes on with it
		changes, err := s.Registry(store.Rollouts).List(t.Context(), "")
		require.NoError(t, err)
		require.Empty(t, changes)
	}
	_, err = p.Stop(t.Context(), "Hello")
	require.ErrorIs(t, err, proto.ErrNotFound)

	begin("one")
	finish <- nil
	becomes("Deployed")
	begin("two")
	finish <- wrong
	becomes("Deployed  " + proto.Unchanged + "fn.go:1:1: wrong")
	begin("two")
	finish <- nil
	becomes("Deployed")
}
