// Package storetest has a store in memory, with the semantics of a real one.
package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// dedupe is how long a queue remembers ids.
const dedupe = 10 * time.Minute

// Fake is a store in memory. It lives as long as its process: several proxies of a test
// may share one.
type Fake struct {
	// Backlog is how many messages of a topic wait at most; default: store.MaxBacklog. It
	// is set before the store is used.
	Backlog int

	epoch string

	mu         sync.Mutex // guards the fields below:
	err        error
	changed    chan struct{} // closed and replaced by each change
	revision   uint64
	registries map[store.Kind]map[string]store.Entry
	blobs      map[string]blob
	topics     map[string]*topic
	leases     map[string]bool // held
	term       uint64
}

var _ store.Store = (*Fake)(nil)

type blob struct {
	store.Blob
	data []byte
}

// topic is the messages of one.
type topic struct {
	waiting []*waiting
	ids     map[string]remembered
	limit   int
	handled int // now
}

// waiting is a message in the queue.
type waiting struct {
	store.Message
	attempts int
	out      bool // being handled
}

type remembered struct {
	sequence uint64
	at       time.Time
}

// New returns an empty store.
func New() *Fake {
	return &Fake{
		Backlog: store.MaxBacklog, epoch: rand.Text(), changed: make(chan struct{}),
		registries: map[store.Kind]map[string]store.Entry{}, blobs: map[string]blob{},
		topics: map[string]*topic{}, leases: map[string]bool{},
	}
}

// Fail lets everything fail with an error, such as an ErrUnavailable, until it is called
// with nil.
func (f *Fake) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	f.change()
}

// change wakes those who wait for changes. f.mu is held.
func (f *Fake) change() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Epoch implements store.Store.
func (f *Fake) Epoch() string { return f.epoch }

// Err implements store.Store.
func (f *Fake) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// enter locks f unless the store fails, ctx is done, or a key is none.
func (f *Fake) enter(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := store.CheckKey(key); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	if f.err != nil {
		defer f.mu.Unlock()
		return f.err
	}
	return nil
}

// Lead implements store.Store.
func (f *Fake) Lead(ctx context.Context, name string, lead func(context.Context, uint64)) error {
	if err := store.CheckKey(name); err != nil {
		return err
	}
	for ctx.Err() == nil {
		f.mu.Lock()
		free, changed := !f.leases[name], f.changed
		if free {
			f.leases[name] = true
			f.term++
		}
		term := f.term
		f.mu.Unlock()
		if !free {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		func() {
			defer func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				delete(f.leases, name)
				f.change()
			}()
			lead(ctx, term)
		}()
	}
	return ctx.Err()
}

// Registry implements store.Store.
func (f *Fake) Registry(kind store.Kind) store.Registry { return registry{f, kind} }

type registry struct {
	*Fake
	kind store.Kind
}

func (r registry) Get(ctx context.Context, key string) (store.Entry, error) {
	if err := r.enter(ctx, key); err != nil {
		return store.Entry{}, err
	}
	defer r.mu.Unlock()
	e, ok := r.registries[r.kind][key]
	if !ok {
		return store.Entry{}, proto.Errorf(proto.ErrNotFound, "%s: there is no %s", r.kind, key)
	}
	e.Value = bytes.Clone(e.Value)
	return e, nil
}

func (r registry) List(ctx context.Context, prefix string) ([]store.Entry, error) {
	if err := r.enter(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	list := []store.Entry{}
	for key, e := range r.registries[r.kind] {
		if store.Below(key, prefix) {
			e.Value = bytes.Clone(e.Value)
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b store.Entry) int { return strings.Compare(a.Key, b.Key) })
	return list, nil
}

func (r registry) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return r.put(ctx, key, value, 0)
}

func (r registry) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if revision == 0 {
		return 0, conflict(r.kind, key)
	}
	return r.put(ctx, key, value, revision)
}

func conflict(kind store.Kind, key string) error {
	return proto.Errorf(proto.ErrConflict, "%s: %s was changed meanwhile", kind, key)
}

func (r registry) put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if len(value) > store.MaxValue {
		return 0, proto.Errorf(proto.ErrTooLarge, "%s: %s has %d bytes, more than %d", r.kind, key, len(value), store.MaxValue)
	}
	if err := r.enter(ctx, key); err != nil {
		return 0, err
	}
	defer r.mu.Unlock()
	records := r.registries[r.kind]
	if records == nil {
		records = map[string]store.Entry{}
		r.registries[r.kind] = records
	}
	if records[key].Revision != revision {
		return 0, conflict(r.kind, key)
	}
	r.revision++
	records[key] = store.Entry{Key: key, Value: bytes.Clone(value), Revision: r.revision, Time: time.Now()}
	r.change()
	return r.revision, nil
}

