package accesslog

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// batch is how many bytes of lines are written at once, unless a second passes before.
	batch = 64 << 10
	// backlog is how many bytes of lines wait while the disk is busy: some thousand.
	backlog = 1 << 20
	period  = time.Second
	// lastWrite is how long the last lines may take at the end. A pipe that nobody reads
	// would take them never.
	lastWrite = 2 * time.Second
	// MinSize is the least Size of a file, in bytes: one write may have as much.
	MinSize = backlog
)

// Config is what a log needs.
type Config struct {
	Path   string       // of the file; created for its owner alone
	To     io.Writer    // instead of a file
	Sample float64      // the part of the calls that is logged, 0 to 1
	Size   int64        // at which the file is rotated, in bytes, at least MinSize
	Keep   int          // how many files are kept besides
	Logger hclog.Logger // is told when lines cannot be written

	Period time.Duration // within which a line is written; default: a second
}

// Log is an access log.
type Log struct {
	cfg     Config
	sink    sink // of the goroutine that writes
	dropped atomic.Uint64
	full    chan struct{} // holds a value when there is a batch; has room for one
	runs    atomic.Bool

	mu    sync.Mutex // guards the field below:
	lines []byte     // that wait
}

// Open opens the log of a configuration. Run writes it.
func Open(cfg Config) (*Log, error) {
	cfg.Period = cmp.Or(cfg.Period, period)
	l := &Log{cfg: cfg, full: make(chan struct{}, 1), lines: make([]byte, 0, backlog)}
	l.sink = sink{to: cfg.To, limit: cfg.Size, keep: cfg.Keep}
	if cfg.To == nil {
		if err := l.sink.begin(cfg.Path); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Sampled says whether a call is logged, by chance.
func (l *Log) Sampled() bool { return l.cfg.Sample >= 1 || rand.Float64() < l.cfg.Sample }

// Dropped returns how many lines were not written.
func (l *Log) Dropped() uint64 { return l.dropped.Load() }

// Add adds a line, which ends with a line feed. It copies the line and does not wait.
func (l *Log) Add(line []byte) {
	l.mu.Lock()
	if len(l.lines)+len(line) > backlog {
		l.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	l.lines = append(l.lines, line...)
	enough := len(l.lines) >= batch
	l.mu.Unlock()
	if enough {
		select {
		case l.full <- struct{}{}:
		default:
		}
	}
}

// Run writes lines until ctx is done, and those that wait then, and closes the file. It
// is called once. What takes no lines any longer is not waited for.
func (l *Log) Run(ctx context.Context) {
	l.runs.Store(true)
	written := make(chan struct{})
	go func() {
		defer close(written)
		l.write(ctx)
	}()
	<-ctx.Done()
	select {
	case <-written:
	case <-time.After(lastWrite):
		l.cfg.Logger.Warn("the last lines of the access log are lost: nothing takes them")
	}
}

func (l *Log) write(ctx context.Context) {
	defer l.sink.close()
	tick := time.NewTicker(l.cfg.Period)
	defer tick.Stop()
	spare := make([]byte, 0, backlog)
	failing := false
	for last := false; !last; {
		select {
		case <-ctx.Done():
			last = true
		case <-l.full:
		case <-tick.C:
		}
		l.mu.Lock()
		l.lines, spare = spare[:0], l.lines
		l.mu.Unlock()
		if len(spare) == 0 {
			continue
		}
		n, err := l.sink.write(spare)
		l.dropped.Add(uint64(bytes.Count(spare[n:], []byte{'\n'})))
		switch {
		case err != nil && !failing:
			l.cfg.Logger.Error("the access log is not written; its lines are dropped until it is", "error", err)
		case err == nil && failing:
			l.cfg.Logger.Info("the access log is written again", "dropped", l.Dropped())
		}
		failing = err != nil
	}
}

// Close closes the file if Run does not.
func (l *Log) Close() {
	if !l.runs.Load() {
		l.sink.close()
	}
}
