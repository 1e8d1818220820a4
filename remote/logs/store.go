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
	// gather is how long the first of some events waits for others: lines of that
	// time share the cost of reading. It also bounds the rate of a flood.
	gather = 10 * time.Millisecond
	// quiet is after how long the beginning of a line is taken for all of it.
	quiet = time.Second
	// lookEvery is how often the age of lines is looked at.
	lookEvery = time.Hour

	bytesKept = 10 << 20
	bytesMin  = 1 << 20
	ageKept   = 7 * 24 * time.Hour
)

// Config is what a Store keeps.
type Config struct {
	Bytes  int64         // of lines of a function, with what is stored beside them; default 10 MiB, at least 1 MiB
	Age    time.Duration // of a line; default 7 days
	Logger hclog.Logger  // nil: says nothing

	now func() time.Time
}

// Store keeps the lines of all functions of an agent. All methods may be called
// concurrently. Those that need what was printed last to be read, or that change
// what is read, wait for Run to begin.
type Store struct {
	dir    string
	cfg    Config
	orders chan func()
	ended  chan struct{} // closed when Run has returned

	// The below belong to Run.
	raws       map[string]*raw // by the names of their files
	busy       []*raw          // may have grown, in that order
	unended    []*raw          // end with the beginning of a line
	round      *time.Timer     // for busy
	armed      bool            // round is
	patience   *time.Timer     // for unended
	chunks     [2][]byte       // what is being read
	watch      *watch          // of the raw files; nil before Run
	encoded    []byte          // what is being stored
	complained time.Time       // when it was last said that lines cannot be stored

	mu       sync.Mutex // guards the below
	journals map[string]*journal
	newest   int64 // id of a source
}

// Open takes up what is in dir, which it makes if need be. A folder has one Store
// at a time.
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
		dir: dir, cfg: cfg, orders: make(chan func()), ended: make(chan struct{}),
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

// resume takes up the raw files of an earlier agent.
func (s *Store) resume() error {
	entries, err := os.ReadDir(s.rawDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		r, ok := parseRaw(e.Name())
		if !ok {
			s.cfg.Logger.Warn("a file is none of a process", "file", filepath.Join(s.rawDir(), e.Name()))
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

// Unread is the folder of what processes print, and how much of the disk each of its
// files may take while nobody reads them. The caller closes it. A Store that runs
// keeps them smaller.
func (s *Store) Unread() (dir *os.File, limit int64, err error) {
	dir, err = os.Open(s.rawDir())
	return dir, 2 * s.cfg.Bytes, err
}

// find sets where a raw file is to be read on. What lies before may have been given
// back while no agent ran, or by one that was killed while the disk was full.
func (s *Store) find(r *raw, j *journal) error {
	file, err := os.Open(s.rawPath(r))
	if err != nil {
		return err
	}
	defer file.Close()
	r.pos = j.ends[r.source]
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
	defer close(s.ended)
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
			hint = nil // what has changed is looked at with the next round
		}
		select {
		case <-ctx.Done():
			return nil
		case order := <-s.orders:
			order()
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
			s.takeUnended()
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

// do has Run call f between two turns of reading, and waits for it.
func (s *Store) do(f func()) error {
	done := make(chan struct{})
	select {
	case s.orders <- func() { defer close(done); f() }:
		<-done
		return nil
	case <-s.ended:
		return errEnding()
	}
}

func errEnding() error {
	return proto.Errorf(proto.ErrUnavailable, "the agent is ending and reads no more output")
}

// bound drops what is too old.
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

// journal returns that of a function. Callers ask for functions that exist; one
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
		return nil, fmt.Errorf("take up the lines of function %s: %w", function, err)
	}
	return j, nil
}

// Remove forgets a function, none of whose processes runs any more. Those that
// follow it come to their end.
func (s *Store) Remove(function string) error {
	j, err := s.journal(function)
	if err != nil {
		return err
	}
	var removeErr error
	err = s.do(func() {
		for _, r := range slices.Clone(j.raws) {
			s.drop(r)
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

// Lost is how many lines of a function have been lost since the Store was opened.
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
