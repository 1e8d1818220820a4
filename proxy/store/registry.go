package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Pauses before a watch or a queue is tried again that has failed.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// registry is the records of a kind: each is the last message of a subject of its key.
type registry struct {
	kind    Kind
	session func(context.Context) (*session, error)
	always  bool // changes are made in a store, too, that has lost something
}

// Registry implements Store.
func (e *Engine) Registry(kind Kind) Registry { return registry{kind: kind, session: e.session} }

// open returns the open session.
func (r registry) open(ctx context.Context, keys ...string) (*session, error) {
	for _, key := range keys {
		if err := CheckKey(key); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	if s.buckets[r.kind] == nil {
		return nil, proto.Errorf(proto.ErrInvalid, "the store keeps no %s", r.kind)
	}
	return s, nil
}

func (r registry) stream() string                    { return "KV_" + bucket(r.kind) }
func (r registry) subject(key string) string         { return r.subjects() + encode(key) }
func (r registry) subjects() string                  { return "$KV." + bucket(r.kind) + "." }
func (r registry) fault(key string, err error) error { return fault(string(r.kind)+" "+key, err) }

func (r registry) conflict(key string) error {
	return proto.Errorf(proto.ErrConflict, "%s: %s was changed meanwhile", r.kind, key)
}

// The header of a message that says that there is no record any more.
const operationHeader, removed = "KV-Operation", "PURGE"

func gone(m *jetstream.RawStreamMsg) bool { return first(m.Header, operationHeader) != "" }

// last returns the last message of a key, nil if there is none. The sequence is what a
// change is made on: 0, or that of a message which says that there is no record.
func (r registry) last(ctx context.Context, s *session, key string) (m *jetstream.RawStreamMsg, sequence uint64, err error) {
	m, err = s.get(ctx, r.stream(), getRequest{Last: r.subject(key)})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, 0, nil
	case err != nil:
		return nil, 0, r.fault(key, err)
	case gone(m):
		return nil, m.Sequence, nil
	}
	return m, m.Sequence, nil
}

// Get implements Registry.
func (r registry) Get(ctx context.Context, key string) (Entry, error) {
	s, err := r.open(ctx, key)
	if err != nil {
		return Entry{}, err
	}
	is, _, err := r.last(ctx, s, key)
	switch {
	case err != nil:
		return Entry{}, err
	case is == nil:
		return Entry{}, proto.Errorf(proto.ErrNotFound, "%s: there is no %s", r.kind, key)
	}
	return r.entry(key, is)
}

func (r registry) entry(key string, is *jetstream.RawStreamMsg) (Entry, error) {
	value, err := unseal(key, is.Data)
	if err != nil {
		return Entry{}, r.fault(key, err)
	}
	return Entry{Key: key, Value: value, Revision: is.Sequence, Time: is.Time}, nil
}

// List implements Registry.
func (r registry) List(ctx context.Context, prefix string) ([]Entry, error) {
	s, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	subjects := filters(prefix)
	for i := range subjects {
		subjects[i] = r.subjects() + subjects[i]
	}
	found, err := s.list(ctx, r.stream(), subjects)
	if err != nil {
		return nil, r.fault(prefix, err)
	}
	list := make([]Entry, 0, len(found))
	for _, is := range found {
		key, ok := r.key(is.Subject)
		if !ok || gone(is) { // another program's, or removed
			continue
		}
		one, err := r.entry(key, is)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return list, nil
}

// key is that of a subject.
func (r registry) key(subject string) (key string, ok bool) {
	if text, ok := strings.CutPrefix(subject, r.subjects()); ok {
		return decode(text)
	}
	return "", false
}

// Create implements Registry.
func (r registry) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	s, err := r.changes(ctx, key, value)
	if err != nil {
		return 0, err
	}
	on := uint64(0)
	for {
		revision, err := s.change(ctx, r.stream(), &nats.Msg{Subject: r.subject(key), Data: seal(key, value)}, on)
		if !changed(err) {
			return revision, r.fault(key, err)
		}
		is, sequence, err := r.last(ctx, s, key)
		switch {
		case err != nil:
			return 0, err
		case is != nil, sequence == on:
			return 0, r.conflict(key)
		}
		on = sequence // a record was here, and is removed
	}
}

// Update implements Registry.
func (r registry) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	s, err := r.changes(ctx, key, value)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		return 0, r.conflict(key)
	}
	next, err := s.change(ctx, r.stream(), &nats.Msg{Subject: r.subject(key), Data: seal(key, value)}, revision)
	if changed(err) {
		return 0, r.conflict(key)
	}
	return next, r.fault(key, err)
}

// changes returns the open session if a record may be changed.
func (r registry) changes(ctx context.Context, key string, value []byte) (*session, error) {
	if len(value) > MaxValue {
		return nil, proto.Errorf(proto.ErrTooLarge, "%s: %s has %d bytes, more than %d", r.kind, key, len(value), MaxValue)
	}
	s, err := r.open(ctx, key)
	if err == nil && !r.always {
		err = s.sound()
	}
	return s, err
}

// Delete implements Registry.
func (r registry) Delete(ctx context.Context, key string, revision uint64) error {
	s, err := r.open(ctx, key)
	if err == nil {
		err = s.mended()
	}
	if err != nil {
		return err
	}
	for {
		_, err := s.change(ctx, r.stream(), &nats.Msg{Subject: r.subject(key), Header: nats.Header{
			operationHeader: {removed}, jetstream.MsgRollup: {jetstream.MsgRollupSubject}, jetstream.MsgTTLHeader: {tombstone.String()},
		}}, revision)
		if !changed(err) {
			return r.fault(key, err)
		}
		is, _, err := r.last(ctx, s, key)
		switch {
		case err != nil:
			return err
		case is == nil:
			return nil
		case is.Sequence != revision:
			return r.conflict(key)
		}
	}
}

// Watch implements Registry.
func (r registry) Watch(ctx context.Context, prefix string, changed func()) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		changed()
		if r.watch(ctx, prefix, changed) {
			pause = firstPause
		}
		if !again(ctx, jittered(pause)) {
			return ctx.Err()
		}
	}
}

// watch calls changed after changes until ctx is done, the engine is closed, or its node is
// another one; it reports whether it came to watch.
func (r registry) watch(ctx context.Context, prefix string, changed func()) bool {
	s, err := r.open(ctx)
	if err != nil {
		return false
	}
	anew, _ := s.links.anew()
	w, err := s.buckets[r.kind].WatchFiltered(ctx, filters(prefix), jetstream.MetaOnly())
	if err != nil {
		return false
	}
	defer func() { _ = w.Stop() }()
	told := false // that these are all that there were
	for {
		select {
		case is, open := <-w.Updates():
			if !open {
				return true
			}
			if is == nil {
				told = true
			} else if told {
				s.saw(r.subjects()+is.Key(), is.Revision())
				s.written.mark(r.stream(), is.Revision())
			}
			if told { // once too often is no harm; changes since changed was called first count
				changed()
			}
		case <-anew:
			return true
		case <-ctx.Done():
			return true
		case <-s.ended:
			return true
		}
	}
}
