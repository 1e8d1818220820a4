package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

// addressesOf are the addresses of agents.
func addressesOf(nodes ...*node) (list []string) {
	for _, n := range nodes {
		list = append(list, n.addr)
	}
	return list
}

// eventually waits until a condition holds.
func eventually(t *testing.T, is func() bool, what string) {
	t.Helper()
	require.Eventually(t, is, patience, 5*time.Millisecond, what)
}

// away waits until the proxy knows that an agent does not answer.
func (r *running) away(t *testing.T, n *node) {
	t.Helper()
	eventually(t, func() bool { return r.fleet.Problem(n.addr) != nil }, "the agent is away")
}

// wishOf returns what is wished of Hello, when it is so.
func wishOf(t *testing.T, p *running, is func(*wish.Wish) bool) *wish.Wish {
	t.Helper()
	var w *wish.Wish
	eventually(t, func() bool {
		var err error
		w, _, err = p.wishes.Read(t.Context(), "hello")
		return err == nil && w != nil && (is == nil || is(w))
	}, "the wish is stored")
	return w
}

// serves says whether an agent runs a version of Hello.
func serves(n *node, version uint32) bool {
	rows, err := n.Details(context.Background())
	return err == nil && len(rows) == 1 && rows[0].GetVersion() == version && rows[0].GetStatus() == string(proto.Deployed)
}

// caller calls Hello all the time, and notes answers.
type caller struct {
	stop  func() map[string]int
	calls atomic.Int64
}

func (r *running) caller(t *testing.T) *caller {
	t.Helper()
	c, ctx, done := &caller{}, make(chan struct{}), make(chan map[string]int, 1)
	web := client(t)
	go func() {
		seen := map[string]int{}
		for {
			select {
			case <-ctx:
				done <- seen
				return
			default:
			}
			res, err := web.Get("http://" + r.http + "/functions/hello")
			if err != nil {
				seen[err.Error()]++
				continue
			}
			data, err := io.ReadAll(res.Body)
			_ = res.Body.Close()
			body := strings.TrimSpace(string(data))
			if err != nil {
				body = err.Error()
			}
			if res.StatusCode != 200 {
				body = res.Status
			}
			seen[body]++
			c.calls.Add(1)
		}
	}()
	c.stop = func() map[string]int { close(ctx); return <-done }
	return c
}

// more waits for some more calls.
func (c *caller) more(t *testing.T) {
	t.Helper()
	until := c.calls.Load() + 50
	eventually(t, func() bool { return c.calls.Load() > until }, "calls go on")
}

