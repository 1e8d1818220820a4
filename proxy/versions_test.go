package proxy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

func TestVersionsAreCalledByTheirNumbers(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes[0]))
	deploys(t, p, answers(t, "two", nodes[0]))
	deploys(t, p, answers(t, "three", nodes[1], nodes[0]))

	for path, want := range map[string]string{"hello": "three\n", "hello@3": "three\n", "Hello@2": "two\n", "hello%402/a?b": "two\n", "hello@1/": "one\n"} {
		status, body := p.call(t, path)
		assert.Equal(t, 200, status, path)
		assert.Equal(t, want, body, path)
	}
	_, body := p.call(t, "hello")
	assert.Equal(t, "three\n", body, "one that was opened gets no other calls")
	for range 3 {
		p.call(t, "hello@1")
	}
	assert.EqualValues(t, 2, nodes[0].wakes.Load(), "each is opened once")

	res, err := client(t).Get("http://" + p.http + "/functions/hello@7")
	require.NoError(t, err)
	assert.Equal(t, 404, res.StatusCode)
	assert.Equal(t, `version 7 of function "Hello" is not kept; kept are 3, 2, 1`, errorOf(t, res)["message"])
	for path, want := range map[string]int{"hello@": 400, "hello@0": 400, "hello@01": 400, "hello@x": 400, "hello@4294967296": 400, "hello@1@2": 400, "none@1": 404} {
		status, _ := p.call(t, path)
		assert.Equal(t, want, status, path)
	}
}

func TestCallersThatWantTheSameVersionWaitTogether(t *testing.T) {
	nodes := newNodes(t, 1)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes...))
	deploys(t, p, answers(t, "two", nodes...))
	var calls sync.WaitGroup
	for range 20 {
		calls.Go(func() {
			res, err := client(t).Get("http://" + p.http + "/functions/hello@1")
			if assert.NoError(t, err) {
				assert.Equal(t, "one\n", bodyOf(t, res))
			}
		})
	}
	calls.Wait()
	assert.LessOrEqual(t, nodes[0].wakes.Load(), int32(20))
	assert.Empty(t, p.wakes.byKey)
}

func TestWakesAreBounded(t *testing.T) {
	all := wakes{byKey: map[string]*wake{}}
	for i := range maxWakes {
		all.byKey[strconv.Itoa(i)] = &wake{}
	}
	require.ErrorIs(t, all.wake(t.Context(), "Hello", 1), proto.ErrUnavailable)
}

func TestACanaryGetsItsShareExactly(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes...))
	fn := answers(t, "two", nodes...)
	fn.Canary = 7
	deploys(t, p, fn)
	share := func() (canary int) {
		for range 100 {
			if _, body := p.call(t, "hello"); body == "two\n" {
				canary++
			}
		}
		return canary
	}
	assert.Equal(t, 7, share())
	_, body := p.call(t, "hello@2")
	assert.Equal(t, "two\n", body)

	rows, err := p.Shift(t.Context(), "hello", 50)
	require.NoError(t, err)
	assert.Len(t, rows, 2)
	assert.Equal(t, 50, share())
	_, err = p.Shift(t.Context(), "Hello", 100)
	require.NoError(t, err)
	assert.Equal(t, 100, share())
	_, err = p.Shift(t.Context(), "Hello", 100)
	require.ErrorIs(t, err, proto.ErrConflict)
}

func TestARollbackGoesOverAllReplicas(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	for _, text := range []string{"one", "two", "three"} {
		deploys(t, p, answers(t, text, nodes...))
	}
	rows, err := p.Rollback(t.Context(), "hello", 0)
	require.NoError(t, err)
	assert.Equal(t, []uint32{2, 2}, versionsOf(rows, nodes...))
	assert.Equal(t, "http://"+"localhost:"+p.http[len("127.0.0.1:"):]+"/functions/hello", rows[0].GetUrl())
	_, body := p.call(t, "hello")
	assert.Equal(t, "two\n", body)

	list, err := p.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	var seen []string
	for _, v := range list {
		seen = append(seen, fmt.Sprint(v.GetVersion(), v.GetWeight()))
		assert.Contains(t, []string{nodes[0].addr, nodes[1].addr}, v.GetAtAgent())
	}
	assert.Equal(t, []string{"3 0", "3 0", "2 100", "2 100", "1 0", "1 0"}, seen)

	_, err = p.Rollback(t.Context(), "Hello", 9)
	require.ErrorIs(t, err, proto.ErrNotFound)
}

