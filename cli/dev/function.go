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
	// stopLimit is how long calls in flight may take after Ctrl-C: the user waits.
	stopLimit = 500 * time.Millisecond
)

// function is one function with the socket that its processes share.
type function struct {
	*session
	name    string
	mount   string // of the function at the socket, "/helloworld"
	temp    string
	sockets *process.Sockets
	cancel  context.CancelFunc // of run
	closed  chan struct{}      // closed when run has returned

	calls atomic.Int64 // in flight

	do chan func(context.Context) // executed by run, which owns the fields below

	version version
	proc    *running // nil: none
	life    *life    // nil: no process has been started, or the last start failed
}

// version is what a process is started from.
type version struct {
	program string
	key     string // of the function in it
	dir     string // its working directory
	env     []string
}

// life lasts as long as the function has a process, or the next one can be started;
// calls wait in the backlog meanwhile.
type life struct {
	failed chan struct{}
	err    error // set before failed is closed
}

// open makes a function without a process. It runs until ctx or the function is
// canceled.
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
		mount:  (&url.URL{Path: "/" + proto.Path(name)}).EscapedPath(),
		closed: make(chan struct{}), do: make(chan func(context.Context)),
	}
	ctx, f.cancel = context.WithCancel(ctx)
	s.work.Go(func() { f.run(ctx) })
	return f, nil
}

// run owns the function's process.
func (f *function) run(ctx context.Context) {
	defer close(f.closed)
	defer f.sockets.Close()
	for {
		var exited <-chan struct{}
		if f.proc != nil {
			exited = f.proc.Done()
		}
		select {
		case <-ctx.Done():
			if f.proc != nil {
				f.proc.Stop(context.WithoutCancel(ctx), stopLimit)
			}
			return
		case act := <-f.do:
			act(ctx)
		case <-exited:
			f.tellExit(ctx)
			// Calls that it has not taken wait in the socket's backlog.
			if f.calls.Load() > 0 {
				if err := f.restart(ctx); err != nil {
					f.report(asTrouble(err)) // a call may have crashed it
				}
			}
		}
	}
}

// ask passes act to run and waits; false means that the function is closed or ctx is
// canceled.
func (f *function) ask(ctx context.Context, act func(context.Context)) bool {
	done := make(chan struct{})
	select {
	case f.do <- func(ctx context.Context) { defer close(done); act(ctx) }:
		<-done
		return true
	case <-f.closed:
	case <-ctx.Done():
	}
	return false
}

// replace starts a version for the calls from now on; the version before finishes
// those that it has. If the new one does not start, nothing serves, and the next call
// tries again. If ctx is canceled, nothing changes.
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
		f.setProcess(proc, err)
		if old == nil {
			return
		}
		// Both take calls until the old one drains.
		limit, cancel := context.WithTimeout(run, lag)
		defer cancel()
		if old.Drain(limit) != nil {
			f.say("%s: the process before does not drain and is killed", f.name)
			old.Stop(run, 0)
		}
		f.work.Go(func() { old.Stop(run, process.DefaultDrain) })
	})
	return err
}

// wake makes sure that a process serves, or says why none does.
func (f *function) wake(ctx context.Context) (l *life, err error) {
	f.calls.Add(1)
	awake := f.ask(ctx, func(run context.Context) {
		if f.proc != nil {
			select {
			case <-f.proc.Done():
				f.tellExit(run)
			default:
			}
		}
		if f.proc == nil {
			err = f.restart(run)
		}
		l = f.life
	})
	if !awake {
		err = errClosed
	}
	return l, err
}

var errClosed = errors.New("the function is not served any more")

// tellExit says how the process has exited by itself.
func (f *function) tellExit(ctx context.Context) {
	_ = f.proc.words(ctx) // they are printed first
	f.say("%s exited: %s", f.name, f.proc.Exit())
	f.proc = nil
}

// restart starts a process of the version again.
func (f *function) restart(ctx context.Context) error {
	proc, err := f.start(ctx, f.version)
	f.setProcess(proc, err)
	return err
}

// setProcess makes proc the process; nil fails waiting calls with err.
func (f *function) setProcess(proc *running, err error) {
	f.proc = proc
	switch {
	case proc == nil && f.life != nil:
		f.life.err = err
		close(f.life.failed)
		f.life = nil
	case proc != nil && f.life == nil:
		f.life = &life{failed: make(chan struct{})}
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

// label is the prefix of the function's lines if several functions are served.
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
		env = append(env, name+"="+value) // the last one counts
	}
	if body > 0 {
		env = append(env, "RYO_BODY="+strconv.FormatInt(body, 10))
	}
	return env, nil
}
