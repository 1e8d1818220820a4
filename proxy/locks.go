package proxy

import (
	"context"
	"sync"
)

// locks are mutexes by key. A caller can cancel its wait for one. The zero value is
// ready to use.
type locks struct {
	mu   sync.Mutex               // guards the field below:
	held map[string]chan struct{} // closed when the mutex is released
}

func (l *locks) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		released, held := l.held[key]
		if !held {
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			released = make(chan struct{})
			l.held[key] = released
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				close(released)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-released:
		}
	}
}