func (r registry) Delete(ctx context.Context, key string, revision uint64) error {
	if err := r.enter(ctx, key); err != nil {
		return err
	}
	defer r.mu.Unlock()
	e, ok := r.registries[r.kind][key]
	if !ok {
		return nil
	}
	if e.Revision != revision {
		return conflict(r.kind, key)
	}
	r.revision++
	delete(r.registries[r.kind], key)
	r.change()
	return nil
}

func (r registry) Watch(ctx context.Context, prefix string, changed func()) error {
	last := uint64(0)
	for first := true; ; first = false {
		r.mu.Lock()
		next, now, count := r.changed, uint64(0), uint64(0)
		for key, e := range r.registries[r.kind] {
			if store.Below(key, prefix) {
				now, count = max(now, e.Revision), count+1
			}
		}
		r.mu.Unlock()
		if state := now<<20 + count; first || state != last {
			last = state
			changed()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-next:
		}
	}
}

// Blobs implements store.Store.
func (f *Fake) Blobs() store.Blobs { return blobs{f} }

type blobs struct{ *Fake }

func (b blobs) Put(ctx context.Context, name string, r io.Reader) (store.Blob, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return store.Blob{}, err
	}
	if err := b.enter(ctx, name); err != nil {
		return store.Blob{}, err
	}
	defer b.mu.Unlock()
	is := store.Blob{Name: name, Size: int64(len(data)), Time: time.Now()}
	b.blobs[name] = blob{is, data}
	return is, nil
}

func (b blobs) get(ctx context.Context, name string) (blob, error) {
	if err := b.enter(ctx, name); err != nil {
		return blob{}, err
	}
	defer b.mu.Unlock()
	is, ok := b.blobs[name]
	if !ok {
		return blob{}, proto.Errorf(proto.ErrNotFound, "there is no blob %s", name)
	}
	return is, nil
}

func (b blobs) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	is, err := b.get(ctx, name)
	return io.NopCloser(bytes.NewReader(is.data)), err
}

func (b blobs) Stat(ctx context.Context, name string) (store.Blob, error) {
	is, err := b.get(ctx, name)
	return is.Blob, err
}

func (b blobs) Delete(ctx context.Context, name string) error {
	if err := b.enter(ctx, name); err != nil {
		return err
	}
	defer b.mu.Unlock()
	delete(b.blobs, name)
	return nil
}

func (b blobs) List(ctx context.Context, prefix string) ([]store.Blob, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	list := []store.Blob{}
	for _, name := range slices.Sorted(maps.Keys(b.blobs)) {
		if store.Below(name, prefix) {
			list = append(list, b.blobs[name].Blob)
		}
	}
	return list, nil
}

// Queue implements store.Store.
func (f *Fake) Queue() store.Queue { return queue{f} }

type queue struct{ *Fake }

// of returns a topic. f.mu is held.
func (q queue) of(name string) *topic {
	t := q.topics[name]
	if t == nil {
		t = &topic{ids: map[string]remembered{}}
		q.topics[name] = t
	}
	return t
}

func (q queue) Publish(ctx context.Context, m store.Message) (store.Receipt, error) {
	if len(m.Data) > store.MaxPayload {
		return store.Receipt{}, proto.Errorf(proto.ErrTooLarge, "a message of %d bytes is larger than %d", len(m.Data), store.MaxPayload)
	}
	if err := store.CheckHeader(&m); err != nil {
		return store.Receipt{}, err
	}
	if err := q.enter(ctx, m.Topic); err != nil {
		return store.Receipt{}, err
	}
	defer q.mu.Unlock()
	t, now := q.of(m.Topic), time.Now()
	if was, ok := t.ids[m.ID]; ok && m.ID != "" && now.Sub(was.at) < dedupe {
		return store.Receipt{Sequence: was.sequence, Duplicate: true}, nil
	}
	later := m.NotBefore.After(now)
	if !later && t.due() >= q.Backlog {
		return store.Receipt{}, proto.Errorf(proto.ErrExhausted, "%d messages wait for %s already", t.due(), m.Topic)
	}
	q.revision++
	m.Sequence, m.Time, m.Data, m.Header = q.revision, now, bytes.Clone(m.Data), maps.Clone(m.Header)
	t.waiting = append(t.waiting, &waiting{Message: m})
	receipt := store.Receipt{Sequence: m.Sequence}
	if later {
		receipt.Sequence = 0
	}
	if m.ID != "" {
		t.ids[m.ID] = remembered{receipt.Sequence, now}
	}
	q.change()
	return receipt, nil
}