func TestADeployIsWished(t *testing.T) {
	nodes, s := newNodes(t, 2), storetest.New()
	p := start(t, Config{Store: s})
	fn := answers(t, "one", nodes...)
	fn.Env, fn.Secrets, fn.Note, fn.App = map[string]string{"A": "b"}, map[string]string{"KEY": "hidden"}, "first", "shop"
	deploys(t, p, fn)
	w := wishOf(t, p, nil)
	assert.Equal(t, "Hello", w.Name)
	assert.EqualValues(t, 1, w.Generation)
	assert.Equal(t, wish.Running, w.State)
	assert.EqualValues(t, 1, w.Version.Number)
	assert.Equal(t, "first", w.Version.Note)
	assert.Equal(t, "shop", w.App)
	assert.Equal(t, map[string]string{"A": "b"}, w.Version.Settings.GetEnv())
	assert.Equal(t, s.Epoch(), w.Epoch)
	assert.False(t, w.Placed)
	require.Len(t, w.At, 2)
	for i, n := range nodes {
		assert.Equal(t, wish.Place{Agent: n.addr, ID: w.At[i].ID, Done: 1}, w.At[i])
	}
	_, err := p.wishes.GetVersion(t.Context(), "hello", 1)
	require.NoError(t, err)
	blobs, err := s.Blobs().List(t.Context(), "packages")
	require.NoError(t, err)
	require.Len(t, blobs, 1)
	assert.Equal(t, "packages/"+strings.TrimPrefix(w.Version.Package, "sha256:"), blobs[0].Name)
	for _, kind := range []store.Kind{store.Functions, store.Versions} {
		entries, err := s.Registry(kind).List(t.Context(), "")
		require.NoError(t, err)
		require.Len(t, entries, 1)
		assert.NotContains(t, string(entries[0].Value), "hidden", "values of secrets are nowhere stored")
		assert.Contains(t, string(entries[0].Value), "KEY")
	}
	changes, err := s.Registry(store.Rollouts).List(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, changes, "it has ended")

	// Other changes are wished, too.
	fn.Canary, fn.Env = 10, map[string]string{"A": "c"}
	deploys(t, p, fn)
	w = wishOf(t, p, func(w *wish.Wish) bool { return w.Generation == 2 })
	assert.EqualValues(t, 1, w.Version.Number)
	require.NotNil(t, w.Canary)
	assert.EqualValues(t, 10, w.Canary.Share)
	_, err = p.Shift(t.Context(), "Hello", 100)
	require.NoError(t, err)
	w = wishOf(t, p, func(w *wish.Wish) bool { return w.Generation == 3 })
	assert.Nil(t, w.Canary)
	assert.EqualValues(t, 2, w.Version.Number)
	_, err = p.Rollback(t.Context(), "Hello", 0)
	require.NoError(t, err)
	assert.EqualValues(t, 1, wishOf(t, p, func(w *wish.Wish) bool { return w.Generation == 4 }).Version.Number)
	_, err = p.Pause(t.Context(), "Hello")
	require.NoError(t, err)
	assert.True(t, wishOf(t, p, func(w *wish.Wish) bool { return w.Generation == 5 }).Paused)
	_, err = p.Stop(t.Context(), "Hello")
	require.NoError(t, err)
	w = wishOf(t, p, func(w *wish.Wish) bool { return w.State == wish.Stopped })
	for _, at := range w.At {
		assert.Equal(t, w.Generation, at.Done)
	}
	_, err = p.Remove(t.Context(), "Hello")
	require.NoError(t, err)
	w, _, err = p.wishes.Read(t.Context(), "hello")
	require.NoError(t, err)
	assert.Nil(t, w)
	entries, err := s.Registry(store.Versions).List(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestAFailedDeployIsNotWished(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{Store: storetest.New()})
	deploys(t, p, answers(t, "one", nodes...))
	nodes[1].deploying = breaks
	_, err := p.Deploy(t.Context(), answers(t, "two", nodes...))
	require.NoError(t, err)
	w := wishOf(t, p, nil)
	assert.EqualValues(t, 1, w.Generation)
	assert.EqualValues(t, 1, w.Version.Number)
	assert.EqualValues(t, 2, w.Last, "no version gets the number again")
}

func TestOfTwoProxiesThatDeployAtOnceOneIsToldOfTheOther(t *testing.T) {
	nodes, s := newNodes(t, 2), storetest.New()
	one, two := start(t, Config{Store: s, Common: s}), start(t, Config{Store: s, Common: s, Agents: addressesOf(nodes...)})
	reached, release := make(chan struct{}), make(chan struct{})
	nodes[0].deploying = func(*proto.FunctionJson) error { close(reached); <-release; return nil }
	first, second := answers(t, "one", nodes...), answers(t, "two", nodes...)
	ended := make(chan []*proto.FunctionJsonRsp, 1)
	go func() {
		rows, err := one.Deploy(t.Context(), first)
		assert.NoError(t, err)
		ended <- rows
	}()
	<-reached
	changes, err := s.Registry(store.Rollouts).List(t.Context(), "hello")
	require.NoError(t, err)
	require.Len(t, changes, 1)
	_, err = two.Deploy(t.Context(), second)
	require.ErrorIs(t, err, proto.ErrConflict)
	assert.Contains(t, err.Error(), one.wishes.Ours("hello"))
	close(release)
	for _, row := range <-ended {
		assert.Equal(t, string(proto.Deployed), row.GetStatus())
	}
	nodes[0].deploying = nil
	deploys(t, two, second)
	assert.Equal(t, []string{"2 of 2", "2 of 2"}, numbers(t, nodes...))
}

func TestAStoreThatFailsRefusesDeploysAlone(t *testing.T) {
	nodes, s := newNodes(t, 1), storetest.New()
	p := start(t, Config{Store: s})
	deploys(t, p, answers(t, "one", nodes...))
	for kind, want := range map[proto.Kind]proto.Kind{proto.ErrUnavailable: proto.ErrUnavailable, proto.ErrExhausted: proto.ErrExhausted, proto.ErrInternal: proto.ErrUnavailable} {
		s.Fail(proto.Errorf(kind, "the disk is full"))
		for what, change := range map[string]func() error{
			"deploy":   func() error { _, err := p.Deploy(t.Context(), answers(t, "two", nodes...)); return err },
			"rollback": func() error { _, err := p.Rollback(t.Context(), "Hello", 1); return err },
			"stop":     func() error { _, err := p.Stop(t.Context(), "Hello"); return err },
			"rm":       func() error { _, err := p.Remove(t.Context(), "Hello"); return err },
		} {
			err := change()
			require.ErrorIs(t, err, want, what)
			assert.Contains(t, err.Error(), "the disk is full", what)
			assert.NotEmpty(t, proto.AsError(err).Hint)
		}
		_, body := p.call(t, "hello")
		assert.Equal(t, "one\n", body)
	}
	s.Fail(nil)
	deploys(t, p, answers(t, "two", nodes...))
	assert.Equal(t, []string{"2 of 2"}, numbers(t, nodes...))
}

func TestAnAgentThatIsAwayBlocksNobodyAndNeverServesTheOldVersion(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{Store: storetest.New()})
	fn := answers(t, "one", nodes...)
	fn.Secrets = map[string]string{"KEY": "first"}
	deploys(t, p, fn)
	nodes[1].stop()
	p.away(t, nodes[1])

	fn = answers(t, "two", nodes...)
	fn.Secrets = map[string]string{"KEY": "second"}
	rows, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	require.Equal(t, []string{"Hello Deployed " + nodes[0].addr, "Hello Deployed " + nodes[1].addr}, deployedAt(rows))
	assert.Equal(t, []uint32{2, 1}, versionsOf(rows, nodes...))
	assert.Equal(t, proto.ReasonUnreachable, rows[1].GetReason())
	assert.Contains(t, rows[1].GetError(), "it is brought up to date when it answers again")

	calls := p.caller(t)
	calls.more(t) // the old version still runs where the agent is away
	held := make(chan struct{})
	nodes[1].deploying = func(*proto.FunctionJson) error { <-held; return nil }
	nodes[1].start(t)
	eventually(t, func() bool { return p.fleet.Problem(nodes[1].addr) == nil }, "it is back")
	calls.more(t)
	rows, err = p.Details(t.Context())
	require.NoError(t, err)
	i := slices.IndexFunc(rows, func(r *proto.FunctionJsonRsp) bool { return r.GetAtAgent() == nodes[1].addr })
	assert.Equal(t, proto.ReasonBehind, rows[i].GetReason())
	close(held)
	eventually(t, func() bool { return serves(nodes[1], 2) }, "it is up to date")
	w := wishOf(t, p, func(w *wish.Wish) bool { return !w.Behind(&w.At[1]) })
	assert.EqualValues(t, 2, w.Version.Number)
	calls.more(t)
	seen := calls.stop()
	assert.Equal(t, []string{"two"}, keysOf(seen), "%v", seen)
	rows, err = p.Details(t.Context())
	require.NoError(t, err)
	for _, row := range rows {
		assert.Empty(t, row.GetError())
	}
}

