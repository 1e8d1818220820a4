// Package rates bounds how often callers may do something, each for itself.
//
// It imports the standard library alone and may be used by every program.
package rates

import (
	"sync"
	"time"
)

// Limiter lets each caller do something Burst times at once, and gives it one of these
// back after each Every (the generic cell rate algorithm of ITU-T I.371).
type Limiter struct {
	Every time.Duration // longer than 0
	Burst int           // at least 1
	Most  int           // callers that are remembered, at least 1

	mu sync.Mutex
	// full says when a caller has all of its burst again. One that is not there has it.
	full map[string]time.Time // mu guards it
}

// Take counts once for a caller. It returns how long the caller must wait before it is
// counted again, 0 if it was counted now.
func (l *Limiter) Take(caller string, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full, known := l.full[caller]
	if full.Before(now) {
		full = now
	}
	full = full.Add(l.Every)
	if wait = full.Sub(now) - time.Duration(l.Burst)*l.Every; wait > 0 {
		return wait
	}
	if l.full == nil {
		l.full = make(map[string]time.Time)
	}
	if !known && len(l.full) >= l.Most {
		l.forget()
	}
	l.full[caller] = full
	return 0
}

// forget makes room for one caller. Of a few, which the order of a map chooses at random,
// it removes the one that has its burst first: to look at all would let strangers with
// many addresses slow down everybody. Nothing is lost with one that has its burst again,
// and little with one that nearly has; those that ask too much have it last.
func (l *Limiter) forget() {
	const few = 16
	var first string
	looked := 0
	for caller, full := range l.full {
		if first == "" || full.Before(l.full[first]) {
			first = caller
		}
		if looked++; looked == few {
			break
		}
	}
	delete(l.full, first)
}
