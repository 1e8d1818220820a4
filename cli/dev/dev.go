package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// quiet is the time without changes before the sources are looked at: editors and
	// checkouts write more than one file.
	quiet = 25 * time.Millisecond
	// unquiet is how long further changes may delay that.
	unquiet = 500 * time.Millisecond
	// slow is the time after which a build is explained.
	slow = 3 * time.Second
	// headerLimit is the time that a caller may take to send a header.
	headerLimit = 5 * time.Second
)

// Config says what is served, and how.
type Config struct {
	// Function has the package's folder, absolute, in Dir, and the settings that dev
	// knows: Name, Kind, Target, Env, Tags and Ldflags. Without a name all functions of the
	// package are served.
	Function *proto.FunctionJson
	Shown    string       // the folder as the user knows it
	Listener net.Listener // of the calls; Run closes it
	Host     string       // host:port that callers use
	Output   io.Writer    // takes what the functions print
	NoReload bool         // pages are left as they are
	Say      func(text string)
	Called   func(Call)
	// Report shows an error and returns it as plain text, for callers. Report, Say and
	// Called may be called concurrently.
	Report func(*Trouble) string
}

// Trouble is why a function does not serve.
type Trouble struct {
	What string // in a line
	Text string // as the compiler says it, about files below Root; may be empty
	Hint string // what to do about it; may be empty
	Root string // absolute

	printed string // the last words of the process

	once sync.Once
	said string // what Report returned
}

func (t *Trouble) Error() string { return strings.TrimSpace(t.What + "\n" + t.Text) }

// asTrouble makes any error a Trouble.
func asTrouble(err error) *Trouble {
	if t, ok := errors.AsType[*Trouble](err); ok {
		return t
	}
	e := proto.AsError(err)
	head, rest, _ := strings.Cut(e.Message, "\n")
	return &Trouble{What: head, Text: rest, Hint: e.Hint}
}

// session is one run.
type session struct {
	cfg    Config
	tools  *goCommand
	temp   string
	out    *output
	silent *log.Logger
	work   sync.WaitGroup // all goroutines

	several atomic.Bool // whether more than one function is served
	strict  sync.Once   // the user was told of a page that does not reload

	mu      sync.Mutex // guards the fields below
	state   state
	states  int           // how many there were
	changed chan struct{} // closed when state changes
	busy    chan struct{} // closed when state is up to date; nil: it is
}

// state is what is served.
type state struct {
	id        string               // no other state, of whichever run, has it; "" before the first one
	functions map[string]*function // by path; never changed
	trouble   string               // the answer to calls if the sources do not build
}

// Run serves until ctx is canceled, which is no error. It returns when all goroutines
// and processes that it has started have exited.
func Run(ctx context.Context, cfg Config) (err error) {
	defer cfg.Listener.Close()
	tools, err := findGo(ctx, cfg.Function.GetDir())
	if err != nil {
		return err
	}
	tools.platform.Tags = cfg.Function.GetTags()
	temp, err := os.MkdirTemp("", "ryo-dev-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	events, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	defer events.Close()

	s := &session{cfg: cfg, tools: tools, temp: temp, out: &output{w: cfg.Output}, silent: log.New(io.Discard, "", 0), changed: make(chan struct{})}
	defer s.work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.hold()
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: headerLimit, ErrorLog: s.silent,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	failed := make(chan error, 1)
	s.work.Go(func() { failed <- server.Serve(cfg.Listener) })
	defer func() {
		cancel()
		late, done := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer done()
		_ = server.Shutdown(late) // waits for calls, which were just canceled
		_ = server.Close()
	}()
	return s.follow(ctx, watcher{events}, failed)
}

// follow serves each state of the sources, until ctx is canceled.
func (s *session) follow(ctx context.Context, w watcher, failed <-chan error) error {
	var (
		tried  snapshot                    // of the last attempt
		done   <-chan bool                 // its result; nil: it is done
		cancel = func() {}                 // of the attempt
		good   = true                      // the last attempt succeeded
		next   = change{since: time.Now()} // its snapshot is taken later
		settle = time.NewTimer(0)
		tell   = time.NewTimer(slow)
	)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("serve calls: %w", err)
		case err := <-w.Errors: // events may be missing
			s.say("look at all files: %v", err)
			settle.Reset(quiet)
		case e := <-w.Events:
			file := w.seen(e)
			if file == "" {
				continue
			}
			if tried.has(file) {
				s.hold()
				next.file = file
			}
			if next.since.IsZero() {
				next.since = time.Now()
			}
			settle.Reset(min(quiet, time.Until(next.since.Add(unquiet))))
		case <-settle.C:
			c := next
			next = change{}
			c.snapshot = look(s.cfg.Function)
			if err := w.cover(c.snapshot); err != nil {
				s.say("changes may go unnoticed: %v", err)
			}
			if c.sum == tried.sum && (done != nil || good || c.file == "") {
				if done == nil {
					s.release()
				}
				continue
			}
			cancel()
			if done != nil {
				<-done
			}
			s.hold()
			tried = c.snapshot
			done, cancel = s.begin(ctx, c)
			tell.Reset(slow)
		case good = <-done:
			done = nil
			tell.Stop()
			if next.since.IsZero() {
				s.release()
			}
		case <-tell.C:
			s.say("still building: the first time Go compiles the standard library and the framework, which takes half a minute or more")
		}
	}
}

// begin starts an attempt. Callers must call cancel, unless ctx is canceled.
func (s *session) begin(ctx context.Context, c change) (done <-chan bool, cancel func()) {
	result := make(chan bool, 1)
	attempt, cancel := context.WithCancel(ctx)
	s.work.Go(func() { result <- s.attempt(attempt, ctx, c) })
	return result, cancel
}

// hold makes calls wait until release.
func (s *session) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy == nil {
		s.busy = make(chan struct{})
	}
}

func (s *session) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy != nil {
		close(s.busy)
		s.busy = nil
	}
}

// settled waits until the state is up to date.
func (s *session) settled(ctx context.Context) (state, error) {
	for {
		s.mu.Lock()
		state, busy := s.state, s.busy
		s.mu.Unlock()
		if busy == nil {
			return state, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return state, ctx.Err()
		}
	}
}

func (s *session) current() state {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *session) set(st state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states++
	st.id = fmt.Sprintf("%s-%d", filepath.Base(s.temp), s.states)
	s.state = st
	close(s.changed)
	s.changed = make(chan struct{})
}

// watch returns the state, and what is closed when it changes.
func (s *session) watch() (st state, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.changed
}

func (s *session) say(format string, args ...any) {
	s.out.endLine()
	s.cfg.Say(fmt.Sprintf(format, args...))
}

// report shows a trouble once, and returns its text for callers.
func (s *session) report(t *Trouble) string {
	t.once.Do(func() {
		s.out.endLine()
		t.said = s.cfg.Report(t)
	})
	return t.said
}