func keysOf(m map[string]int) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

func TestNoneIsChangedIfOneIsAwayAndTheProxyIsToldToStop(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{Store: storetest.New(), Unavailable: proto.UnavailableStop})
	deploys(t, p, answers(t, "one", nodes...))
	nodes[1].stop()
	p.away(t, nodes[1])
	rows, err := p.Deploy(t.Context(), answers(t, "two", nodes...))
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Failed " + nodes[0].addr, "Hello Failed " + nodes[1].addr}, deployedAt(rows))
	_, err = p.Stop(t.Context(), "Hello")
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.Equal(t, []string{"1 of 1"}, numbers(t, nodes[0]))
	fn := answers(t, "two", nodes...)
	fn.Unavailable = proto.UnavailableContinue
	rows, err = p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	assert.Equal(t, []uint32{2, 1}, versionsOf(rows, nodes...))
}

func TestWhatIsAskedWhileAnAgentIsAwayIsDoneWhenItIsBack(t *testing.T) {
	for name, tt := range map[string]struct {
		ask  func(*running, []*node) error
		done func([]*node) bool
	}{
		"stop": {
			func(p *running, _ []*node) error { _, err := p.Stop(context.Background(), "Hello"); return err },
			func(n []*node) bool {
				rows, err := n[1].Details(context.Background())
				stopped, _ := n[1].Stopped(context.Background(), "")
				return err == nil && len(rows) == 0 && len(stopped) == 1
			},
		},
		"rm": {
			func(p *running, _ []*node) error { _, err := p.Remove(context.Background(), "Hello"); return err },
			func(n []*node) bool {
				rows, err := n[1].Details(context.Background())
				stopped, _ := n[1].Stopped(context.Background(), "")
				return err == nil && len(rows) == 0 && len(stopped) == 0
			},
		},
		"rollback": {
			func(p *running, _ []*node) error { _, err := p.Rollback(context.Background(), "Hello", 1); return err },
			func(n []*node) bool { return serves(n[0], 1) && serves(n[1], 1) },
		},
		"pause": {
			func(p *running, _ []*node) error { _, err := p.Pause(context.Background(), "Hello"); return err },
			func(n []*node) bool {
				rows, err := n[1].Details(context.Background())
				return err == nil && len(rows) == 1 && rows[0].GetPaused()
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes, s, dir := newNodes(t, 2), storetest.New(), t.TempDir()
			p := start(t, Config{Store: s, Dir: dir})
			deploys(t, p, answers(t, "one", nodes...))
			deploys(t, p, answers(t, "two", nodes...))
			nodes[1].stop()
			p.away(t, nodes[1])
			require.NoError(t, tt.ask(p, nodes))
			w, _, err := p.wishes.Read(t.Context(), "hello")
			require.NoError(t, err)
			require.NotNil(t, w)
			generation := w.Generation
			p.stop()
			p = start(t, Config{Store: s, Dir: dir}) // the next one knows as much
			nodes[1].start(t)
			eventually(t, func() bool { return tt.done(nodes) }, "it is done")
			eventually(t, func() bool {
				w, _, err := p.wishes.Read(t.Context(), "hello")
				return err == nil && (w == nil || w.Generation == generation && !slices.ContainsFunc(w.At, func(at wish.Place) bool { return w.Behind(&at) }))
			}, "and noted")
			if name == "stop" || name == "rm" {
				status, _ := p.call(t, "hello")
				assert.Equal(t, 404, status)
			}
		})
	}
}

