package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// gather is how long a round waits after the first event: all lines of that time
	// share the cost of reading. It also bounds the rate of a flood.
	gather = 10 * time.Millisecond
	// quiet is how long a partial line waits for more before it is taken.
	quiet = time.Second
	// lookEvery is how often old lines are removed.
	lookEvery = time.Hour

	bytesKept = 10 << 20
	bytesMin  = 1 << 20
	ageKept   = 7 * 24 * time.Hour
)

// Config says how much a Store keeps.
type Config struct {
	Bytes  int64         // of a function's journal; default 10 MiB, at least 1 MiB
	Age    time.Duration // of a line; default 7 days
	Logger hclog.Logger  // nil: none

	now func() time.Time
}

// Store keeps the lines of all functions of an agent. All methods may be called
// concurrently. Those that read what was printed last, or that change what is read,
// wait for Run to begin.
type Store struct {
	dir  string
	cfg  Config
	work chan func()   // for Run
	done chan struct{} // closed when Run has returned

	// Run owns the fields below:
	raws       map[string]*raw // by the names of their files
	busy       []*raw          // may have grown, in that order
	partial    []*raw          // end with a partial line
	round      *time.Timer     // for busy
	armed      bool            // round is set
	patience   *time.Timer     // for partial
	chunks     [2][]byte       // what is being read
	watch      *watch          // of the raw files; nil before Run
	encoded    []byte          // what is being stored
	complained time.Time       // when it was last logged that lines cannot be stored

	// mu guards the fields below:
	mu       sync.Mutex
	journals map[string]*journal
	newest   int64 // source id
}

// Open opens the folder dir, which it makes if it is missing. Only one Store may have it
// open at a time.
func Open(dir string, cfg Config) (*Store, error) {
	cfg.Bytes = max(cmp.Or(cfg.Bytes, bytesKept), bytesMin)
	cfg.Age = cmp.Or(cfg.Age, ageKept)
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	s := &Store{
		dir: dir, cfg: cfg, work: make(chan func()), done: make(chan struct{}),
		raws: make(map[string]*raw), round: time.NewTimer(0), armed: true, patience: time.NewTimer(quiet),
		journals: make(map[string]*journal),
	}
	if err := errors.Join(os.MkdirAll(s.rawDir(), 0o700), os.MkdirAll(s.linesDir(), 0o700)); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(s.linesDir())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		s.journals[e.Name()] = newJournal(filepath.Join(s.linesDir(), e.Name()), cfg.Bytes)
	}
	if err := s.resume(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) rawDir() string { return filepath.Join(s.dir, "raw") }

func (s *Store) linesDir() string { return filepath.Join(s.dir, "lines") }

// resume adds the raw files of an earlier agent.
func (s *Store) resume() error {
	entries, err := os.ReadDir(s.rawDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		r, ok := parseRaw(e.Name())
		if !ok {
			s.cfg.Logger.Warn("a file is not the output of a process", "file", filepath.Join(s.rawDir(), e.Name()))
			continue
		}
		j, err := s.journal(r.function)
		if err != nil {
			return err
		}
		if err := s.find(r, j); err != nil {
			return err
		}
		s.add(r, j)
	}
	return nil
}

// Unread is the folder of raw files, and how much of the disk each of them may take
// while no agent reads it. The caller closes dir. A Store that runs keeps them smaller.
func (s *Store) Unread() (dir *os.File, limit int64, err error) {
	dir, err = os.Open(s.rawDir())
	return dir, 2 * s.cfg.Bytes, err
}

// find sets where reading a raw file goes on. The holder may have freed more while no
// agent ran, or an agent that was killed while the disk was full.
func (s *Store) find(r *raw, j *journal) error {
	file, err := os.Open(s.rawPath(r))
	if err != nil {
		return err
	}
	defer file.Close()
	r.pos = j.readTo[r.source]
	hole, err := holeAt(file, r.pos)
	if err != nil {
		return err
	}
	if hole > 0 {
		j.lose(loss{lines: 1, bytes: uint64(hole), why: unread})
	}
	r.pos += hole
	return nil
}

