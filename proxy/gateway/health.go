package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The pauses between two looks at a replica where calls fail.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// health is what calls have met at a target, and what its agent says. Where one has
// failed, none are sent while another replica can take them, until a connection comes
// about again.
type health struct {
	away     atomic.Bool  // what its agent says, or does not say, speaks against it
	aside    atomic.Bool  // a call has failed there
	failures atomic.Int32 // in a row: calls that set the target aside, and probes

	mu      sync.Mutex  // guards the fields below:
	timer   *time.Timer // of the next probe; nil: none is due
	cancel  func()      // of the probe that is under way; nil: none is
	retired bool        // it is not probed any longer
	since   time.Time   // when it was set aside
	problem error       // the last one that was met
}

// available says whether calls are sent to the target while there are others: balancing
// and all that is told of replicas ask here.
func (t *target) available() bool { return !t.health.aside.Load() && !t.health.away.Load() }

// told notes whether a replica is available by its row. Where it was not, what calls
// have met there meanwhile is forgotten.
func (t *target) told(available bool) {
	if t.health.away.Swap(!available) && available {
		t.ok()
	}
}

// ok notes that the target has answered.
func (t *target) ok() {
	h := &t.health
	if h.failures.Load() == 0 {
		return
	}
	h.mu.Lock()
	h.failures.Store(0)
	h.back()
	h.mu.Unlock()
	t.gate.Load().look()
}

// fail sets the target aside for a reason: it could not be dialed, or a connection to it
// broke before the call was answered.
func (t *target) fail(why error) {
	h := &t.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.retired || h.aside.Load() {
		return
	}
	h.aside.Store(true)
	h.since, h.problem = time.Now(), why
	h.timer = time.AfterFunc(h.backoff(), t.probe)
}

// backoff counts a failure and returns the pause after it. Targets that failed together
// are not probed together. mu is held.
func (h *health) backoff() time.Duration {
	pause := maxBackoff
	if n := h.failures.Add(1) - 1; n < 8 { // a larger shift could overflow
		pause = min(minBackoff<<n, maxBackoff)
	}
	return pause/2 + rand.N(pause/2)
}

// back ends that the target is set aside. mu is held.
func (h *health) back() {
	h.aside.Store(false)
	if h.timer != nil {
		h.timer.Stop()
		h.timer = nil
	}
	if h.cancel != nil {
		h.cancel()
	}
}

// probe finds out whether the target can be dialed. No caller waits for that.
func (t *target) probe() {
	h := &t.health
	h.mu.Lock()
	if h.timer == nil || h.retired {
		h.mu.Unlock()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialLimit)
	h.cancel = cancel
	h.mu.Unlock()
	conn, err := t.links.dial(ctx)
	if err == nil {
		_ = conn.Close()
	}
	cancel()
	defer t.gate.Load().look()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cancel = nil
	switch {
	case h.timer == nil: // a call was answered meanwhile, or the target is retired
	case err == nil:
		h.back()
	default:
		h.problem = err
		h.timer.Reset(h.backoff())
	}
}

// trouble says why the target is set aside, and since when; nil: it is not.
func (h *health) trouble() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.aside.Load() {
		return nil
	}
	return fmt.Errorf("calls fail there since %s: %w; others are called while there are any, and it is tried again",
		h.since.UTC().Format(time.RFC3339), withoutAddress(h.problem))
}

// retire ends the probes.
func (h *health) retire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retired = true
	h.back()
}

// unsent says whether a call failed so early that the function cannot have seen any of it.
func unsent(err error) bool {
	return isDial(err) || errors.Is(err, errUnsent) || errors.Is(err, errFull)
}

// errUnsent is why a call failed of which no byte was written.
var errUnsent = errors.New("nothing of the call was sent")

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// broken says whether a call failed by its connection, and not by what came over it.
func broken(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errUnsent)
}