func TestARollbackOrShiftThatFailsGoesBack(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	deploys(t, p, answers(t, "one", nodes...))
	deploys(t, p, answers(t, "two", nodes...))
	list := p.fleet.Find("hello")
	last := nodes[0]
	if list[1].Agent == nodes[1].addr {
		last = nodes[1]
	}
	last.changing = func() error { return errors.New("no") }
	rows, err := p.Rollback(t.Context(), "Hello", 1)
	require.NoError(t, err)
	assert.Equal(t, "it is back at version 2: the rollout stopped at agent "+last.addr, rows[0].GetError())
	assert.Equal(t, []string{"2 of 2", "2 of 2"}, numbers(t, nodes...))

	fn := answers(t, "three", nodes...)
	fn.Canary = 20
	deploys(t, p, fn)
	for _, canary := range []uint32{50, 100} {
		rows, err = p.Shift(t.Context(), "Hello", canary)
		require.NoError(t, err)
		assert.Equal(t, string(proto.Failed), rows[0].GetStatus())
		assert.Contains(t, rows[0].GetError(), "it is back at version 2")
	}
	assert.Equal(t, []string{"2 of 3", "2 of 3"}, numbers(t, nodes...))
}

func TestReplicasGetTheSameSettingsAndKeepTheirSecrets(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{})
	a, b := nodes[0].addr, nodes[1].addr
	fn := source(t, "Hello", a)
	fn.Timeout, fn.Env, fn.Secrets = "7s", map[string]string{"A": "1"}, map[string]string{"KEY": "open sesame"}
	_, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)

	// No agent hands out secrets: a new one cannot get those that are kept.
	again := &proto.FunctionJson{Name: "Hello", Dir: fn.GetDir(), Wait: true, ToAgent: []string{a, b}, Keep: []string{"env", "secrets", "timeout"}}
	_, err = p.Deploy(t.Context(), again)
	require.ErrorIs(t, err, proto.ErrConflict)
	assert.EqualError(t, err, "function Hello: agent "+b+" does not have the secrets that are kept: KEY")

	again.Secrets = map[string]string{"KEY": "given"}
	_, err = p.Deploy(t.Context(), again)
	require.NoError(t, err)
	versions, err := p.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	newest := map[string]bool{}
	for _, v := range versions {
		if newest[v.GetAtAgent()] {
			continue
		}
		newest[v.GetAtAgent()] = true
		assert.Equal(t, "7s", v.GetSettings().GetTimeout(), v.GetAtAgent())
		assert.Equal(t, map[string]string{"A": "1"}, v.GetSettings().GetEnv(), v.GetAtAgent())
		assert.Equal(t, map[string]string{"KEY": ""}, v.GetSettings().GetSecrets(), v.GetAtAgent())
	}
	assert.Len(t, newest, 2)
}

// routed is a deploy of a function, which waits, with routes of its own.
func routed(t testing.TB, name string, n *node, routes ...string) *proto.FunctionJson {
	t.Helper()
	fn := source(t, name, n.addr)
	fn.Routes = routes
	return fn
}

// taken asserts that a change was refused for the sake of another function's route.
func taken(t *testing.T, err error, other string) {
	t.Helper()
	require.ErrorIs(t, err, proto.ErrConflict)
	assert.ErrorContains(t, err, `belongs to function "`+other+`"`)
}

