package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
)

func TestMain(m *testing.M) {
	guarded := testkit.Guarded(m)
	program()
	goleak.VerifyTestMain(guarded)
}

// patience bounds every wait of a test.
const patience = testkit.Patience

func config(t *testing.T) store.Config {
	return store.Config{Dir: t.TempDir(), Backlog: storetest.Backlog, Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: t.Output()})}
}

// open opens an engine that ends with the test.
func open(t *testing.T, cfg store.Config) *store.Engine {
	t.Helper()
	e, err := store.Open(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Stop()) })
	return e
}

func TestEngine(t *testing.T) {
	storetest.Suite(t, func(t *testing.T) store.Store { return open(t, config(t)) })
}

// What is stored is there again, whoever opens the folder.
func TestAllOutlivesTheProcess(t *testing.T) {
	ctx, cfg := t.Context(), config(t)
	e, err := store.Open(cfg)
	require.NoError(t, err)
	epoch := e.Epoch()
	first, err := e.Registry(store.Functions).Create(ctx, "hello", []byte("one"))
	require.NoError(t, err)
	_, err = e.Blobs().Put(ctx, "package", strings.NewReader("its files"))
	require.NoError(t, err)
	for id, at := range map[string]time.Time{"now": {}, "soon": time.Now().Add(300 * time.Millisecond), "late": time.Now().Add(time.Hour)} {
		_, err = e.Queue().Publish(ctx, store.Message{Topic: "a", ID: id, NotBefore: at})
		require.NoError(t, err)
	}
	term := lead(t, e)
	require.NoError(t, e.Stop())
	require.ErrorIs(t, e.Err(), proto.ErrUnavailable)

	e = open(t, cfg)
	require.NoError(t, e.Err())
	assert.Equal(t, epoch, e.Epoch())
	is, err := e.Registry(store.Functions).Get(ctx, "hello")
	require.NoError(t, err)
	assert.Equal(t, "one", string(is.Value))
	assert.Equal(t, first, is.Revision)
	next, err := e.Registry(store.Functions).Update(ctx, "hello", nil, first)
	require.NoError(t, err)
	assert.Greater(t, next, first)
	r, err := e.Blobs().Open(ctx, "package")
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	assert.Equal(t, "its files", string(data))
	assert.Equal(t, []string{"now", "soon"}, handled(t, e, "a", 2))
	assert.Greater(t, lead(t, e), term)
}

// lead returns the term that a caller has who leads for a moment.
func lead(t *testing.T, e *store.Engine) (term uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.ErrorIs(t, e.Lead(ctx, "sched", func(_ context.Context, n uint64) {
		term = n
		cancel()
	}), context.Canceled)
	return term
}

// handled returns the ids of the next messages of a topic, which are handled.
func handled(t *testing.T, e *store.Engine, topic string, count int) (ids []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.ErrorIs(t, e.Queue().Consume(ctx, topic, 1, func(_ context.Context, m store.Message, _ int) store.Verdict {
		if ids = append(ids, m.ID); len(ids) == count {
			cancel()
		}
		return store.Verdict{}
	}), context.Canceled)
	return ids
}

// Another process may have the folder for a while: those who wait, watch, consume or lead
// go on afterwards.
func TestTheEngineMayCloseForAWhile(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	e := open(t, config(t))
	r, q := e.Registry(store.Functions), e.Queue()
	hints, bodies, terms := make(chan struct{}, 1000), make(chan string), make(chan uint64)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { _ = r.Watch(ctx, "", func() { hints <- struct{}{} }) })
	all.Go(func() {
		_ = q.Consume(ctx, "a", 1, func(_ context.Context, m store.Message, _ int) store.Verdict {
			select {
			case bodies <- string(m.Data):
			case <-ctx.Done():
			}
			return store.Verdict{}
		})
	})
	all.Go(func() {
		_ = e.Lead(ctx, "sched", func(ctx context.Context, term uint64) {
			select {
			case terms <- term:
			case <-ctx.Done():
			}
			<-ctx.Done()
		})
	})
	publish := func(body string) {
		t.Helper()
		_, err := q.Publish(ctx, store.Message{Topic: "a", Data: []byte(body)})
		require.NoError(t, err)
		require.Equal(t, body, next(t, bodies))
	}
	publish("one")
	term := next(t, terms)
	next(t, hints)
	for range 3 {
		require.NoError(t, e.Stop())
		require.NoError(t, e.Stop(), "it is closed already")
		for len(hints) > 0 {
			<-hints
		}
		began := time.Now()
		_, err := r.Get(ctx, "none")
		require.ErrorIs(t, err, proto.ErrUnavailable)
		assert.Greater(t, time.Since(began), time.Second, "it waits for the engine")

		waiting := make(chan error, 1)
		go func() {
			_, err := r.Create(ctx, fmt.Sprint("key", term), nil)
			waiting <- err
		}()
		require.NoError(t, e.Start())
		require.NoError(t, <-waiting)
		publish("two")
		later := next(t, terms)
		assert.Greater(t, later, term)
		term = later
		next(t, hints)
	}
}

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("it does not come")
		panic("unreachable")
	}
}