func TestAFunctionThatMovedWhileAnAgentWasAwayIsRemovedThere(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{Store: storetest.New()})
	deploys(t, p, answers(t, "one", nodes...))
	nodes[1].stop()
	p.away(t, nodes[1])
	deploys(t, p, answers(t, "two", nodes[0]))
	calls := p.caller(t)
	calls.more(t)
	nodes[1].start(t)
	eventually(t, func() bool { rows, err := nodes[1].Details(t.Context()); return err == nil && len(rows) == 0 }, "it is removed")
	assert.Equal(t, []string{"two"}, keysOf(calls.stop()))
	assert.Len(t, wishOf(t, p, func(w *wish.Wish) bool { return len(w.At) == 1 }).At, 1)
}

// A machine that was made anew is another agent at the same address.
func TestAnAgentThatIsBegunAnewGetsWhatItHad(t *testing.T) {
	n := newAgents(t, 1)[0]
	p := start(t, Config{Store: storetest.New()})
	deploys(t, p, answers(t, "one", n))
	n.stop()
	p.away(t, n)
	n.Fake = transporttest.NewFake(t)
	n.info = protobuf.CloneOf(n.info)
	n.info.Id = "another"
	n.start(t)
	eventually(t, func() bool { return slices.Equal(numbers(t, n), []string{"1 of 1"}) }, "the function is brought there")
	w := wishOf(t, p, func(w *wish.Wish) bool { return len(w.At) == 1 && w.At[0].ID == "another" })
	assert.Equal(t, w.Generation, w.At[0].Done)
	calls := p.caller(t)
	calls.more(t)
	assert.Equal(t, []string{"one"}, keysOf(calls.stop()))
}

func TestAStoreThatIsBegunAnewStopsNothing(t *testing.T) {
	nodes, dir := newNodes(t, 2), t.TempDir()
	p := start(t, Config{Store: storetest.New(), Dir: dir})
	fn := answers(t, "one", nodes...)
	fn.Env = map[string]string{"A": "b"}
	deploys(t, p, fn)
	calls := p.caller(t)
	calls.more(t)
	seen := calls.stop()
	p.stop()
	p = start(t, Config{Store: storetest.New(), Dir: dir})
	calls = p.caller(t)
	w := wishOf(t, p, func(w *wish.Wish) bool { return len(w.At) == 2 })
	assert.Equal(t, map[string]string{"A": "b"}, w.Version.Settings.GetEnv())
	for _, at := range w.At {
		assert.Equal(t, w.Generation, at.Done)
	}
	calls.more(t)
	for body, n := range calls.stop() {
		seen[body] += n
	}
	assert.Equal(t, []string{"one"}, keysOf(seen))
	assert.Equal(t, []string{"1 of 1", "1 of 1"}, numbers(t, nodes...))
}

