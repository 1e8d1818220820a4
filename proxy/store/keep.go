package store

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/Ishan27g/ryo-faas/proto"
)

// keepPause is how often it is tried to open an engine elsewhere that did not answer.
const keepPause = 2 * time.Second

// keep looks after an engine elsewhere until ctx is done: it opens one that did not answer, begins
// anew with one that is another one since it was lost, and removes what killed processes left
// of blobs.
func (e *Engine) keep(ctx context.Context) {
	var known *session
	found, swept := uint64(0), time.Now()
	for again(ctx, jittered(keepPause)) {
		s, wanted := e.now()
		if s == nil {
			if wanted {
				e.reopen(nil)
			}
			continue
		}
		_, times := s.links.anew()
		if known != s {
			known, found = s, times
		}
		if times != found && s.links.err(s.place) == nil {
			another, err := s.another(ctx)
			switch {
			case err != nil:
				continue
			case another:
				e.logger.Error("the engine is another one than before: what it had is not in it, and agents keep what they run", "engine", s.place)
				e.reopen(s)
				continue
			}
			found = times
		}
		if time.Since(swept) > sweepPause {
			swept = time.Now()
			if err := s.sweep(ctx, sweepPause); err != nil && ctx.Err() == nil && !s.over() {
				e.logger.Warn("what killed processes left of blobs is not removed", "error", err)
			}
		}
	}
}

// now returns the open session, and whether there should be one.
func (e *Engine) now() (s *session, wanted bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.open, e.wanted
}

// another reports whether the engine's content is not that which the session began with.
func (s *session) another(ctx context.Context) (bool, error) {
	is, err := registry{kind: meta, session: s.itself}.Get(ctx, "epoch")
	if errors.Is(err, proto.ErrNotFound) || code(err) == jetstream.JSErrCodeStreamNotFound {
		return true, nil
	}
	return err == nil && string(is.Value) != s.epoch, err
}

// reopen opens the engine in the place of a session, unless it was closed meanwhile.
func (e *Engine) reopen(was *session) {
	e.turn.Lock()
	defer e.turn.Unlock()
	if s, wanted := e.now(); s != was || !wanted {
		return
	}
	if err := e.stop(); err != nil {
		e.logger.Warn("the store has not closed well", "error", err)
	}
	_, _, before := e.state()
	err := e.start()
	switch {
	case err == nil:
		e.logger.Info("the engine answers", "engine", e.String())
	case before == nil || before.Error() != err.Error():
		e.logger.Error("nothing is stored, since the engine does not answer", "error", err)
	}
}