// Run reads what processes print, until ctx ends. It is called once.
func (s *Store) Run(ctx context.Context) error {
	defer close(s.done)
	defer s.round.Stop()
	defer s.patience.Stop()
	ctx, cancel := context.WithCancel(ctx)
	watch, err := newWatch(s.rawDir())
	if err != nil {
		cancel()
		return fmt.Errorf("watch %s: %w", s.rawDir(), err)
	}
	var waiter sync.WaitGroup
	defer waiter.Wait()
	defer watch.close()
	s.watch = watch
	defer cancel()
	changed := make(chan error)
	waiter.Go(func() {
		for err := error(nil); err == nil; {
			err = watch.wait()
			select {
			case changed <- err:
			case <-ctx.Done():
				return
			}
		}
	})
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	s.bound()
	for {
		hint := changed
		if s.armed {
			hint = nil // the next round looks at all changes
		}
		select {
		case <-ctx.Done():
			return nil
		case do := <-s.work:
			do()
		case err := <-hint:
			if err != nil {
				return fmt.Errorf("watch %s: %w", s.rawDir(), err)
			}
			s.arm()
		case <-s.round.C:
			s.armed = false
			if err := s.look(); err != nil {
				return err
			}
			s.read()
		case <-s.patience.C:
			s.takePartial()
		case <-look.C:
			s.bound()
		}
	}
}

// arm sets the time of the next round.
func (s *Store) arm() {
	if !s.armed {
		s.armed = true
		s.round.Reset(gather)
	}
}

// do makes Run call f between two turns of reading, and waits until it has returned.
func (s *Store) do(f func()) error {
	done := make(chan struct{})
	select {
	case s.work <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-s.done:
		return errStopped()
	}
}

func errStopped() error {
	return proto.Errorf(proto.ErrUnavailable, "the agent is stopping and reads no more output")
}

// bound removes lines that are too old.
func (s *Store) bound() {
	s.mu.Lock()
	journals := make([]*journal, 0, len(s.journals))
	for _, j := range s.journals {
		journals = append(journals, j)
	}
	s.mu.Unlock()
	for _, j := range journals {
		if err := j.load(); err != nil {
			s.cfg.Logger.Error("lines cannot be read", "error", err)
			continue
		}
		s.boundOne(j)
	}
}

func (s *Store) boundOne(j *journal) {
	if err := j.bound(s.cfg.now().Add(-s.cfg.Age)); err != nil {
		s.cfg.Logger.Error("old lines cannot be removed", "error", err)
	}
}

// journal returns the journal of a function. Callers ask for functions that exist; one
// that has not printed yet takes no room on the disk.
func (s *Store) journal(function string) (*journal, error) {
	if err := proto.CheckName(function); err != nil {
		return nil, err
	}
	path := proto.Path(function)
	s.mu.Lock()
	j := s.journals[path]
	if j == nil {
		j = newJournal(filepath.Join(s.linesDir(), path), s.cfg.Bytes)
		s.journals[path] = j
	}
	s.mu.Unlock()
	if err := j.load(); err != nil {
		return nil, fmt.Errorf("open the lines of function %s: %w", function, err)
	}
	return j, nil
}

// Remove removes the lines of a function that has no process any more. Its followers
// return.
func (s *Store) Remove(function string) error {
	j, err := s.journal(function)
	if err != nil {
		return err
	}
	var removeErr error
	err = s.do(func() {
		for _, r := range slices.Clone(j.raws) {
			s.removeRaw(r)
		}
		removeErr = os.RemoveAll(j.dir)
		s.mu.Lock()
		delete(s.journals, proto.Path(function))
		s.mu.Unlock()
		j.mu.Lock()
		defer j.mu.Unlock()
		j.segments, j.removed = nil, true
		j.wake()
	})
	return cmp.Or(err, removeErr)
}

// Lost is how many lines of a function were lost since Open.
func (s *Store) Lost(function string) uint64 {
	s.mu.Lock()
	j := s.journals[proto.Path(function)]
	s.mu.Unlock()
	if j == nil {
		return 0
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lost
}
