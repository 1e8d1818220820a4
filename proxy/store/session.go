package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
)

// session is an engine between Start and Stop.
type session struct {
	conn    *nats.Conn
	js      jetstream.JetStream
	logger  hclog.Logger
	buckets map[Kind]jetstream.KeyValue
	blobs   jetstream.Stream
	queue   jetstream.Stream
	epoch   string

	leaving  chan struct{} // closed by Stop: no more messages are handed out
	ended    chan struct{} // closed by Stop later: it may do nothing more
	close    func() error  // ends the server; nil: it is not ours
	handling busy
	running  sync.WaitGroup
	wake     chan struct{} // a message is stored that waits for its time
	dir      *state.Dir    // nil: it has none
	room     func() error  // that the disk has none; nil: it is not ours
	// many says that other processes have the engine, too, and several machines.
	many  bool
	place string // of the engine, for people
	links links  // to it, if it is not ours
	fresh fresh

	written written
	// publisher stores messages, of many callers together.
	publisher publisher

	trouble sync.Mutex // guards the fields below:
	lost    []string   // what was stored and is not there
	failed  string     // what the server could not write
}

func newSession(logger hclog.Logger) *session {
	return &session{logger: logger, buckets: map[Kind]jetstream.KeyValue{}, leaving: make(chan struct{}), ended: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// busy counts what is under way.
type busy struct {
	mu   sync.Mutex // guards the fields below:
	n    int
	none chan struct{} // closed when n gets 0; nil: nobody waits
}

func (b *busy) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n += n; b.n == 0 && b.none != nil {
		close(b.none)
		b.none = nil
	}
}

// wait returns when nothing is under way, or after a limit.
func (b *busy) wait(limit time.Duration) {
	b.mu.Lock()
	if b.n == 0 {
		b.mu.Unlock()
		return
	}
	if b.none == nil {
		b.none = make(chan struct{})
	}
	none := b.none
	b.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-none:
	case <-timer.C:
	}
}

// prepare makes what is missing of streams and buckets.
func (s *session) prepare(ctx context.Context, replicas, backlog int) (err error) {
	s.publisher.js, s.publisher.limit = s.js, answerLimit
	if s.many {
		s.publisher.limit = tryLimit
	}
	for _, k := range kept {
		if _, err = s.stream(ctx, k.config(replicas)); err != nil {
			return err
		}
		err = s.try(ctx, false, func(ctx context.Context) (err error) {
			s.buckets[k.kind], err = s.js.KeyValue(ctx, bucket(k.kind))
			return err
		})
		if err != nil {
			return err
		}
	}
	if s.queue, err = s.stream(ctx, queueConfig(replicas, backlog)); err != nil {
		return err
	}
	if s.blobs, err = s.stream(ctx, blobsConfig(replicas)); err != nil {
		return err
	}
	records := registry{kind: meta, session: s.itself, always: true}
	is, err := records.Get(ctx, "epoch")
	if errors.Is(err, proto.ErrNotFound) {
		is.Value = []byte(rand.Text())
		if _, err = records.Create(ctx, "epoch", is.Value); errors.Is(err, proto.ErrConflict) {
			is, err = records.Get(ctx, "epoch") // another process was first
		}
	}
	s.epoch = string(is.Value)
	return err
}

// stream makes a stream, or gives it the limits of this program if it has others. A change
// is written to the disk, and most starts change none.
func (s *session) stream(ctx context.Context, cfg jetstream.StreamConfig) (is jetstream.Stream, err error) {
	err = s.try(ctx, false, func(ctx context.Context) (err error) {
		is, err = s.js.Stream(ctx, cfg.Name)
		return err
	})
	if err == nil && same(is.CachedInfo().Config, cfg) {
		return is, nil
	}
	if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) {
		err = s.try(ctx, false, func(ctx context.Context) (err error) {
			is, err = s.js.CreateOrUpdateStream(ctx, cfg)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.Name, err)
	}
	return is, nil
}

// same reports whether a stream is as it should be, in all that this program says of one.
func same(is, want jetstream.StreamConfig) bool {
	is.Metadata = nil // of the server
	for _, limit := range []*int64{&want.MaxMsgs, &want.MaxMsgsPerSubject} {
		if *limit == 0 {
			*limit = -1
		}
	}
	if want.MaxConsumers == 0 {
		want.MaxConsumers = -1
	}
	return reflect.DeepEqual(is, want)
}

// end closes the connection, and the server if it is ours.
func (s *session) end() error {
	close(s.ended)
	s.running.Wait()
	if s.conn != nil {
		s.conn.Close()
	}
	if s.close == nil {
		return nil
	}
	return errors.Join(s.storeMarks(), s.close())
}
