package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	// Backlog is how many messages of a topic wait in the stores that Suite is given.
	Backlog = 50
	// patience bounds each wait of the suite.
	patience = 20 * time.Second
	// tick is how often a state is looked at that is waited for.
	tick = 5 * time.Millisecond
)

// AnotherLimit is a test of Suite that an engine of several machines does not pass as it
// stands: where a limit is lowered, it drops what it is about to hand out, which comes late.
const AnotherLimit = "another limit"

var tests = map[string]func(*testing.T, store.Store){
	"records": records, "keys of any bytes": keys, "below a prefix": prefixes, "who is first": races,
	"records that are refused": refusedRecords, "kinds are apart": kinds, "watching": watching,
	"blobs": blobsOf, "blobs are whole": wholeBlobs, "blobs while they are replaced": replacedBlobs,
	"messages": messages, "any topic, any header": anyMessage, "once by its id": duplicates, "in order": order, "attempts": attempts,
	"waiting takes no place": noPlace, "a limit for all": limits, AnotherLimit: otherLimit, "another limit, in the end": otherLimitInTheEnd, "a backlog": backlog,
	"messages for later": later, "withdrawn": withdrawn, "purged": purged, "deleted": deleted, "looking at what waits": looking,
	"consuming ends": consumingEnds, "what is refused of a queue": refusedMessages,
	"leading": leading, "leading ends": leadingEnds, "an epoch": epoch, "contexts": contexts,
}

// Names returns the names of the tests of Suite.
func Names() []string { return slices.Sorted(maps.Keys(tests)) }

// Suite is what every Store must do. open returns an empty one for Backlog messages a
// topic, which ends with the test. With names, only those of its tests run.
func Suite(t *testing.T, open func(t *testing.T) store.Store, names ...string) {
	for name, test := range tests {
		if len(names) == 0 || slices.Contains(names, name) {
			t.Run(name, func(t *testing.T) { test(t, open(t)) })
		}
	}
}

func records(t *testing.T, s store.Store) {
	ctx, r := t.Context(), s.Registry(store.Functions)
	_, err := r.Get(ctx, "hello")
	require.ErrorIs(t, err, proto.ErrNotFound)
	list, err := r.List(ctx, "")
	require.NoError(t, err)
	assert.Empty(t, list)

	began := time.Now()
	first, err := r.Create(ctx, "hello", []byte("one"))
	require.NoError(t, err)
	assert.NotZero(t, first)
	_, err = r.Create(ctx, "hello", []byte("other"))
	require.ErrorIs(t, err, proto.ErrConflict)
	is, err := r.Get(ctx, "hello")
	require.NoError(t, err)
	assert.Equal(t, "hello", is.Key)
	assert.Equal(t, "one", string(is.Value))
	assert.Equal(t, first, is.Revision)
	assert.WithinDuration(t, began, is.Time, patience)

	second, err := r.Update(ctx, "hello", []byte("two"), first)
	require.NoError(t, err)
	assert.Greater(t, second, first)
	for _, revision := range []uint64{0, first, second + 7} {
		_, err = r.Update(ctx, "hello", []byte("late"), revision)
		require.ErrorIs(t, err, proto.ErrConflict)
	}
	_, err = r.Update(ctx, "nobody", nil, second)
	require.ErrorIs(t, err, proto.ErrConflict, "there is none to replace")
	_, err = r.Update(ctx, "nobody", nil, 0)
	require.ErrorIs(t, err, proto.ErrConflict)
	require.ErrorIs(t, r.Delete(ctx, "hello", first), proto.ErrConflict)
	is, err = r.Get(ctx, "hello")
	require.NoError(t, err)
	assert.Equal(t, "two", string(is.Value))

	require.NoError(t, r.Delete(ctx, "hello", second))
	require.NoError(t, r.Delete(ctx, "hello", second), "it is gone already")
	_, err = r.Get(ctx, "hello")
	require.ErrorIs(t, err, proto.ErrNotFound)
	list, err = r.List(ctx, "")
	require.NoError(t, err)
	assert.Empty(t, list)
	_, err = r.Update(ctx, "hello", nil, second)
	require.ErrorIs(t, err, proto.ErrConflict, "what was deleted is not replaced")
	third, err := r.Create(ctx, "hello", nil)
	require.NoError(t, err)
	assert.Greater(t, third, second)
	is, err = r.Get(ctx, "hello")
	require.NoError(t, err)
	assert.Empty(t, is.Value)
}

// oddKeys are keys that stores may mistake for others.
func oddKeys() []string {
	list := []string{
		"plain", "Plain", "a.b", "a/b", "a=2Eb", "*", ">", "a/*/b", "a/>", ".", "..", "a b", "tab\tnew\nline", "$", "%2F", "ü", "日本語", "=", "==", "a=", "\\", "\"",
		strings.Repeat("x", 200), strings.Repeat("\xff", 200) + "/" + strings.Repeat("\x00", 200), "\x00", "\xff\xfe",
	}
	for c := range 256 {
		if c != '/' {
			list = append(list, "byte/"+string([]byte{byte(c)}))
		}
	}
	return list
}

