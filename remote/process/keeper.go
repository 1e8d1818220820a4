package process

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// lookEvery is how often the logs are looked at: a process that prints as fast as
// it can writes some 100 MiB in that time.
const lookEvery = 250 * time.Millisecond

// Keeper keeps logs at their size. The zero value is ready to use.
type Keeper struct {
	Logger hclog.Logger // nil: says nothing

	mu   sync.Mutex // guards the below
	logs []*Log
}

// Add puts a log under the keeper's care until it is closed. A log has one keeper.
func (k *Keeper) Add(l *Log) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.logs = append(k.logs, l)
}

// Run keeps the logs until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.look()
		}
	}
}

// look trims each log once and forgets those that are closed or cannot be kept.
func (k *Keeper) look() {
	k.mu.Lock()
	logs := slices.Clone(k.logs)
	k.mu.Unlock()
	var gone []*Log
	for _, l := range logs {
		err := l.trim()
		if err == nil {
			continue
		}
		gone = append(gone, l)
		if !errors.Is(err, os.ErrClosed) && k.Logger != nil {
			k.Logger.Error("a function's output is no longer bounded", "error", err)
		}
	}
	if gone == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.logs = slices.DeleteFunc(k.logs, func(l *Log) bool { return slices.Contains(gone, l) })
}