func TestAFolderHasOneEngine(t *testing.T) {
	cfg := config(t)
	e := open(t, cfg)
	other := store.New(cfg)
	err := other.Start()
	require.ErrorIs(t, err, proto.ErrConflict)
	require.ErrorContains(t, err, fmt.Sprintf("%s is in use by process %d", cfg.Dir, os.Getpid()))
	require.ErrorIs(t, other.Err(), proto.ErrConflict)
	_, err = other.Registry(store.Functions).Get(t.Context(), "a")
	require.ErrorIs(t, err, proto.ErrConflict, "callers are told at once")
	require.NoError(t, e.Stop())
	require.NoError(t, other.Start(), "it can be tried again")
	require.NoError(t, other.Stop())
}

// What a process was given that is killed is handed out again.
func TestMessagesOfAKilledProcessAreHandedOutAgain(t *testing.T) {
	cfg := config(t).WithAckWait(time.Second)
	p := spawn(t, "consume", cfg.Dir)
	require.Equal(t, "handles the message, attempt 1", p.line(t))
	require.NoError(t, p.Process.Kill())
	_ = p.Wait()
	e := open(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.ErrorIs(t, e.Queue().Consume(ctx, "a", 1, func(_ context.Context, m store.Message, attempt int) store.Verdict {
		assert.Equal(t, "the message", string(m.Data))
		assert.Contains(t, []int{1, 2}, attempt, "the disk may not know yet that it was handed out")
		cancel()
		return store.Verdict{}
	}), context.Canceled)
}

// A message that is handled for long is handed out once.
func TestLongWorkIsNotDoneTwice(t *testing.T) {
	e := open(t, config(t).WithAckWait(300*time.Millisecond))
	_, err := e.Queue().Publish(t.Context(), store.Message{Topic: "a"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var times int
	require.ErrorIs(t, e.Queue().Consume(ctx, "a", 1, func(context.Context, store.Message, int) store.Verdict {
		times++
		<-time.After(time.Second)
		cancel()
		return store.Verdict{}
	}), context.Canceled)
	assert.Equal(t, 1, times)
	n, err := e.Queue().Pending(t.Context(), "a")
	require.NoError(t, err)
	assert.Zero(t, n)
}

// A consumer of each topic costs no file, so that an engine with many ends soon: with files,
// 200 took two seconds.
func TestTopicsCostNoFiles(t *testing.T) {
	cfg := config(t)
	e, err := store.Open(cfg)
	require.NoError(t, err)
	files := func() (n int) {
		require.NoError(t, filepath.WalkDir(cfg.Dir, func(_ string, _ fs.DirEntry, err error) error {
			n++
			if errors.Is(err, fs.ErrNotExist) { // the engine removes files
				return nil
			}
			return err
		}))
		return n
	}
	handle := func(topic string) {
		_, err := e.Queue().Publish(t.Context(), store.Message{Topic: topic, ID: topic})
		require.NoError(t, err)
		require.Equal(t, []string{topic}, handled(t, e, topic, 1))
	}
	handle("topic/0")
	before := files()
	for i := range 50 {
		handle(fmt.Sprint("topic/", i+1))
	}
	assert.Less(t, files(), before+10)
	require.NoError(t, e.Stop())
}

// What many store at the same time is stored together, and each is told what became of its
// own: those that are there already, and those for which there is no room, stop no other.
func TestManyPublishAtOnce(t *testing.T) {
	const callers, each = 160, 5
	e := open(t, config(t))
	q := e.Queue()
	var all sync.WaitGroup
	var mu sync.Mutex
	sequences, duplicates, refused := map[uint64]string{}, 0, 0
	for c := range callers {
		all.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", c, i)
				topic := id
				switch i % 5 {
				case 1:
					id, topic = "the same", "twice"
				case 2:
					topic = "full" // of 160 messages 50 have room
				}
				r, err := q.Publish(t.Context(), store.Message{Topic: topic, ID: id, Data: []byte(id)})
				mu.Lock()
				switch {
				case err != nil:
					assert.ErrorIs(t, err, proto.ErrExhausted)
					assert.Equal(t, "full", topic)
					refused++
				case r.Duplicate:
					duplicates++
				default:
					assert.Empty(t, sequences[r.Sequence])
					sequences[r.Sequence] = topic + " " + id
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	assert.Equal(t, callers*each/5-1, duplicates)
	assert.Equal(t, callers*each/5-storetest.Backlog, refused)
	for sequence, is := range sequences {
		topic, id, _ := strings.Cut(is, " ")
		m, err := q.Get(t.Context(), topic, sequence)
		if assert.NoError(t, err, is) {
			assert.Equal(t, is, topic+" "+m.ID)
			assert.Equal(t, id, string(m.Data))
		}
	}
}

// A call that waits costs one sync of the disk, or, with many at once, a part of one.
func BenchmarkPublish(b *testing.B) {
	for _, callers := range []int{1, 32, 128, 256} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			e, err := store.Open(store.Config{Dir: b.TempDir(), Backlog: 1 << 30})
			require.NoError(b, err)
			defer func() { require.NoError(b, e.Stop()) }()
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for range callers {
				all.Go(func() {
					for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
						_, err := e.Queue().Publish(context.Background(), store.Message{Topic: "a", ID: strconv.FormatInt(n, 10), Data: make([]byte, 1024)})
						assert.NoError(b, err)
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
