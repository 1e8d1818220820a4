package programs

import (
	"context"
	"io"
	"os"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
)

// errClosed is for callers that ask for a program after close.
var errClosed = proto.Errorf(proto.ErrUnavailable, "the agent is stopping").WithHint("deploy again when it has been started")

// builds are those that run now. Callers who want the same program share one.
type builds struct {
	tmp  string         // folder for what they make
	work sync.WaitGroup // their goroutines

	mu      sync.Mutex // guards the fields below
	running map[string]*shared
	closed  bool
}

// recipe makes a program in dir, an empty folder of its own, and tells said what
// the tools print.
type recipe func(ctx context.Context, dir string, said io.Writer) (product, error)

// product is a program in a file, and what is to be known of it.
type product struct {
	file     string
	warnings []string
}

// shared is one build for all who wait for it.
type shared struct {
	cancel  context.CancelCauseFunc
	waiting int           // callers; guarded by builds.mu
	done    chan struct{} // closed after the build, with the next two set
	made    product
	err     error

	mu   sync.Mutex // guards the fields below
	said []byte
	more chan struct{} // closed, and made anew, when said has grown
}

// share waits for the program of a key. how builds it, unless a build of the key is
// under way. tell gets the output of the build from its beginning. use gets the
// program, which is removed when all callers have used it. A build without callers
// is canceled.
func (b *builds) share(ctx context.Context, key string, how recipe, tell func(said string), use func(product) error) error {
	s, err := b.join(key, how)
	if err != nil {
		return err
	}
	defer b.release(key, s)
	if err := s.wait(ctx, tell); err != nil {
		return err
	}
	return use(s.made)
}

// join finds the build of a key or begins one.
func (b *builds) join(key string, how recipe) (*shared, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errClosed
	}
	if s := b.running[key]; s != nil {
		s.waiting++
		return s, nil
	}
	dir, err := os.MkdirTemp(b.tmp, "build-")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	s := &shared{cancel: cancel, waiting: 1, done: make(chan struct{}), more: make(chan struct{})}
	b.running[key] = s
	b.work.Go(func() {
		defer os.RemoveAll(dir)
		s.made, s.err = how(ctx, dir, s)
		if s.err != nil { // the next caller tries again
			b.mu.Lock()
			b.remove(key, s)
			b.mu.Unlock()
		}
		close(s.done)
		<-ctx.Done() // until all callers have used the program
	})
	return s, nil
}

// release undoes join. The last caller's release cancels the build.
func (b *builds) release(key string, s *shared) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.waiting--; s.waiting == 0 {
		b.remove(key, s)
		s.cancel(nil)
	}
}

// remove makes the next join of a key begin a new build. The caller holds mu.
func (b *builds) remove(key string, s *shared) {
	if b.running[key] == s {
		delete(b.running, key)
	}
}

// close cancels all builds and waits for them; later ones are refused.
func (b *builds) close() {
	b.mu.Lock()
	b.closed = true
	for _, s := range b.running {
		s.cancel(errClosed)
	}
	b.mu.Unlock()
	b.work.Wait()
}

// wait returns when the build or ctx is done.
func (s *shared) wait(ctx context.Context, tell func(said string)) error {
	told := 0
	for {
		said, more := s.since(told)
		if told += len(said); said != "" {
			tell(said)
		}
		select {
		case <-more:
		case <-s.done:
			if said, _ := s.since(told); said != "" {
				tell(said)
			}
			return s.err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// since is what was said after the first bytes, and a channel that is closed when
// there is more.
func (s *shared) since(told int) (said string, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.said[told:]), s.more
}

// Write implements io.Writer for the build, which bounds what it says.
func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, p...)
	close(s.more)
	s.more = make(chan struct{})
	return len(p), nil
}