func TestWhatWasChangedAtAnAgentIsShownAndStays(t *testing.T) {
	nodes := newNodes(t, 2)
	p := start(t, Config{Store: storetest.New()})
	deploys(t, p, answers(t, "one", nodes...))
	alone := answers(t, "two")
	_, err := nodes[0].Deploy(t.Context(), alone)
	require.NoError(t, err)
	var rows []*proto.FunctionJsonRsp
	eventually(t, func() bool {
		rows, err = p.Details(t.Context())
		return err == nil && len(rows) == 2 && slices.ContainsFunc(rows, func(r *proto.FunctionJsonRsp) bool { return r.GetDrift() != "" })
	}, "it is shown")
	for _, row := range rows {
		want := ""
		if row.GetAtAgent() == nodes[0].addr {
			want = "version 2 serves, and version 1 is wished"
		}
		assert.Equal(t, want, row.GetDrift())
	}
	require.NoError(t, p.compare(t.Context(), nil, true))
	p.mends.wait()
	assert.Equal(t, []string{"2 of 2", "1 of 1"}, numbers(t, nodes...))
	deploys(t, p, answers(t, "three", nodes...))
	assert.Equal(t, []string{"3 of 3", "3 of 3"}, numbers(t, nodes...))
}

// cut ends a proxy in the middle of a rollout over two agents, and returns when the next one
// may begin.
func cut(t *testing.T, s store.Store, dir string, nodes []*node, fn *proto.FunctionJson) {
	t.Helper()
	p := start(t, Config{Store: s, Dir: dir})
	deploys(t, p, answers(t, "one", nodes...))
	reached, release := make(chan struct{}), make(chan struct{})
	nodes[1].deploying = func(*proto.FunctionJson) error {
		close(reached)
		<-release
		return errors.New("it was not to be")
	}
	fn.Wait = false
	_, err := p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	<-reached
	require.Equal(t, []string{"2 of 2", "1 of 1"}, numbers(t, nodes...))
	time.AfterFunc(50*time.Millisecond, func() { close(release) })
	p.stop()
	changes, err := s.Registry(store.Rollouts).List(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, changes, 1, "it is known that it has not ended")
}

// settled waits until no change is under way.
func settled(t *testing.T, s store.Store) {
	t.Helper()
	eventually(t, func() bool {
		changes, err := s.Registry(store.Rollouts).List(t.Context(), "")
		return err == nil && len(changes) == 0
	}, "the change has ended")
}

func TestTheNextProxyCompletesARollout(t *testing.T) {
	for name, secrets := range map[string]map[string]string{"without secrets": nil, "with secrets": {"A": "b"}} {
		t.Run(name, func(t *testing.T) {
			nodes, s, dir := newNodes(t, 2), storetest.New(), t.TempDir()
			fn := answers(t, "two", nodes...)
			fn.Secrets = secrets
			cut(t, s, dir, nodes, fn)
			given := hearing(nodes[1])
			p := start(t, Config{Store: s, Dir: dir})
			settled(t, s)
			assert.Equal(t, []string{"2 of 2", "2 of 2"}, numbers(t, nodes...))
			assert.EqualValues(t, 2, wishOf(t, p, nil).Version.Number)
			assert.Equal(t, []map[string]string{secrets}, given())
		})
	}
}

func TestTheNextProxyUndoesARolloutThatCannotBeCompleted(t *testing.T) {
	for name, secrets := range map[string]map[string]string{"an agent refuses": nil, "the key of its secrets is lost": {"A": "b"}} {
		t.Run(name, func(t *testing.T) {
			nodes, s, dir := newNodes(t, 2), storetest.New(), t.TempDir()
			fn := answers(t, "two", nodes...)
			fn.Secrets = secrets
			cut(t, s, dir, nodes, fn)
			nodes[1].deploying = nil
			if secrets == nil {
				nodes[1].deploying = breaks
			} else {
				require.NoError(t, os.Remove(filepath.Join(dir, keyFile)))
			}
			p := start(t, Config{Store: s, Dir: dir})
			settled(t, s)
			for _, n := range nodes {
				assert.True(t, serves(n, 1), numbers(t, n))
			}
			assert.EqualValues(t, 1, wishOf(t, p, nil).Version.Number)
		})
	}
}