func TestOfTwoDeploysForARouteOneIsRefused(t *testing.T) {
	nodes := newNodes(t, 2)
	begun, goOn := make(chan struct{}), make(chan error)
	nodes[0].deploying = func(*proto.FunctionJson) error {
		begun <- struct{}{}
		return <-goOn
	}
	p := start(t, Config{})
	result := make(chan error, 1)
	deploy := func() {
		rows, err := p.Deploy(t.Context(), routed(t, "One", nodes[0], "own.example/a"))
		if err == nil && rows[0].GetStatus() != string(proto.Deployed) {
			err = errors.New(rows[0].GetError())
		}
		result <- err
	}
	go deploy()
	<-begun
	for range 2 {
		_, err := p.Deploy(t.Context(), routed(t, "Two", nodes[1], "www.example", "own.example/a"))
		taken(t, err, "One")
		assert.Empty(t, nodes[1].names(t), "nothing has changed")
	}
	goOn <- proto.Errorf(proto.ErrExhausted, "no port is left")
	require.Error(t, <-result)
	deploys(t, p, routed(t, "Two", nodes[1], "own.example/a"))

	rows, err := p.Deploy(t.Context(), routed(t, "One", nodes[0], "own.example/a"))
	taken(t, err, "Two")
	assert.Empty(t, rows)
}

func TestNoVersionComesBackWhoseRouteIsAnothersNow(t *testing.T) {
	n := newNodes(t, 1)[0]
	p := start(t, Config{})
	deploys(t, p, routed(t, "One", n, "own.example"))
	deploys(t, p, routed(t, "One", n))
	canary := routed(t, "One", n, "own.example")
	canary.Canary, canary.Note = 10, "a canary has no routes yet"
	deploys(t, p, canary)
	deploys(t, p, routed(t, "Two", n, "own.example"))

	for _, to := range []uint32{0, 1} {
		_, err := p.Rollback(t.Context(), "One", to)
		taken(t, err, "Two")
	}
	_, err := p.Shift(t.Context(), "One", 100)
	taken(t, err, "Two")
	_, err = p.Shift(t.Context(), "One", 20)
	require.NoError(t, err)
	_, err = p.Stop(t.Context(), "One")
	require.NoError(t, err)
	_, err = p.Rollback(t.Context(), "One", 1)
	taken(t, err, "Two")

	_, err = p.Stop(t.Context(), "Two")
	require.NoError(t, err)
	rows, err := p.Rollback(t.Context(), "One", 1)
	require.NoError(t, err)
	assert.Equal(t, []string{"own.example"}, rows[0].GetRoutes())
}

// A package that the proxy has not at hand any more is in its store, or with an agent.
func TestTheSourceOfAVersionIsFoundWhereItIs(t *testing.T) {
	for _, stored := range []bool{true, false} {
		nodes := newNodes(t, 1)
		cfg := Config{}
		if stored {
			cfg.Store = storetest.New()
		}
		p := start(t, cfg)
		digest := deploys(t, p, answers(t, "one", nodes...))[0].GetPackage()
		read := func() (string, error) {
			r, err := p.Source(t.Context(), "hello", 1)
			if err != nil {
				return "", err
			}
			defer r.Close()
			sum := sha256.New()
			_, err = io.Copy(sum, r)
			return fmt.Sprintf("sha256:%x", sum.Sum(nil)), err
		}
		drop := func(from *bundle.Store) {
			pkg, err := from.Get(digest)
			require.NoError(t, err)
			require.NoError(t, os.Remove(pkg.Path))
		}
		for _, from := range []*bundle.Store{p.store, nodes[0].Store()} {
			got, err := read()
			require.NoError(t, err)
			assert.Equal(t, digest, got)
			drop(from)
		}
		got, err := read()
		if stored {
			require.NoError(t, err)
			assert.Equal(t, digest, got, "the store keeps it as long as its version")
			continue
		}
		require.ErrorIs(t, err, proto.ErrNotFound)
		assert.Contains(t, err.Error(), "not stored any more")
	}
}
