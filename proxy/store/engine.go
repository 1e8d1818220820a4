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

const (
	// openLimit is how long an engine may take to begin: it reads an index of what waits.
	openLimit = 30 * time.Second
	// answerLimit bounds each exchange with it, if the caller's context does not.
	answerLimit = 5 * time.Second
	// settleLimit is how long Stop waits for messages that are being handled. Those that take
	// longer are handed out again by the process that opens the store next.
	settleLimit = 5 * time.Second
	// absence is how long callers wait for an engine that is not open: another process has
	// it for a moment.
	absence = 2 * time.Second
	// redelivery is after which time a message is handed out again, of whose handling
	// nothing is heard.
	redelivery = 30 * time.Second
)

// dataFolder is where in the folder the server has its files.
const dataFolder = "data"

// Config is what an Engine needs to know.
type Config struct {
	Dir     string        // its folder; created if missing
	Backlog int           // messages of a topic that wait, at most; default: MaxBacklog
	Logger  hclog.Logger  // default: none
	ackWait time.Duration // default: redelivery
	room    func() error  // that the disk has none; default: the disk says so
}

// Engine is a Store on the disk of this machine. It is open between Start and Stop; while
// it is not, each method waits for it for up to two seconds, then is an ErrUnavailable.
type Engine struct {
	cfg    Config
	logger hclog.Logger
	own    local      // leases
	turn   sync.Mutex // held to open and to close

	mu      sync.Mutex // guards the fields below:
	open    *session   // nil: it is not open
	err     error      // why it is not; nil: nobody has started it
	changed chan struct{}
	epoch   string
}

var _ Store = (*Engine)(nil)

// session is an engine between Start and Stop.
type session struct {
	conn    *nats.Conn
	js      jetstream.JetStream
	buckets map[Kind]jetstream.KeyValue
	blobs   jetstream.Stream
	queue   jetstream.Stream
	epoch   string

	leaving  chan struct{} // closed by Stop: no more messages are handed out
	ended    chan struct{} // closed by Stop later: it may do nothing more
	close    func() error  // ends the server
	handling busy
	running  sync.WaitGroup
	wake     chan struct{} // a message is stored that waits for its time
	dir      *state.Dir
	room     func() error // that the disk has none
	written  written
	// publisher stores messages, of many callers together.
	publisher publisher

	trouble sync.Mutex // guards the fields below:
	lost    []string   // what was stored and is not there
	failed  string     // what the server could not write
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

// New returns an engine that is not open.
func New(cfg Config) *Engine {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Backlog == 0 {
		cfg.Backlog = MaxBacklog
	}
	if cfg.ackWait == 0 {
		cfg.ackWait = redelivery
	}
	return &Engine{cfg: cfg, logger: cfg.Logger, changed: make(chan struct{})}
}

// Open is New and Start.
func Open(cfg Config) (*Engine, error) {
	e := New(cfg)
	err := e.Start()
	return e, err
}

// Start opens the engine. A folder that another process has is an ErrConflict that names
// the process. After an error it can be tried again.
func (e *Engine) Start() error {
	e.turn.Lock()
	defer e.turn.Unlock()
	return e.start()
}

func (e *Engine) start() error {
	if s, _, _ := e.state(); s != nil {
		return nil
	}
	s, err := e.begin()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.open, e.err = s, err
	if err != nil {
		return err
	}
	e.epoch = s.epoch
	close(e.changed)
	s.running.Go(func() { e.forward(s) })
	return nil
}

func (e *Engine) begin() (_ *session, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), openLimit)
	defer cancel()
	s := &session{buckets: map[Kind]jetstream.KeyValue{}, leaving: make(chan struct{}), ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	dir, err := state.Open(e.cfg.Dir)
	if err != nil {
		return nil, err
	}
	if s.dir, s.room = dir, dir.Room; e.cfg.room != nil {
		s.room = e.cfg.room
	}
	server, err := startServer(dir.Path(dataFolder), e.logger, s.fail)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the store %s: %w", e.cfg.Dir, err), dir.Close())
	}
	s.close = func() error {
		server.stop()
		return dir.Close()
	}
	s.conn, err = server.connect()
	if err == nil {
		s.js, err = jetstream.New(s.conn, jetstream.WithDefaultTimeout(answerLimit))
	}
	if err == nil {
		err = s.compare(ctx)
	}
	if err == nil {
		err = s.prepare(ctx, 1, e.cfg.Backlog)
	}
	if err == nil {
		err = s.release(ctx)
	}
	if err != nil {
		return nil, errors.Join(fault("open the store "+e.cfg.Dir, err), s.end())
	}
	return s, nil
}