func keys(t *testing.T, s store.Store) {
	ctx, r := t.Context(), s.Registry(store.Functions)
	for _, key := range oddKeys() {
		_, err := r.Create(ctx, key, []byte(key))
		require.NoError(t, err, "%q", key)
	}
	list, err := r.List(ctx, "")
	require.NoError(t, err)
	require.Len(t, list, len(oddKeys()))
	last := ""
	for _, e := range list {
		assert.Equal(t, e.Key, string(e.Value))
		assert.Greater(t, e.Key, last, "they are ordered by their bytes")
		last = e.Key
	}
	for _, key := range oddKeys() {
		is, err := r.Get(ctx, key)
		require.NoError(t, err, "%q", key)
		require.NoError(t, r.Delete(ctx, key, is.Revision), "%q", key)
	}
	list, err = r.List(ctx, "")
	require.NoError(t, err)
	assert.Empty(t, list)
}

func keysOf(list []store.Entry) (keys []string) {
	for _, e := range list {
		keys = append(keys, e.Key)
	}
	return keys
}

func prefixes(t *testing.T, s store.Store) {
	ctx, r := t.Context(), s.Registry(store.Versions)
	for _, key := range []string{"a", "a/1", "a/2", "a/2/x", "ab", "ab/1", "b/1", "a.b/1"} {
		_, err := r.Create(ctx, key, nil)
		require.NoError(t, err)
	}
	for prefix, want := range map[string][]string{
		"":    {"a", "a.b/1", "a/1", "a/2", "a/2/x", "ab", "ab/1", "b/1"},
		"a":   {"a", "a/1", "a/2", "a/2/x"},
		"a/":  {"a", "a/1", "a/2", "a/2/x"},
		"a/2": {"a/2", "a/2/x"},
		"ab":  {"ab", "ab/1"}, "a.b": {"a.b/1"}, "c": nil, "*": nil, ">": nil,
	} {
		list, err := r.List(ctx, prefix)
		require.NoError(t, err)
		assert.Equal(t, want, keysOf(list), "%q", prefix)
	}
}

