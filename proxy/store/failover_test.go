package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// pauseLimit is how long changes may pause when a node is lost.
const pauseLimit = 10 * time.Second

// writers store records, messages and blobs all the time, until they are stopped.
type writers struct {
	name string
	stop func()
	end  sync.WaitGroup

	mu    sync.Mutex // guards the field below:
	kinds map[string]*written
}

// written is what became of changes of a kind.
type written struct {
	kept          map[string]bool // what was acknowledged
	acks, refused int
	last          time.Time
	longest       time.Duration // between two acknowledgements
}

// write begins to write under a name.
func write(t *testing.T, e *store.Engine, name string) *writers {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{name: name, stop: cancel, kinds: map[string]*written{}}
	for i := range 3 {
		for kind, do := range map[string]func(name string) error{
			"record": func(name string) error {
				revision, err := e.Registry(store.Functions).Create(ctx, name, []byte(name))
				if err == nil && i > 0 { // it is told apart from what it replaces
					_, err = e.Registry(store.Functions).Update(ctx, name, []byte("second "+name), revision)
				}
				return err
			},
			"message": func(name string) error {
				r, err := e.Queue().Publish(ctx, store.Message{Topic: w.name, ID: name, Data: []byte(name)})
				if err == nil && r.Duplicate {
					err = errors.New("it is taken for another process's") //nolint:goerr113 // fails the test
				}
				return err
			},
			"blob": func(name string) error {
				_, err := e.Blobs().Put(ctx, w.name+"/"+name, strings.NewReader(name))
				return err
			},
		} {
			w.end.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					name := fmt.Sprintf("%s-%d-%d", w.name, i, n)
					w.note(t, kind, name, do(name))
					select {
					case <-ctx.Done():
					case <-time.After(5 * time.Millisecond): // the test has a disk and two processors
					}
				}
			})
		}
	}
	return w
}

// note notes what became of a change.
func (w *writers) note(t *testing.T, kind, name string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.kinds[kind]
	if k == nil {
		k = &written{kept: map[string]bool{}, last: time.Now()}
		w.kinds[kind] = k
	}
	switch {
	case err == nil:
		k.kept[name] = true
		k.longest = max(k.longest, time.Since(k.last))
		k.last = time.Now()
		k.acks++
	case errors.Is(err, context.Canceled):
	case errors.Is(err, proto.ErrUnavailable), errors.Is(err, proto.ErrTimeout):
		k.refused++
	default:
		t.Errorf("%s %s: %v", kind, name, err)
	}
}

// acknowledged waits until so many more changes of each kind are.
func (w *writers) acknowledged(t *testing.T, more int) {
	t.Helper()
	count := func() map[string]int {
		w.mu.Lock()
		defer w.mu.Unlock()
		counts := map[string]int{"record": 0, "message": 0, "blob": 0}
		for kind, k := range w.kinds {
			counts[kind] = k.acks
		}
		return counts
	}
	before := count()
	require.Eventually(t, func() bool {
		for kind, n := range count() {
			if n < before[kind]+more {
				return false
			}
		}
		return true
	}, 2*patience, 10*time.Millisecond)
}

// check asserts that all that was acknowledged is there, and that no pause was too long.
func (w *writers) check(t *testing.T, e *store.Engine) {
	t.Helper()
	w.stop()
	w.end.Wait()
	list, err := e.Registry(store.Functions).List(t.Context(), "")
	require.NoError(t, err)
	for _, is := range list {
		assert.Contains(t, []string{is.Key, "second " + is.Key}, string(is.Value))
		delete(w.kinds["record"].kept, is.Key)
	}
	messages, err := e.Queue().List(t.Context(), w.name, 0, store.MaxBacklog)
	require.NoError(t, err)
	ids := map[string]bool{}
	for _, m := range messages {
		assert.False(t, ids[m.ID], "%s is there twice", m.ID)
		ids[m.ID] = true
		delete(w.kinds["message"].kept, m.ID)
	}
	blobs, err := e.Blobs().List(t.Context(), w.name)
	require.NoError(t, err)
	for _, is := range blobs {
		delete(w.kinds["blob"].kept, strings.TrimPrefix(is.Name, w.name+"/"))
	}
	for kind, k := range w.kinds {
		assert.Empty(t, k.kept, "%s: lost", kind)
		t.Logf("%s: %d changes acknowledged, %d refused; the longest pause was %s", kind, k.acks, k.refused, k.longest.Round(time.Millisecond))
		assert.Less(t, k.longest, pauseLimit+patienceOfTheMachine, kind)
	}
}

// patienceOfTheMachine is what a machine that has other work may add to a pause.
const patienceOfTheMachine = 5 * time.Second

// index is that of a node by its name, -1 for none.
func (n *nodes) index(name string) int {
	return slices.Index(n.cluster, strings.TrimPrefix(name, "ryo-"))
}

