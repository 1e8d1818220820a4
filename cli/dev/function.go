package dev

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

const (
	// startLimit is how long a process may take until it serves, as at an agent.
	startLimit = 30 * time.Second
	// endLimit is how long requests in flight may take when all ends: whoever has
	// typed Ctrl-C waits.
	endLimit = 500 * time.Millisecond
)

// function is one function with the socket that its processes come and go on.
type function struct {
	*session
	name    string
	mount   string // of the function at the socket, "/helloworld"
	temp    string
	sockets *process.Sockets
	end     context.CancelFunc // of run
	ended   chan struct{}      // closed when run has returned

	calls atomic.Int64 // in flight

	do chan func(context.Context) // for run to do, which owns the below

	version version
	proc    *running // nil: none
	life    *life    // of proc, and of what has replaced it
}

// version is what a process is made of.
type version struct {
	program string
	key     string // of the function in it
	dir     string // its working directory
	env     []string
}

// life goes on as long as calls that wait may hope for a process.
type life struct {
	over chan struct{}
	err  error // written before over closes
}

// open makes a function that has no process yet. It runs until ctx or end.
func (s *session) open(ctx context.Context, name string) (*function, error) {
	sockets, err := process.Listen("127.0.0.1:0", "")
	if err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(s.temp, "fn-")
	if err != nil {
		return nil, errors.Join(err, sockets.Close())
	}
	f := &function{
		session: s, name: name, temp: temp, sockets: sockets,
		mount: (&url.URL{Path: "/" + proto.Path(name)}).EscapedPath(),
		ended: make(chan struct{}), do: make(chan func(context.Context)),
	}
	ctx, f.end = context.WithCancel(ctx)
	s.work.Go(func() { f.run(ctx) })
	return f, nil
}

// run owns the function's process.
func (f *function) run(ctx context.Context) {
	defer close(f.ended)
	defer f.sockets.Close()
	for {
		var ended <-chan struct{}
		if f.proc != nil {
			ended = f.proc.Done()
		}
		select {
		case <-ctx.Done():
			if f.proc != nil {
				f.proc.Stop(context.WithoutCancel(ctx), endLimit)
			}
			return
		case act := <-f.do:
			act(ctx)
		case <-ended:
			f.bury(ctx)
			// Calls that it has not taken wait in the socket's backlog.
			if f.calls.Load() > 0 {
				if err := f.revive(ctx); err != nil {
					f.report(asTrouble(err)) // one of them may have ended it
				}
			}
		}
	}
}

// ask has run do something; false means that the function or the caller is gone.
func (f *function) ask(ctx context.Context, act func(context.Context)) bool {
	done := make(chan struct{})
	select {
	case f.do <- func(ctx context.Context) { defer close(done); act(ctx) }:
		<-done
		return true
	case <-f.ended:
	case <-ctx.Done():
	}
	return false
}

// replace has a version serve the calls that come from now on; those that the
// former one has taken go on. When it does not start, nothing serves, and the next
// call tries again. When ctx ends, all stays as it was.
func (f *function) replace(ctx context.Context, v version) (err error) {
	f.ask(ctx, func(run context.Context) {
		var proc *running
		proc, err = f.start(ctx, v)
		if ctx.Err() != nil {
			if proc != nil {
				proc.Stop(run, 0)
			}
			return
		}
		old := f.proc
		f.version = v
		f.live(proc, err)
		if old == nil {
			return
		}
		// Both take calls until the former one has been told.
		limit, cancel := context.WithTimeout(run, lag)
		defer cancel()
		if old.Drain(limit) != nil {
			f.say("%s: the process before does not stop taking calls and is ended", f.name)
			old.Stop(run, 0)
		}
		f.work.Go(func() { old.Stop(run, process.DefaultDrain) })
	})
	return err
}

// enter begins a call of the function: a process serves, or else the error says why
// none does. leave must follow.
func (f *function) enter(ctx context.Context) (l *life, err error) {
	f.calls.Add(1)
	entered := f.ask(ctx, func(run context.Context) {
		if f.proc != nil {
			select {
			case <-f.proc.Done():
				f.bury(run)
			default:
			}
		}
		if f.proc == nil {
			err = f.revive(run)
		}
		l = f.life
	})
	if !entered {
		err = errGone
	}
	return l, err
}

var errGone = errors.New("the function is gone")

func (f *function) leave() { f.calls.Add(-1) }

// bury says how the process has ended, which nobody has asked it to.
func (f *function) bury(ctx context.Context) {
	_ = f.proc.words(ctx) // come before the news
	f.say("%s ended: %s", f.name, f.proc.Exit())
	f.proc = nil
}

// revive starts a process of the version again.
func (f *function) revive(ctx context.Context) error {
	proc, err := f.start(ctx, f.version)
	f.live(proc, err)
	return err
}

// live has proc serve, or, when it is nil, calls learn the reason.
func (f *function) live(proc *running, err error) {
	f.proc = proc
	switch {
	case proc == nil && f.life != nil:
		f.life.err = err
		close(f.life.over)
		f.life = nil
	case proc != nil && f.life == nil:
		f.life = &life{over: make(chan struct{})}
	}
}

// start starts a process and waits until it serves. The error is a *Trouble.
func (f *function) start(ctx context.Context, v version) (*running, error) {
	proc, err := f.launch(v)
	if err != nil {
		return nil, f.notStarted(err, "")
	}
	limit, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := proc.Ready(limit); err != nil {
		proc.Stop(ctx, 0)
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("the process did not answer within %s of its start", startLimit)
		}
		return nil, f.notStarted(err, proc.words(ctx))
	}
	return proc, nil
}

func (f *function) notStarted(err error, words string) error {
	return &Trouble{What: f.name + " did not start", Text: err.Error(), printed: words}
}

// label begins the lines that the function prints where there are others.
func (f *function) label() string {
	if f.several.Load() {
		return f.name + ": "
	}
	return ""
}

// environment is what an agent gives to a function of a kind.
func (f *function) environment(kind string) ([]string, error) {
	body, err := f.cfg.Function.BodyLimit(kind)
	if err != nil {
		return nil, err
	}
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + f.temp, "TMPDIR=" + f.temp}
	for name, value := range f.cfg.Function.GetEnv() {
		env = append(env, name+"="+value) // the last of two counts
	}
	if body > 0 {
		env = append(env, "RYO_BODY="+strconv.FormatInt(body, 10))
	}
	return env, nil
}