func races(t *testing.T, s store.Store) {
	const callers, rounds = 8, 10
	ctx, r := t.Context(), s.Registry(store.Functions)
	var all sync.WaitGroup
	var created atomic.Int32
	for range callers {
		all.Go(func() {
			_, err := r.Create(ctx, "count", []byte{0})
			if err == nil {
				created.Add(1)
			} else {
				assert.ErrorIs(t, err, proto.ErrConflict)
			}
			for range rounds {
				for {
					is, err := r.Get(ctx, "count")
					if !assert.NoError(t, err) {
						return
					}
					_, err = r.Update(ctx, "count", []byte{is.Value[0] + 1}, is.Revision)
					if err == nil {
						break
					}
					if !assert.ErrorIs(t, err, proto.ErrConflict) {
						return
					}
				}
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, created.Load())
	is, err := r.Get(ctx, "count")
	require.NoError(t, err)
	assert.Equal(t, []byte{callers * rounds}, is.Value)
}

func refusedRecords(t *testing.T, s store.Store) {
	ctx, r := t.Context(), s.Registry(store.Functions)
	for _, key := range []string{"", "/", "a/", "/a", "a//b", strings.Repeat("x", 201), strings.Repeat("x/", 250) + "x"} {
		_, err := r.Get(ctx, key)
		require.ErrorIs(t, err, proto.ErrInvalid, "%q", key)
		_, err = r.Create(ctx, key, nil)
		require.ErrorIs(t, err, proto.ErrInvalid, "%q", key)
		_, err = r.Update(ctx, key, nil, 1)
		require.ErrorIs(t, err, proto.ErrInvalid, "%q", key)
		require.ErrorIs(t, r.Delete(ctx, key, 1), proto.ErrInvalid, "%q", key)
	}
	larger := make([]byte, store.MaxValue+1)
	_, _ = rand.Read(larger)
	large := larger[:store.MaxValue]
	_, err := r.Create(ctx, "large", large)
	require.NoError(t, err)
	is, err := r.Get(ctx, "large")
	require.NoError(t, err)
	assert.True(t, bytes.Equal(large, is.Value))
	_, err = r.Create(ctx, "larger", larger)
	require.ErrorIs(t, err, proto.ErrTooLarge)
	_, err = r.Update(ctx, "large", larger, is.Revision)
	require.ErrorIs(t, err, proto.ErrTooLarge)
}

func kinds(t *testing.T, s store.Store) {
	ctx := t.Context()
	all := []store.Kind{
		store.Functions, store.Versions, store.Rollouts, store.Agents, store.Calls, store.Dead, store.Schedules, store.Audit, store.Settings,
	}
	for _, kind := range all {
		_, err := s.Registry(kind).Create(ctx, "one", []byte(kind))
		require.NoError(t, err, kind)
	}
	for _, kind := range all {
		list, err := s.Registry(kind).List(ctx, "")
		require.NoError(t, err, kind)
		require.Len(t, list, 1, kind)
		assert.Equal(t, string(kind), string(list[0].Value))
	}
}

func watching(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := s.Registry(store.Functions)
	first, err := r.Create(ctx, "a/1", nil)
	require.NoError(t, err)
	var seen atomic.Uint64
	ended := make(chan error, 1)
	called := make(chan struct{}, 1)
	go func() {
		ended <- r.Watch(ctx, "a", func() {
			seen.Add(1)
			select {
			case called <- struct{}{}:
			default:
			}
		})
	}()
	next := func() {
		t.Helper()
		select {
		case <-called:
		case <-time.After(patience):
			t.Fatal("no hint")
		}
	}
	next()
	// A hint may come twice, or for two changes; each change is followed by one.
	settle := func(change func()) {
		t.Helper()
		require.Eventually(t, func() bool { // what came before is told
			before := seen.Load()
			select {
			case <-called:
			case <-time.After(50 * time.Millisecond):
			}
			return seen.Load() == before
		}, patience, tick)
		before := seen.Load()
		change()
		require.Eventually(t, func() bool { return seen.Load() > before }, patience, tick)
	}
	settle(func() { first, err = r.Update(ctx, "a/1", []byte("new"), first) })
	require.NoError(t, err)
	settle(func() { _, err = r.Create(ctx, "a/2", nil) })
	require.NoError(t, err)
	settle(func() { require.NoError(t, r.Delete(ctx, "a/1", first)) })
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func read(t *testing.T, b store.Blobs, name string) []byte {
	t.Helper()
	r, err := b.Open(t.Context(), name)
	require.NoError(t, err)
	defer r.Close()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	return data
}

func blobsOf(t *testing.T, s store.Store) {
	ctx, b := t.Context(), s.Blobs()
	_, err := b.Open(ctx, "none")
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = b.Stat(ctx, "none")
	require.ErrorIs(t, err, proto.ErrNotFound)
	require.NoError(t, b.Delete(ctx, "none"))
	_, err = b.Put(ctx, "a//b", strings.NewReader("x"))
	require.ErrorIs(t, err, proto.ErrInvalid)

	large := make([]byte, 3<<20+7)
	_, _ = rand.Read(large)
	for name, data := range map[string][]byte{"pkg/large": large, "pkg/small": []byte("small"), "empty": nil, "odd name \xff/*>": []byte("odd")} {
		is, err := b.Put(ctx, name, bytes.NewReader(data))
		require.NoError(t, err)
		assert.Equal(t, name, is.Name)
		assert.EqualValues(t, len(data), is.Size)
		assert.WithinDuration(t, time.Now(), is.Time, patience)
		again, err := b.Stat(ctx, name)
		require.NoError(t, err)
		assert.Equal(t, is.Size, again.Size)
		assert.True(t, bytes.Equal(data, read(t, b, name)))
	}
	names := func(prefix string) (names []string) {
		list, err := b.List(ctx, prefix)
		require.NoError(t, err)
		for _, is := range list {
			names = append(names, is.Name)
		}
		return names
	}
	assert.Equal(t, []string{"empty", "odd name \xff/*>", "pkg/large", "pkg/small"}, names(""))
	assert.Equal(t, []string{"pkg/large", "pkg/small"}, names("pkg"))

	is, err := b.Put(ctx, "pkg/large", strings.NewReader("other"))
	require.NoError(t, err)
	assert.EqualValues(t, 5, is.Size)
	assert.Equal(t, "other", string(read(t, b, "pkg/large")))
	require.NoError(t, b.Delete(ctx, "pkg/large"))
	_, err = b.Open(ctx, "pkg/large")
	require.ErrorIs(t, err, proto.ErrNotFound)
	assert.Equal(t, []string{"pkg/small"}, names("pkg"))
}

// halting is a reader that fails after some bytes.
type halting struct {
	left int
	err  error
}

func (h *halting) Read(p []byte) (int, error) {
	if h.left == 0 {
		return 0, h.err
	}
	n := min(len(p), h.left)
	h.left -= n
	return n, nil
}

func wholeBlobs(t *testing.T, s store.Store) {
	ctx, b := t.Context(), s.Blobs()
	halt := errors.New("the caller has gone")
	_, err := b.Put(ctx, "new", &halting{3 << 20, halt})
	require.ErrorIs(t, err, halt)
	_, err = b.Stat(ctx, "new")
	require.ErrorIs(t, err, proto.ErrNotFound)
	_, err = b.Put(ctx, "old", strings.NewReader("what was"))
	require.NoError(t, err)
	_, err = b.Put(ctx, "old", &halting{1 << 20, halt})
	require.ErrorIs(t, err, halt)
	assert.Equal(t, "what was", string(read(t, b, "old")))
}

func replacedBlobs(t *testing.T, s store.Store) {
	ctx, b := t.Context(), s.Blobs()
	content := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 300<<10+i) }
	_, err := b.Put(ctx, "it", bytes.NewReader(content(0)))
	require.NoError(t, err)
	var writing sync.WaitGroup
	for w := range 2 {
		writing.Go(func() {
			for i := range 10 {
				_, err := b.Put(ctx, "it", bytes.NewReader(content(10*w+i)))
				assert.NoError(t, err)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		writing.Wait()
		close(done)
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		r, err := b.Open(ctx, "it")
		require.NoError(t, err)
		data, err := io.ReadAll(r)
		require.NoError(t, r.Close())
		if err == nil {
			assert.True(t, bytes.Equal(content(int(data[0])), data), "what is read without an error is whole")
		} else {
			require.ErrorIs(t, err, proto.ErrUnavailable)
		}
	}
	data := read(t, b, "it")
	assert.True(t, bytes.Equal(content(int(data[0])), data))
}

// handled is a message that a consumer was given, and the attempt.
type handled struct {
	store.Message
	attempt int
}

// consumer hands what it gets to a test, which answers.
type consumer struct {
	got     chan handled
	verdict chan store.Verdict
	stop    func()
}

func consume(t *testing.T, s store.Store, topic string, limit int) *consumer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	c := &consumer{got: make(chan handled, 1000), verdict: make(chan store.Verdict)}
	ended := make(chan error, 1)
	go func() {
		ended <- s.Queue().Consume(ctx, topic, limit, func(ctx context.Context, m store.Message, attempt int) store.Verdict {
			c.got <- handled{m, attempt}
			select {
			case v := <-c.verdict:
				return v
			case <-ctx.Done():
				return store.Verdict{Again: true}
			}
		})
	}()
	c.stop = sync.OnceFunc(func() {
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	})
	t.Cleanup(c.stop)
	return c
}

func (c *consumer) next(t *testing.T) handled {
	t.Helper()
	select {
	case h := <-c.got:
		return h
	case <-time.After(patience):
		t.Fatal("no message is handed out")
		panic("unreachable")
	}
}

func (c *consumer) none(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case h := <-c.got:
		t.Fatalf("%+v is handed out", h)
	case <-time.After(within):
	}
}

func (c *consumer) say(t *testing.T, v store.Verdict) {
	t.Helper()
	select {
	case c.verdict <- v:
	case <-time.After(patience):
		t.Fatal("nothing is handled")
	}
}

func publish(t *testing.T, s store.Store, topic string, bodies ...string) (sequences []uint64) {
	t.Helper()
	for _, body := range bodies {
		r, err := s.Queue().Publish(t.Context(), store.Message{Topic: topic, Data: []byte(body)})
		require.NoError(t, err)
		require.NotZero(t, r.Sequence)
		require.False(t, r.Duplicate)
		sequences = append(sequences, r.Sequence)
	}
	return sequences
}

// waits returns when so many messages of a topic are pending.
func waits(t *testing.T, s store.Store, topic string, want int) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		n, err := s.Queue().Pending(t.Context(), topic)
		require.NoError(c, err)
		assert.Equal(c, want, n)
	}, patience, tick)
}