// next takes a message that can be handled, if there is a place for it, or says for what
// to wait.
func (q queue) next(name string) (w *waiting, changed <-chan struct{}, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t, now := q.of(name), time.Now()
	wait = time.Hour
	if q.err != nil || t.handled >= t.limit {
		return nil, q.changed, wait
	}
	for _, w := range t.waiting {
		switch until := w.NotBefore.Sub(now); {
		case w.out:
		case until > 0:
			wait = min(wait, until)
		default:
			w.out = true
			w.attempts++
			t.handled++
			return w, q.changed, 0
		}
	}
	return nil, q.changed, wait
}

func (q queue) Consume(ctx context.Context, name string, limit int, handle func(context.Context, store.Message, int) store.Verdict) error {
	if err := store.CheckKey(name); err != nil {
		return err
	}
	if limit < 1 {
		return proto.Errorf(proto.ErrInvalid, "%d is not a number of messages to handle at the same time", limit)
	}
	q.mu.Lock()
	q.of(name).limit = limit
	q.change()
	q.mu.Unlock()
	var running sync.WaitGroup
	defer running.Wait()
	for ctx.Err() == nil {
		w, changed, wait := q.next(name)
		if w == nil {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-changed:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		running.Go(func() {
			m := w.Message
			m.Data, m.Header = bytes.Clone(m.Data), maps.Clone(m.Header)
			verdict := handle(ctx, m, w.attempts)
			q.mu.Lock()
			defer q.mu.Unlock()
			t := q.of(name)
			t.handled--
			w.out = false
			if verdict.Again {
				w.NotBefore = time.Now().Add(verdict.After)
			} else {
				t.waiting = slices.DeleteFunc(t.waiting, func(other *waiting) bool { return other == w })
			}
			q.change()
		})
	}
	return ctx.Err()
}

// due counts the messages that have a sequence by now.
func (t *topic) due() (n int) {
	for _, w := range t.waiting {
		if w.due() {
			n++
		}
	}
	return n
}

// due reports whether a message has a sequence by now.
func (w *waiting) due() bool { return w.out || !w.NotBefore.After(time.Now()) }

func (q queue) Get(ctx context.Context, name string, sequence uint64) (store.Message, error) {
	if err := q.enter(ctx, name); err != nil {
		return store.Message{}, err
	}
	defer q.mu.Unlock()
	for _, w := range q.of(name).waiting {
		if w.Sequence == sequence && w.due() {
			return w.Message, nil
		}
	}
	return store.Message{}, proto.Errorf(proto.ErrNotFound, "no message %d waits for %s", sequence, name)
}

func (q queue) List(ctx context.Context, name string, after uint64, limit int) ([]store.Message, error) {
	if err := q.enter(ctx, name); err != nil {
		return nil, err
	}
	defer q.mu.Unlock()
	list := []store.Message{}
	for _, w := range q.of(name).waiting {
		if w.Sequence > after && w.due() && len(list) < limit {
			list = append(list, w.Message)
		}
	}
	return list, nil
}

// remove removes messages and returns how many there were.
func (q queue) remove(ctx context.Context, name string, is func(*waiting) bool) (int, error) {
	if err := q.enter(ctx, name); err != nil {
		return 0, err
	}
	defer q.mu.Unlock()
	t := q.of(name)
	before := len(t.waiting)
	t.waiting = slices.DeleteFunc(t.waiting, is)
	q.change()
	return before - len(t.waiting), nil
}

func (q queue) Delete(ctx context.Context, name string, sequence uint64) error {
	_, err := q.remove(ctx, name, func(w *waiting) bool { return w.Sequence == sequence && !w.out })
	return err
}

func (q queue) Withdraw(ctx context.Context, name, id string) error {
	_, err := q.remove(ctx, name, func(w *waiting) bool { return w.ID == id && !w.due() })
	return err
}

func (q queue) Purge(ctx context.Context, name string) (int, error) {
	return q.remove(ctx, name, func(w *waiting) bool { return !w.out })
}

func (q queue) Pending(ctx context.Context, name string) (int, error) {
	list, err := q.List(ctx, name, 0, store.MaxBacklog)
	return len(list), err
}

func (q queue) Topics(ctx context.Context, prefix string) ([]string, error) {
	if err := q.enter(ctx); err != nil {
		return nil, err
	}
	defer q.mu.Unlock()
	var names []string
	for name, t := range q.topics {
		if store.Below(name, prefix) && t.due() > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// String implements fmt.Stringer.
func (f *Fake) String() string { return fmt.Sprintf("a store in memory, epoch %s", f.epoch) }
