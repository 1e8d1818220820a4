package queue

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// Gateway is how functions are called.
type Gateway interface {
	Function(path string) (gateway.Function, bool)
	Accept(w http.ResponseWriter, r *http.Request, take func(w http.ResponseWriter, a *gateway.Accepted) error)
	Dispatch(ctx context.Context, w http.ResponseWriter, d *gateway.Dispatch) gateway.Outcome
	Refuse(w http.ResponseWriter, r *http.Request, err error)
}

var _ Gateway = (*gateway.Gateway)(nil)

// Config is what a queue needs to know.
type Config struct {
	Store   store.Store
	Gateway Gateway
	// Admit says why the caller of a request may not call a function, nil when it may.
	Admit func(r *http.Request, name string, public bool) error
	// Callbacks are networks where callbacks may go though they are not of the internet.
	Callbacks []netip.Prefix
	Backoff   time.Duration // before the first retry; default: a second
	Logger    hclog.Logger  // default: none
}

// The prefixes of topics.
const (
	callTopics     = "calls"
	callbackTopics = "callbacks"
)

// Queue makes calls later. Its methods may be called from several goroutines.
type Queue struct {
	Config
	store  store.Store
	hints  chan string // topics that may have messages
	counts counts
	told   outcomes
	tell   *http.Client // for callbacks
	secret secret

	mu    sync.Mutex                         // guards the fields below:
	under map[string]context.CancelCauseFunc // the calls that run here, by their ids
	pools map[string]*pool                   // by the paths of functions
}

// New returns a queue. Run makes its calls.
func New(cfg Config) *Queue {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	cfg.Backoff = cmp.Or(cfg.Backoff, firstBackoff)
	q := &Queue{Config: cfg, store: cfg.Store, hints: make(chan string, 64), under: make(map[string]context.CancelCauseFunc), pools: make(map[string]*pool)}
	q.tell = q.callbackClient()
	return q
}

// errStopped is why a call is canceled whose proxy ends: another proxy, or the next one,
// makes it again.
var errStopped = proto.Errorf(proto.ErrCanceled, "the proxy that made the call was stopped")

// errCanceled is why a call is canceled.
var errCanceled = proto.Errorf(proto.ErrCanceled, "the call was canceled")

// wait waits for a time, unless ctx is done before, and reports whether it did.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