func messages(t *testing.T, s store.Store) {
	began := time.Now()
	sequences := publish(t, s, "hello", "one")
	waits(t, s, "hello", 1)
	c := consume(t, s, "hello", 1)
	h := c.next(t)
	assert.Equal(t, "hello", h.Topic)
	assert.Equal(t, "one", string(h.Data))
	assert.Equal(t, sequences[0], h.Sequence)
	assert.Equal(t, 1, h.attempt)
	assert.Empty(t, h.ID)
	assert.WithinDuration(t, began, h.Time, patience)
	waits(t, s, "hello", 1)
	c.say(t, store.Verdict{})
	waits(t, s, "hello", 0)
	publish(t, s, "hello", "two")
	assert.Equal(t, "two", string(c.next(t).Data))
	c.say(t, store.Verdict{})
	waits(t, s, "hello", 0)
}

func anyMessage(t *testing.T, s store.Store) {
	for i, topic := range []string{"plain", "a/b", "a.b", "*", ">", "x y\xff", "a"} {
		m := store.Message{
			Topic: topic, ID: "id \"\r\n\xff" + topic, Data: []byte{0, '\r', '\n', 255, byte(i)},
			Header: map[string]string{"Content-Type": "text/plain", "x-lower": "", "odd:\r\n\xff/ name": "odd\r\nvalue\xff", "ü": "日本語"},
		}
		_, err := s.Queue().Publish(t.Context(), m)
		require.NoError(t, err)
		c := consume(t, s, topic, 1)
		h := c.next(t)
		assert.Equal(t, m.Topic, h.Topic)
		assert.Equal(t, m.ID, h.ID)
		assert.Equal(t, m.Data, h.Data)
		assert.Equal(t, m.Header, h.Header)
		c.say(t, store.Verdict{})
		waits(t, s, topic, 0)
		c.stop()
	}
	large := make([]byte, store.MaxPayload)
	_, _ = rand.Read(large)
	_, err := s.Queue().Publish(t.Context(), store.Message{Topic: "large", Data: large})
	require.NoError(t, err)
	c := consume(t, s, "large", 1)
	assert.True(t, bytes.Equal(large, c.next(t).Data))
	c.say(t, store.Verdict{})
}