// leads returns the node that leads the functions' records.
func (n *nodes) leads(t *testing.T, e *store.Engine) (i int) {
	t.Helper()
	require.Eventually(t, func() bool {
		i = n.index(e.Leader(t.Context(), store.Functions))
		return i >= 0
	}, patience, 50*time.Millisecond)
	return i
}

// again starts a node that was killed, and waits until it has what the others have.
func (n *nodes) again(t *testing.T, i int) {
	t.Helper()
	n.start(t, i)
	n.ready(t, i)
}

// Whatever node is lost, and however: what was acknowledged is there, changes go on soon, and
// the node comes back.
func failover(t *testing.T, n *nodes) {
	follower := func(t *testing.T, e *store.Engine) int {
		for i := range n.cluster {
			if i != n.leads(t, e) && i != n.index(e.Node(t.Context())) {
				return i
			}
		}
		return (n.leads(t, e) + 1) % len(n.cluster)
	}
	own := func(t *testing.T, e *store.Engine) int { return n.index(e.Node(t.Context())) }
	killed := func(t *testing.T, i int) (undo func()) {
		n.kill(t, i)
		return func() { n.again(t, i) }
	}
	stopped := func(t *testing.T, i int) (undo func()) {
		n.signal(t, i, syscall.SIGSTOP)
		return func() { n.signal(t, i, syscall.SIGCONT) }
	}
	ended := func(t *testing.T, i int) (undo func()) {
		n.signal(t, i, syscall.SIGTERM)
		require.NoError(t, n.processes[i].Wait())
		return func() { n.again(t, i) }
	}
	for _, c := range []struct {
		name   string
		choose func(*testing.T, *store.Engine) int
		lose   func(*testing.T, int) func()
		always bool // also when there is little time
	}{
		{"the leader is killed", n.leads, killed, true},
		{"the leader is stopped", n.leads, stopped, false},
		{"the node that is asked is killed", own, killed, false},
		{"the node that is asked is stopped", own, stopped, false},
		{"another node is killed", follower, killed, false},
		{"another node is stopped", follower, stopped, false},
		{"the leader is ended", n.leads, ended, false},
	} {
		if !c.always && os.Getenv("E2E_SOAK") == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			e := n.with(t, store.MaxBacklog)
			w := write(t, e, strings.ReplaceAll(c.name, " ", "-"))
			defer w.stop()
			w.acknowledged(t, 30)
			undo := c.lose(t, c.choose(t, e))
			defer func() { undo() }()
			w.acknowledged(t, 30)
			undo()
			undo = func() {}
			w.acknowledged(t, 30)
			w.check(t, e)
		})
	}
}

// Without a majority nothing is acknowledged that is not stored, and what was stored last can
// be read.
func minority(t *testing.T, n *nodes) {
	ctx, e := t.Context(), n.empty(t)
	r := e.Registry(store.Functions)
	revision, err := r.Create(ctx, "hello", []byte("one"))
	require.NoError(t, err)
	_, err = e.Blobs().Put(ctx, "package", strings.NewReader("its files"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return e.Has(ctx, "package") && e.Leader(ctx, store.Functions) != "" }, patience, 10*time.Millisecond)
	// The one that stays is the one that is asked, so that what is tested is not its loss.
	stays := n.index(e.Node(ctx))
	for i := range n.cluster {
		if i != stays {
			n.kill(t, i)
		}
	}
	limited, cancel := context.WithTimeout(ctx, 3*time.Second) // whoever does not say how long waits for an election
	defer cancel()
	_, err = r.Update(limited, "hello", []byte("two"), revision)
	require.Error(t, err)
	assert.Contains(t, []proto.Kind{proto.ErrUnavailable, proto.ErrTimeout}, proto.AsError(err).Kind)
	require.ErrorIs(t, e.Err(), proto.ErrUnavailable)
	maybe := errors.Is(err, proto.ErrTimeout)
	if os.Getenv("E2E_SOAK") != "" {
		for _, limit := range []time.Duration{15 * time.Second, 5 * time.Second} { // after a while it is refused soon
			began := time.Now()
			_, err = e.Queue().Publish(ctx, store.Message{Topic: "a", ID: "refused"})
			require.Error(t, err)
			assert.Less(t, time.Since(began), limit)
		}
	}
	is, err := r.Get(ctx, "hello")
	require.NoError(t, err)
	assert.Equal(t, "one", string(is.Value))
	list, err := r.List(ctx, "")
	require.NoError(t, err)
	assert.Len(t, list, 1)
	assert.Equal(t, "its files", read(t, e, "package"))

	for i := range n.cluster {
		if i != stays {
			n.start(t, i)
		}
	}
	require.Eventually(t, func() bool {
		is, err = r.Get(ctx, "hello")
		if err == nil {
			_, err = r.Update(ctx, "hello", []byte("three"), is.Revision)
		}
		return err == nil
	}, 2*patience, 100*time.Millisecond)
	require.NoError(t, e.Err())
	if !maybe {
		assert.Equal(t, "one", string(is.Value), "what was refused was not done")
	}
	for i := range n.cluster {
		if i != stays {
			n.ready(t, i)
		}
	}
}