// prepare makes what is missing of streams and buckets.
func (s *session) prepare(ctx context.Context, replicas, backlog int) (err error) {
	s.publisher.js = s.js
	for _, k := range kept {
		if _, err = s.stream(ctx, k.config(replicas)); err != nil {
			return err
		}
		if s.buckets[k.kind], err = s.js.KeyValue(ctx, bucket(k.kind)); err != nil {
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
		_, err = records.Create(ctx, "epoch", is.Value)
	}
	s.epoch = string(is.Value)
	return err
}

// release lets messages be handed out again that a process had taken which was killed: no
// other process has this folder. Otherwise they would hold places until redelivery.
func (s *session) release(ctx context.Context) error {
	names := s.queue.ConsumerNames(ctx)
	for name := range names.Name() {
		if err := s.queue.DeleteConsumer(ctx, name); err != nil {
			return err
		}
	}
	return names.Err()
}

// stream makes a stream, or gives it the limits of this program if it has others. A change
// is written to the disk, and most starts change none.
func (s *session) stream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	is, err := s.js.Stream(ctx, cfg.Name)
	if err == nil && same(is.CachedInfo().Config, cfg) {
		return is, nil
	}
	if err == nil || errors.Is(err, jetstream.ErrStreamNotFound) {
		is, err = s.js.CreateOrUpdateStream(ctx, cfg)
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

// end closes the connection and the server.
func (s *session) end() error {
	close(s.ended)
	s.running.Wait()
	if s.conn != nil {
		s.conn.Close()
	}
	return errors.Join(s.storeMarks(), s.close())
}

// Stop closes the engine, which can be started again. It hands out no more messages, waits
// up to five seconds for those that are being handled, and returns when the disk has all.
func (e *Engine) Stop() error {
	e.turn.Lock()
	defer e.turn.Unlock()
	return e.stop()
}

func (e *Engine) stop() error {
	e.mu.Lock()
	s := e.open
	if e.open = nil; s != nil {
		e.changed = make(chan struct{})
	}
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	close(s.leaving)
	s.handling.wait(settleLimit)
	return s.end()
}

// session returns the open session; it waits a while for one.
func (e *Engine) session(ctx context.Context) (*session, error) {
	if s, _, err := e.state(); s != nil || err != nil {
		return s, err
	}
	late := time.NewTimer(absence)
	defer late.Stop()
	for {
		s, changed, err := e.state()
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late.C:
			return nil, errClosed
		}
	}
}

// state returns the open session, or what is closed when there is one, or why there will
// be none.
func (e *Engine) state() (s *session, changed <-chan struct{}, why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.open, e.changed, e.err
}

var errClosed = proto.Errorf(proto.ErrUnavailable, "the store is not open: another process has it").
	From("store", "closed").WithHint("ask again")

// Epoch implements Store. It is "" until the engine was open.
func (e *Engine) Epoch() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.epoch
}

// Err implements Store.
func (e *Engine) Err() error {
	s, _, err := e.state()
	switch {
	case err != nil:
		return err
	case s == nil:
		return errClosed
	}
	return s.sound()
}

// String implements fmt.Stringer.
func (e *Engine) String() string { return "the store in " + e.cfg.Dir }

// again waits a while before something is tried once more; it returns false when ctx is done.
func again(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