func duplicates(t *testing.T, s store.Store) {
	ctx, q := t.Context(), s.Queue()
	first, err := q.Publish(ctx, store.Message{Topic: "a", ID: "one", Data: []byte("1")})
	require.NoError(t, err)
	again, err := q.Publish(ctx, store.Message{Topic: "a", ID: "one", Data: []byte("2")})
	require.NoError(t, err)
	assert.Equal(t, store.Receipt{Sequence: first.Sequence, Duplicate: true}, again)
	other, err := q.Publish(ctx, store.Message{Topic: "b", ID: "one"})
	require.NoError(t, err)
	assert.False(t, other.Duplicate, "of another topic")
	waits(t, s, "a", 1)
	c := consume(t, s, "a", 1)
	assert.Equal(t, "1", string(c.next(t).Data))
	c.say(t, store.Verdict{})
	waits(t, s, "a", 0)
	again, err = q.Publish(ctx, store.Message{Topic: "a", ID: "one"})
	require.NoError(t, err)
	assert.True(t, again.Duplicate, "it was handled")

	due := time.Now().Add(time.Hour)
	_, err = q.Publish(ctx, store.Message{Topic: "a", ID: "later", NotBefore: due})
	require.NoError(t, err)
	for _, at := range []time.Time{due, {}} {
		again, err = q.Publish(ctx, store.Message{Topic: "a", ID: "later", NotBefore: at})
		require.NoError(t, err)
		assert.True(t, again.Duplicate)
	}
}

func order(t *testing.T, s store.Store) {
	var bodies []string
	for i := range 20 {
		bodies = append(bodies, fmt.Sprint(i))
	}
	publish(t, s, "a", bodies[:10]...)
	c := consume(t, s, "a", 1)
	publish(t, s, "a", bodies[10:]...)
	for _, body := range bodies {
		assert.Equal(t, body, string(c.next(t).Data))
		c.say(t, store.Verdict{})
	}
}

func attempts(t *testing.T, s store.Store) {
	id := "the id"
	_, err := s.Queue().Publish(t.Context(), store.Message{Topic: "a", ID: id, Data: []byte("x"), Header: map[string]string{"a": "b"}})
	require.NoError(t, err)
	c := consume(t, s, "a", 1)
	var earliest time.Time
	for i, after := range []time.Duration{0, 300 * time.Millisecond, 0, 50 * time.Millisecond, 10 * time.Millisecond} {
		h := c.next(t)
		assert.False(t, time.Now().Before(earliest), "not before its time")
		assert.Equal(t, i+1, h.attempt)
		assert.Equal(t, "x", string(h.Data))
		assert.Equal(t, id, h.ID)
		assert.Equal(t, map[string]string{"a": "b"}, h.Header)
		earliest = time.Now().Add(after - tick)
		c.say(t, store.Verdict{Again: true, After: after})
	}
	assert.Equal(t, 6, c.next(t).attempt)
	c.say(t, store.Verdict{})
	waits(t, s, "a", 0)
	c.none(t, 100*time.Millisecond)
}

func noPlace(t *testing.T, s store.Store) {
	publish(t, s, "a", "bad", "good")
	c := consume(t, s, "a", 1)
	assert.Equal(t, "bad", string(c.next(t).Data))
	c.say(t, store.Verdict{Again: true, After: time.Hour})
	assert.Equal(t, "good", string(c.next(t).Data), "what waits for its next attempt takes no place")
	waits(t, s, "a", 1)
	c.say(t, store.Verdict{})
	waits(t, s, "a", 0)
}

func limits(t *testing.T, s store.Store) {
	const limit, all = 3, 12
	for i := range all {
		publish(t, s, "a", fmt.Sprint(i))
	}
	consumers := []*consumer{consume(t, s, "a", limit), consume(t, s, "a", limit), consume(t, s, "a", limit)}
	out := func() (n int) {
		for _, c := range consumers {
			n += len(c.got)
		}
		return n
	}
	require.Eventually(t, func() bool { return out() == limit }, patience, tick)
	for _, c := range consumers {
		c.stop() // the verdict is: again
	}
	for { // so they may have been handed out twice
		n := 0
		for _, c := range consumers {
			for range len(c.got) {
				<-c.got
				n++
			}
		}
		if n == 0 {
			break
		}
	}
	consumers = []*consumer{consume(t, s, "a", limit), consume(t, s, "a", limit)}
	seen := map[string]bool{}
	for done := range all {
		want := min(limit, all-done)
		require.Eventually(t, func() bool { return out() == want }, patience, tick)
		for _, c := range consumers {
			if len(c.got) > 0 {
				seen[string((<-c.got).Data)] = true
				c.say(t, store.Verdict{})
				break
			}
		}
	}
	assert.Len(t, seen, all)
	waits(t, s, "a", 0)
}

