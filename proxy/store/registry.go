package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Pauses before a watch or a queue is tried again that has failed.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// registry is the records of a kind in a bucket.
type registry struct {
	kind    Kind
	session func(context.Context) (*session, error)
	always  bool // changes are made in a store, too, that has lost something
}

// Registry implements Store.
func (e *Engine) Registry(kind Kind) Registry { return registry{kind: kind, session: e.session} }

// bucket returns the bucket in an open session.
func (r registry) bucket(ctx context.Context, keys ...string) (*session, jetstream.KeyValue, error) {
	for _, key := range keys {
		if err := CheckKey(key); err != nil {
			return nil, nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	s, err := r.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	b := s.buckets[r.kind]
	if b == nil {
		return nil, nil, proto.Errorf(proto.ErrInvalid, "the store keeps no %s", r.kind)
	}
	return s, b, nil
}

func (r registry) fault(key string, err error) error { return fault(string(r.kind)+" "+key, err) }

func (r registry) conflict(key string) error {
	return proto.Errorf(proto.ErrConflict, "%s: %s was changed meanwhile", r.kind, key)
}

// Get implements Registry.
func (r registry) Get(ctx context.Context, key string) (Entry, error) {
	_, b, err := r.bucket(ctx, key)
	if err != nil {
		return Entry{}, err
	}
	is, err := b.Get(ctx, encode(key))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Entry{}, proto.Errorf(proto.ErrNotFound, "%s: there is no %s", r.kind, key)
	}
	if err != nil {
		return Entry{}, r.fault(key, err)
	}
	return r.entry(key, is)
}

func (r registry) entry(key string, is jetstream.KeyValueEntry) (Entry, error) {
	value, err := unseal(key, is.Value())
	if err != nil {
		return Entry{}, r.fault(key, err)
	}
	return Entry{Key: key, Value: value, Revision: is.Revision(), Time: is.Created()}, nil
}

// List implements Registry.
func (r registry) List(ctx context.Context, prefix string) ([]Entry, error) {
	s, b, err := r.bucket(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openLimit)
	defer cancel()
	w, err := b.WatchFiltered(ctx, filters(prefix), jetstream.IgnoreDeletes())
	if err != nil {
		return nil, r.fault(prefix, err)
	}
	defer func() { _ = w.Stop() }()
	list := []Entry{}
	for {
		select {
		case is := <-w.Updates():
			if is == nil { // that was all, or the connection has ended
				if err := context.Cause(ctx); err != nil {
					return nil, r.fault(prefix, err)
				}
				if s.conn.IsClosed() {
					return nil, errClosed
				}
				slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
				return list, nil
			}
			key, ok := decode(is.Key())
			if !ok {
				continue // another program's
			}
			one, err := r.entry(key, is)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		case <-ctx.Done():
			return nil, r.fault(prefix, ctx.Err())
		case <-s.ended:
			return nil, errClosed
		}
	}
}

// Create implements Registry.
func (r registry) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	return r.put(ctx, key, value, func(b jetstream.KeyValue, data []byte) (uint64, error) {
		return b.Create(ctx, encode(key), data)
	})
}

// Update implements Registry.
func (r registry) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return r.put(ctx, key, value, func(b jetstream.KeyValue, data []byte) (uint64, error) {
		if revision == 0 {
			return 0, jetstream.ErrKeyExists
		}
		return b.Update(ctx, encode(key), data, revision)
	})
}

func (r registry) put(ctx context.Context, key string, value []byte, do func(jetstream.KeyValue, []byte) (uint64, error)) (uint64, error) {
	if len(value) > MaxValue {
		return 0, proto.Errorf(proto.ErrTooLarge, "%s: %s has %d bytes, more than %d", r.kind, key, len(value), MaxValue)
	}
	s, b, err := r.bucket(ctx, key)
	if err == nil && !r.always {
		err = s.sound()
	}
	if err != nil {
		return 0, err
	}
	revision, err := do(b, seal(key, value))
	if changed(err) {
		return 0, r.conflict(key)
	}
	if err != nil {
		return 0, r.fault(key, err)
	}
	s.written.mark("KV_"+bucket(r.kind), revision)
	return revision, nil
}

// changed reports whether a change was refused since there is another revision.
func changed(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}

// Delete implements Registry.
func (r registry) Delete(ctx context.Context, key string, revision uint64) error {
	for {
		is, err := r.Get(ctx, key)
		switch {
		case errors.Is(err, proto.ErrNotFound):
			return nil
		case err != nil:
			return err
		case is.Revision != revision:
			return r.conflict(key)
		}
		s, b, err := r.bucket(ctx, key)
		if err == nil {
			err = s.mended()
		}
		if err != nil {
			return err
		}
		err = b.Purge(ctx, encode(key), jetstream.LastRevision(revision), jetstream.PurgeTTL(tombstone))
		if !changed(err) {
			return r.fault(key, err)
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
		if !again(ctx, pause) {
			return ctx.Err()
		}
	}
}

// watch calls changed after changes until ctx is done or the engine is closed; it reports
// whether it came to watch.
func (r registry) watch(ctx context.Context, prefix string, changed func()) bool {
	s, b, err := r.bucket(ctx)
	if err != nil {
		return false
	}
	w, err := b.WatchFiltered(ctx, filters(prefix), jetstream.MetaOnly())
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
			}
			if told { // once too often is no harm; changes since changed was called first count
				changed()
			}
		case <-ctx.Done():
			return true
		case <-s.ended:
			return true
		}
	}
}
