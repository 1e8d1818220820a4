package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// leaseLimit is after how long without a sign of its holder a lease is another's.
const leaseLimit = 10 * time.Second

// local is the leases of a process, of which each name has one holder.
type local struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when it is free
}

// take returns once this caller holds a name, and how it is given up.
func (l *local) take(ctx context.Context, name string) (free func(), err error) {
	for {
		l.mu.Lock()
		busy := l.held[name]
		if busy == nil {
			mine := make(chan struct{})
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			l.held[name] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.held, name)
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Lead implements Store. A folder has one process, so that its leases need no sign of life: a
// term is written once. It ends when the engine is closed, since another process leads then.
func (e *Engine) Lead(ctx context.Context, name string, lead func(context.Context, uint64)) error {
	if err := CheckKey(name); err != nil {
		return err
	}
	for pause := firstPause; ; {
		free, err := e.own.take(ctx, name)
		if err != nil {
			return err
		}
		err = e.lead(ctx, name, lead)
		free()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch {
		case err == nil:
			pause = firstPause
			continue
		case errors.Is(err, errLed):
			pause = leasePause
		case pause == firstPause:
			e.logger.Warn("nobody leads; it is tried again", "name", name, "error", err)
		}
		again(ctx, jittered(pause))
		pause = min(2*pause, lastPause)
	}
}

// lead calls lead once, with the next term.
func (e *Engine) lead(ctx context.Context, name string, lead func(context.Context, uint64)) error {
	s, err := e.session(ctx)
	if err != nil {
		return err
	}
	if s.many {
		return s.lead(ctx, name, lead)
	}
	records := registry{kind: leases, session: s.itself, always: true}
	var term uint64
	for {
		is, err := records.Get(ctx, name)
		switch {
		case errors.Is(err, proto.ErrNotFound):
			term, err = records.Create(ctx, name, nil)
		case err == nil:
			term, err = records.Update(ctx, name, nil, is.Revision)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, proto.ErrConflict) {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-s.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	lead(ctx, term)
	cancel()
	<-watched
	return nil
}
