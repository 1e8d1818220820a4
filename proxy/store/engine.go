package store

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

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
	// stopLimit is how long a server may take to end: what it has acknowledged is on the disk,
	// and a process that ends before loses nothing.
	stopLimit = 10 * time.Second
	// redelivery is after which time a message is handed out again, of whose handling
	// nothing is heard.
	redelivery = 30 * time.Second
)

// dataFolder is where in the folder the server has its files.
const dataFolder = "data"

// Config is what an Engine needs to know.
type Config struct {
	Dir     string        // its folder; created if missing
	Cluster *Cluster      // an engine elsewhere, instead of one in the folder
	Backlog int           // messages of a topic that wait, at most; default: MaxBacklog
	Logger  hclog.Logger  // default: none
	ackWait time.Duration // default: redelivery
	room    func() error  // that the disk has none; default: the disk says so
}

// Engine is a Store on the disk of this machine, or on those of several. It is open between
// Start and Stop; while it is not, each method waits for it for up to two seconds, then is an
// ErrUnavailable.
type Engine struct {
	cfg    Config
	logger hclog.Logger
	own    local      // leases
	turn   sync.Mutex // held to open and to close

	mu      sync.Mutex // guards the fields below:
	open    *session   // nil: it is not open
	err     error      // why it is not; nil: nobody has started it
	wanted  bool       // it was started, and not stopped
	giveUp  func()     // ends an attempt to open it; nil: there was none
	changed chan struct{}
	epoch   string
}

var _ Store = (*Engine)(nil)

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
// the process. After an error it can be tried again; Run does so with an engine elsewhere.
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
	e.open, e.err, e.wanted = s, err, true
	if err != nil {
		return err
	}
	e.epoch = s.epoch
	close(e.changed)
	s.running.Go(func() { e.forward(s) })
	return nil
}

// begin opens a session.
func (e *Engine) begin() (*session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openLimit)
	defer cancel()
	e.mu.Lock()
	e.giveUp = cancel
	e.mu.Unlock()
	if e.cfg.Cluster != nil {
		return e.join(ctx)
	}
	return e.unlock(ctx)
}

// Stop closes the engine, which can be started again. It hands out no more messages, waits
// up to five seconds for those that are being handled, and returns when the disk has all.
func (e *Engine) Stop() error {
	e.mu.Lock()
	if e.wanted = false; e.giveUp != nil {
		e.giveUp()
	}
	e.mu.Unlock()
	e.turn.Lock()
	defer e.turn.Unlock()
	return e.stop()
}

func (e *Engine) stop() error {
	e.mu.Lock()
	s := e.open
	if e.open, e.wanted = nil, false; s != nil {
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
	if s.many {
		return s.links.err(s.place)
	}
	return s.sound()
}

// String implements fmt.Stringer.
func (e *Engine) String() string {
	if e.cfg.Cluster != nil {
		return e.cfg.Cluster.place()
	}
	return "the store in " + e.cfg.Dir
}

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