// watched is a store in which the first wish is stored when hold is closed.
type watched struct {
	store.Store
	hold    chan struct{}
	writing chan struct{} // closed when the first wish is about to be stored
	read    chan struct{} // told of wishes that are read meanwhile
	first   atomic.Bool
	written chan []byte // all wishes
}

func (s *watched) Registry(kind store.Kind) store.Registry {
	if kind != store.Functions {
		return s.Store.Registry(kind)
	}
	return wishRegistry{s.Store.Registry(kind), s}
}

type wishRegistry struct {
	store.Registry
	s *watched
}

func (r wishRegistry) Get(ctx context.Context, key string) (store.Entry, error) {
	e, err := r.Registry.Get(ctx, key)
	select {
	case r.s.read <- struct{}{}:
	default:
	}
	return e, err
}

func (r wishRegistry) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	if r.s.first.CompareAndSwap(false, true) {
		close(r.s.writing)
		<-r.s.hold
	}
	r.s.written <- value
	return r.Registry.Create(ctx, key, value)
}

func (r wishRegistry) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	r.s.written <- value
	return r.Registry.Update(ctx, key, value, revision)
}

// A deploy may be asked for while the wish of the one before is being written. Then nobody
// has overtaken it, and its agents have followed.
func TestADeployFollowsOneWhoseWishIsBeingWritten(t *testing.T) {
	n := newNodes(t, 1)[0]
	s := &watched{Store: storetest.New(), hold: make(chan struct{}), writing: make(chan struct{}), read: make(chan struct{}), written: make(chan []byte, 100)}
	p := start(t, Config{Store: s, Agents: []string{n.addr}})
	eventually(t, func() bool { return p.fleet.Problem(n.addr) == nil }, "the agent is connected")
	one, two := answers(t, "one"), answers(t, "two")
	one.Wait = false
	_, err := p.Deploy(t.Context(), one)
	require.NoError(t, err)
	<-s.writing
	deployed := make(chan error, 1)
	go func() {
		_, err := p.Deploy(t.Context(), two)
		deployed <- err
	}()
	<-s.read
	close(s.hold)
	require.NoError(t, <-deployed)
	settled(t, s)
	close(s.written)
	var last wish.Wish
	for value := range s.written {
		last = wish.Wish{}
		require.NoError(t, json.Unmarshal(value, &last))
		for _, at := range last.At {
			assert.Equal(t, last.Generation, at.Done, "%s", value)
		}
	}
	assert.Equal(t, uint32(2), last.Version.Number)
	assert.True(t, last.Placed, "the proxy has chosen the agent both times")
}

// Of many who deploy at once what each made of the same version, through two proxies, one
// deploys.
func TestOfThoseWhoDeployFromOneVersionOneDoes(t *testing.T) {
	nodes, s := newNodes(t, 1), storetest.New()
	proxies := []*running{start(t, Config{Store: s, Common: s, Agents: addressesOf(nodes...)}), start(t, Config{Store: s, Common: s, Agents: addressesOf(nodes...)})}
	deploys(t, proxies[0], answers(t, "one", nodes...))
	eventually(t, func() bool { return proxies[1].fleet.Row(nodes[0].addr, "Hello").GetVersion() == 1 }, "both know version 1")
	const each = 4
	errs := make(chan error, 2*each)
	for i, p := range proxies {
		for n := range each {
			fn, from := answers(t, fmt.Sprintf("of %d, %d", i, n), nodes...), uint32(1)
			fn.IfVersion = &from
			go func() {
				_, err := p.Deploy(t.Context(), fn)
				errs <- err
			}()
		}
	}
	won := 0
	for range 2 * each {
		if err := <-errs; err != nil {
			assert.ErrorIs(t, err, proto.ErrConflict)
		} else {
			won++
		}
	}
	assert.Equal(t, 1, won)
	assert.Equal(t, []string{"2 of 2"}, numbers(t, nodes...))
	changes, err := s.Registry(store.Rollouts).List(t.Context(), "hello")
	require.NoError(t, err)
	assert.Empty(t, changes, "no change is left over")
}
