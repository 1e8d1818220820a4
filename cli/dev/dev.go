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
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// quiet is how long nothing must have changed before the sources are looked at: an
	// editor, or a checkout, writes more than one file.
	quiet = 25 * time.Millisecond
	// unquiet is how long changes may put a look off.
	unquiet = 500 * time.Millisecond
	// slow is when a build that goes on is explained.
	slow = 3 * time.Second
	// headerLimit ends connections that send their header too slowly.
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
	Say      func(text string)
	// Report says what is wrong and returns the same as plain text, for callers. It
	// may be called concurrently, as Say may.
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
	said string // by report
}

func (t *Trouble) Error() string { return strings.TrimSpace(t.What + "\n" + t.Text) }

// asTrouble is what is wrong, of an error of any kind.
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

	mu    sync.Mutex // guards the below
	state state
	busy  chan struct{} // closed when state is that of the sources; nil: it is
}

// state is what has come of the sources.
type state struct {
	functions map[string]*function // by path; never changed
	trouble   string               // why none of them serves, as callers are told
}

// Run serves until ctx ends, which is no error. It returns when everything that it
// has started has ended.
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

	s := &session{cfg: cfg, tools: tools, temp: temp, out: &output{w: cfg.Output}, silent: log.New(io.Discard, "", 0)}
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
		late, done := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
		defer done()
		_ = server.Shutdown(late) // waits for calls, which have just been ended
		_ = server.Close()
	}()
	return s.follow(ctx, watcher{events}, failed)
}

// follow brings each state of the sources to serve, until ctx ends.
func (s *session) follow(ctx context.Context, w watcher, failed <-chan error) error {
	var (
		tried  snapshot                    // what the last attempt is of
		done   <-chan bool                 // tells how it has ended; nil: no attempt goes on
		cancel = func() {}                 // ends the attempt
		good   = true                      // the attempt before succeeded
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
		case err := <-w.Errors: // events may have been lost
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

// begin begins an attempt. Unless ctx ends, cancel must be called.
func (s *session) begin(ctx context.Context, c change) (done <-chan bool, cancel func()) {
	result := make(chan bool, 1)
	attempt, cancel := context.WithCancel(ctx)
	s.work.Go(func() { result <- s.attempt(attempt, ctx, c) })
	return result, cancel
}

// hold has calls wait until release.
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

// settled waits until the state is that of the sources.
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
	s.state = st
}

func (s *session) say(format string, args ...any) {
	s.out.endLine()
	s.cfg.Say(fmt.Sprintf(format, args...))
}

// report says once what is wrong, and returns how it did.
func (s *session) report(t *Trouble) string {
	t.once.Do(func() {
		s.out.endLine()
		t.said = s.cfg.Report(t)
	})
	return t.said
}