func otherLimit(t *testing.T, s store.Store) {
	lowered(t, s, func(out func() int, end func(), _ func() bool) {
		for range 5 {
			end()
			require.Eventually(t, func() bool { return out() == 2 }, patience, tick)
		}
	})
}

func otherLimitInTheEnd(t *testing.T, s store.Store) {
	lowered(t, s, func(out func() int, end func(), spent func() bool) {
		for steady := 0; steady < 5; {
			require.False(t, spent(), "more are handed out than the limit says")
			end()
			require.Eventually(t, func() bool { return out() >= 2 }, patience, tick)
			if steady++; out() > 2 {
				steady = 0
			}
		}
	})
}

// lowered lowers a limit to 2, and goes on when no more are handed out.
func lowered(t *testing.T, s store.Store, then func(out func() int, end func(), spent func() bool)) {
	const all = 40
	for i := range all {
		publish(t, s, "a", fmt.Sprint(i))
	}
	one := consume(t, s, "a", 1)
	require.Eventually(t, func() bool { return len(one.got) == 1 }, patience, tick)
	two := consume(t, s, "a", 4)
	require.Eventually(t, func() bool { return len(one.got)+len(two.got) == 4 }, patience, tick)
	three := consume(t, s, "a", 2)
	ended := 0
	out := func() int { return len(one.got) + len(two.got) + len(three.got) - ended }
	end := func() {
		select {
		case one.verdict <- store.Verdict{}:
		case two.verdict <- store.Verdict{}:
		case three.verdict <- store.Verdict{}:
		}
		ended++
	}
	spent := func() bool { return ended >= all/2 }
	// Nothing tells when a limit holds.
	for deadline := time.Now().Add(patience); out() > 2; <-time.After(tick) {
		require.True(t, time.Now().Before(deadline))
		if !spent() {
			end()
		}
	}
	require.False(t, spent(), "more are handed out than the limit says")
	then(out, end, spent)
	waits(t, s, "a", all-ended)
	assert.Equal(t, 2, out(), "which is the limit now")
}

func backlog(t *testing.T, s store.Store) {
	ctx, q := t.Context(), s.Queue()
	for i := range Backlog {
		publish(t, s, "full", fmt.Sprint(i))
	}
	_, err := q.Publish(ctx, store.Message{Topic: "full"})
	require.ErrorIs(t, err, proto.ErrExhausted)
	publish(t, s, "other", "has room")
	r, err := q.Publish(ctx, store.Message{Topic: "full", ID: "later", NotBefore: time.Now().Add(time.Hour)})
	require.NoError(t, err, "what waits for its time does not wait for the topic")
	assert.Zero(t, r.Sequence)
	c := consume(t, s, "full", 1)
	c.next(t)
	c.say(t, store.Verdict{})
	waits(t, s, "full", Backlog-1)
	publish(t, s, "full", "there is room again")
}

func later(t *testing.T, s store.Store) {
	ctx, q := t.Context(), s.Queue()
	c := consume(t, s, "a", 10)
	now := time.Now()
	due := map[string]time.Time{"third": now.Add(900 * time.Millisecond), "first": now.Add(-time.Hour), "second": now.Add(300 * time.Millisecond)}
	for id, at := range due {
		r, err := q.Publish(ctx, store.Message{Topic: "a", ID: id, Data: []byte(id), NotBefore: at, Header: map[string]string{"k": id}})
		require.NoError(t, err)
		assert.Equal(t, id == "first", r.Sequence != 0)
	}
	for _, id := range []string{"first", "second", "third"} {
		h := c.next(t)
		assert.Equal(t, id, h.ID)
		assert.Equal(t, id, string(h.Data))
		assert.Equal(t, map[string]string{"k": id}, h.Header)
		assert.Equal(t, 1, h.attempt)
		assert.NotZero(t, h.Sequence)
		assert.False(t, time.Now().Before(due[id].Add(-tick)), "not before its time")
		assert.Less(t, time.Since(due[id]), time.Hour+2*time.Second)
		c.say(t, store.Verdict{})
	}
	waits(t, s, "a", 0)

	// For those of the past, too, the topic keeps its limit.
	_, err := q.Publish(ctx, store.Message{Topic: "b", NotBefore: time.Now().Add(50 * time.Millisecond), Data: []byte("no name")})
	require.NoError(t, err)
	assert.Equal(t, "no name", string(consume(t, s, "b", 1).next(t).Data))
}

