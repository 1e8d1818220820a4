package acme

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// lastLock is how long the end of a Manager waits for locks that are just being taken. A
// file system needs some milliseconds for one.
const lastLock = time.Second

// locks is a storage that knows which locks this process has: what a process leaves behind
// that ends, or becomes another program, keeps the next one waiting until it is old, for
// ten seconds.
type locks struct {
	certmagic.Storage
	taking sync.WaitGroup

	mu    sync.Mutex // guards the fields below:
	held  map[string]bool
	ended bool
}

func newLocks(of certmagic.Storage) *locks { return &locks{Storage: of, held: make(map[string]bool)} }

// Lock implements certmagic.Locker.
func (l *locks) Lock(ctx context.Context, name string) error {
	if !l.begin() {
		return context.Canceled
	}
	defer l.taking.Done()
	if err := l.Storage.Lock(ctx, name); err != nil {
		return err
	}
	l.mu.Lock()
	late := l.ended
	if !late {
		l.held[name] = true
	}
	l.mu.Unlock()
	if !late {
		return nil
	}
	return errors.Join(context.Canceled, l.Storage.Unlock(context.WithoutCancel(ctx), name))
}

func (l *locks) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.taking.Add(1)
	}
	return !l.ended
}

// Unlock implements certmagic.Locker. A lock that was given back already may be another
// process's by now.
func (l *locks) Unlock(ctx context.Context, name string) error {
	l.mu.Lock()
	held := l.held[name]
	delete(l.held, name)
	l.mu.Unlock()
	if !held {
		return nil
	}
	return l.Storage.Unlock(ctx, name)
}

// end gives all locks back. What needed them is canceled. One that is taken later than
// lastLock gives itself back, if the process lasts.
func (l *locks) end(ctx context.Context) {
	l.mu.Lock()
	l.ended = true
	held := slices.Collect(maps.Keys(l.held))
	clear(l.held)
	l.mu.Unlock()
	for _, name := range held {
		_ = l.Storage.Unlock(ctx, name) // else the next process waits
	}
	taken := make(chan struct{})
	go func() {
		defer close(taken)
		l.taking.Wait()
	}()
	select {
	case <-taken:
	case <-time.After(lastLock):
	}
}