func withdrawn(t *testing.T, s store.Store) {
	ctx, q := t.Context(), s.Queue()
	soon := time.Now().Add(300 * time.Millisecond)
	for _, id := range []string{"stays", "goes", "of no topic"} {
		_, err := q.Publish(ctx, store.Message{Topic: "a", ID: id, NotBefore: soon})
		require.NoError(t, err)
	}
	_, err := q.Publish(ctx, store.Message{Topic: "a", ID: "now"})
	require.NoError(t, err)
	require.NoError(t, q.Withdraw(ctx, "a", "goes"))
	require.NoError(t, q.Withdraw(ctx, "a", "goes"), "it is gone already")
	require.NoError(t, q.Withdraw(ctx, "a", "now"), "it does not wait for its time")
	require.NoError(t, q.Withdraw(ctx, "b", "of no topic"))
	c := consume(t, s, "a", 10)
	ids := map[string]bool{}
	for range 3 {
		ids[c.next(t).ID] = true
	}
	assert.Equal(t, map[string]bool{"now": true, "stays": true, "of no topic": true}, ids)
	c.none(t, 200*time.Millisecond)

	// One that waits for its next attempt waits for its time.
	_, err = q.Publish(ctx, store.Message{Topic: "c", ID: "again"})
	require.NoError(t, err)
	d := consume(t, s, "c", 1)
	d.next(t)
	d.say(t, store.Verdict{Again: true, After: 300 * time.Millisecond})
	waits(t, s, "c", 0)
	require.NoError(t, q.Withdraw(ctx, "c", "again"))
	d.none(t, 600*time.Millisecond)
}

func purged(t *testing.T, s store.Store) {
	ctx, q := t.Context(), s.Queue()
	publish(t, s, "a", "1", "2", "3")
	publish(t, s, "a/b", "of another topic")
	_, err := q.Publish(ctx, store.Message{Topic: "a", ID: "later", NotBefore: time.Now().Add(200 * time.Millisecond)})
	require.NoError(t, err)
	n, err := q.Purge(ctx, "a")
	require.NoError(t, err)
	assert.Equal(t, 4, n)
	waits(t, s, "a", 0)
	waits(t, s, "a/b", 1)
	n, err = q.Purge(ctx, "a")
	require.NoError(t, err)
	assert.Zero(t, n)
	c := consume(t, s, "a", 1)
	c.none(t, 500*time.Millisecond)
	publish(t, s, "a", "new")
	assert.Equal(t, "new", string(c.next(t).Data))
}

func deleted(t *testing.T, s store.Store) {
	ctx, q := t.Context(), s.Queue()
	sequences := publish(t, s, "a", "1", "2", "3")
	require.NoError(t, q.Delete(ctx, "a", sequences[1]))
	require.NoError(t, q.Delete(ctx, "a", sequences[1]), "it is gone already")
	require.NoError(t, q.Delete(ctx, "b", sequences[0]), "of another topic")
	_, err := q.Get(ctx, "a", sequences[1])
	require.ErrorIs(t, err, proto.ErrNotFound)
	c := consume(t, s, "a", 1)
	assert.Equal(t, "1", string(c.next(t).Data))
	c.say(t, store.Verdict{})
	assert.Equal(t, "3", string(c.next(t).Data))
	c.say(t, store.Verdict{})
	waits(t, s, "a", 0)
}

func looking(t *testing.T, s store.Store) {
	ctx, q := t.Context(), s.Queue()
	topics, err := q.Topics(ctx, "")
	require.NoError(t, err)
	assert.Empty(t, topics)
	sequences := publish(t, s, "a", "1", "2", "3")
	publish(t, s, "a/b", "x")
	publish(t, s, "ab", "y")
	_, err = q.Publish(ctx, store.Message{Topic: "a", ID: "later", NotBefore: time.Now().Add(time.Hour)})
	require.NoError(t, err)

	m, err := q.Get(ctx, "a", sequences[1])
	require.NoError(t, err)
	assert.Equal(t, "2", string(m.Data))
	assert.Equal(t, sequences[1], m.Sequence)
	for _, topic := range []string{"ab", "a/b"} {
		_, err = q.Get(ctx, topic, sequences[1])
		require.ErrorIs(t, err, proto.ErrNotFound)
	}
	_, err = q.Get(ctx, "a", 0)
	require.ErrorIs(t, err, proto.ErrNotFound)
	bodies := func(after uint64, limit int) (bodies string) {
		list, err := q.List(ctx, "a", after, limit)
		require.NoError(t, err)
		for _, m := range list {
			bodies += string(m.Data)
		}
		return bodies
	}
	assert.Equal(t, "123", bodies(0, 10))
	assert.Equal(t, "12", bodies(0, 2))
	assert.Equal(t, "3", bodies(sequences[1], 2))
	assert.Empty(t, bodies(sequences[2], 2))
	assert.Empty(t, bodies(0, 0))
	for prefix, want := range map[string][]string{"": {"a", "a/b", "ab"}, "a": {"a", "a/b"}, "ab": {"ab"}, "c": nil} {
		topics, err = q.Topics(ctx, prefix)
		require.NoError(t, err)
		assert.ElementsMatch(t, want, topics, prefix)
		assert.IsNonDecreasing(t, append(topics, "z"))
	}
	c := consume(t, s, "a", 1)
	c.next(t)
	assert.Equal(t, "123", bodies(0, 10), "those too that are handled")
}

func consumingEnds(t *testing.T, s store.Store) {
	publish(t, s, "a", "1", "2")
	ctx, cancel := context.WithCancel(t.Context())
	began, release := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- s.Queue().Consume(ctx, "a", 1, func(ctx context.Context, _ store.Message, _ int) store.Verdict {
			close(began)
			<-ctx.Done()
			<-release
			return store.Verdict{}
		})
	}()
	<-began
	cancel()
	select {
	case err := <-ended:
		t.Fatal("a message is still handled", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	require.ErrorIs(t, <-ended, context.Canceled)
	waits(t, s, "a", 1)
	assert.Equal(t, "2", string(consume(t, s, "a", 1).next(t).Data), "the verdict of the first one held")
}

func refusedMessages(t *testing.T, s store.Store) {
	ctx, q := t.Context(), s.Queue()
	for _, topic := range []string{"", "a//b"} {
		_, err := q.Publish(ctx, store.Message{Topic: topic})
		require.ErrorIs(t, err, proto.ErrInvalid)
		require.ErrorIs(t, q.Consume(ctx, topic, 1, nil), proto.ErrInvalid)
	}
	require.ErrorIs(t, q.Consume(ctx, "a", 0, nil), proto.ErrInvalid)
	_, err := q.Publish(ctx, store.Message{Topic: "a", Data: make([]byte, store.MaxPayload+1)})
	require.ErrorIs(t, err, proto.ErrTooLarge)
	_, err = q.Publish(ctx, store.Message{Topic: "a", Header: map[string]string{"x": strings.Repeat("x", store.MaxHeader)}})
	require.ErrorIs(t, err, proto.ErrTooLarge)
}

func leading(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var leaders, most atomic.Int32
	terms := make(chan uint64)
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			err := s.Lead(ctx, "sched", func(ctx context.Context, term uint64) {
				if leaders.Add(1) > 1 {
					most.Add(1)
				}
				defer leaders.Add(-1)
				select {
				case terms <- term:
				case <-ctx.Done():
				}
			})
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	last := uint64(0)
	for range 6 {
		select {
		case term := <-terms:
			assert.Greater(t, term, last, "terms grow")
			last = term
		case <-time.After(patience):
			t.Fatal("nobody leads")
		}
	}
	other := make(chan struct{})
	all.Go(func() {
		_ = s.Lead(ctx, "another", func(ctx context.Context, _ uint64) {
			close(other)
			<-ctx.Done()
		})
	})
	<-other
	cancel()
	all.Wait()
	assert.Zero(t, most.Load(), "one at a time")
}

func leadingEnds(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	began, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.Lead(ctx, "sched", func(ctx context.Context, _ uint64) {
			close(began)
			<-ctx.Done()
		})
	}()
	<-began
	waiting, stop := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		gaveUp <- s.Lead(waiting, "sched", func(context.Context, uint64) { t.Error("another one leads") })
	}()
	stop()
	require.ErrorIs(t, <-gaveUp, context.Canceled)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.ErrorIs(t, s.Lead(t.Context(), "a//b", nil), proto.ErrInvalid)
}

func epoch(t *testing.T, s store.Store) {
	assert.NotEmpty(t, s.Epoch())
	require.NoError(t, s.Err())
}

func contexts(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, b, q := s.Registry(store.Functions), s.Blobs(), s.Queue()
	for name, do := range map[string]func() error{
		"get":     func() error { _, err := r.Get(ctx, "a"); return err },
		"list":    func() error { _, err := r.List(ctx, ""); return err },
		"create":  func() error { _, err := r.Create(ctx, "a", nil); return err },
		"update":  func() error { _, err := r.Update(ctx, "a", nil, 1); return err },
		"delete":  func() error { return r.Delete(ctx, "a", 1) },
		"put":     func() error { _, err := b.Put(ctx, "a", strings.NewReader("")); return err },
		"open":    func() error { _, err := b.Open(ctx, "a"); return err },
		"publish": func() error { _, err := q.Publish(ctx, store.Message{Topic: "a"}); return err },
		"pending": func() error { _, err := q.Pending(ctx, "a"); return err },
		"purge":   func() error { _, err := q.Purge(ctx, "a"); return err },
		"topics":  func() error { _, err := q.Topics(ctx, ""); return err },
		"watch":   func() error { return r.Watch(ctx, "", func() {}) },
		"consume": func() error {
			return q.Consume(ctx, "a", 1, func(context.Context, store.Message, int) store.Verdict { return store.Verdict{} })
		},
		"lead": func() error { return s.Lead(ctx, "a", func(context.Context, uint64) {}) },
	} {
		require.ErrorIs(t, do(), context.Canceled, name)
	}
}
