package build

import (
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/confine"
)

const (
	// maxOutput is how much of what a build says is kept, in bytes: the beginning,
	// since the first error is the one to mend.
	maxOutput = 64 << 10
	// pipeLag is how long to wait for the output of a killed build.
	pipeLag = 5 * time.Second
)

// priority is the nice value of a build.
type priority int

const (
	usual priority = 0
	// late gives way to other builds: three quarters of a processor that both want.
	// More would starve a large build on a busy machine until its time is up.
	late priority = 5
	low  priority = 15 // prewarming gives way to functions and to the agent
)

// pace is the priority of a build, which may be lowered while it runs. The zero
// value is the usual one.
type pace struct {
	mu    sync.Mutex // guards the fields below
	prio  priority
	group int           // of the command that runs now; 0: no command runs
	spent time.Duration // processor time of those before
}

// lower sets the priority of what runs and of what follows.
func (p *pace) lower(prio priority) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prio = prio
	p.apply()
}

// started notes which process group runs.
func (p *pace) started(group int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.group = group
	p.apply()
}

// exited notes that the group has exited, and how.
func (p *pace) exited(state *os.ProcessState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.group = 0
	if state != nil {
		p.spent += state.UserTime() + state.SystemTime()
	}
}

// used is the processor time of the build so far, without that of the compilers
// that run now: each of these has a limit of its own.
func (p *pace) used() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.group == 0 {
		return p.spent
	}
	return p.spent + cpuTime(p.group)
}

// apply sets the priority of the group: of the process it would be that of its
// first thread alone. It fails when the command has already exited.
func (p *pace) apply() {
	if p.group != 0 && p.prio != usual {
		_ = syscall.Setpriority(syscall.PRIO_PGRP, p.group, int(p.prio))
	}
}

// acquire waits for a slot. A build that turns out to be slow hands its slot to the
// next one and continues at low priority, unless too many do already. Call release
// after the build.
func (b *Builder) acquire(ctx context.Context, pace *pace) (release func(), err error) {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		places := b.slots
		defer func() { <-places }()
		timer := time.NewTimer(b.slowAfter)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-done:
			return
		}
		select {
		case b.slow <- struct{}{}:
		case <-done:
			return
		}
		pace.lower(late)
		<-places
		places = b.slow
		<-done
	})
	return func() { close(done); watching.Wait() }, nil
}

// watch cancels a build that meets a time limit, until stop is called.
func (a *attempt) watch() (stop func()) {
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick, wall := time.NewTicker(time.Second), time.NewTimer(a.wallLimit)
		defer tick.Stop()
		defer wall.Stop()
		for {
			select {
			case <-done:
				return
			case <-wall.C:
				a.cancel(proto.Errorf(proto.ErrTimeout, "the build took longer than %s and was canceled", a.wallLimit).WithHint(goOn))
			case <-tick.C:
				if a.pace.used() > a.cpuLimit {
					a.cancel(proto.Errorf(proto.ErrTimeout, "the build took more than %s of processor time and was canceled", a.cpuLimit).WithHint(goOn))
				}
			}
		}
	})
	return func() { close(done); watching.Wait() }
}

// command is a go command.
type command struct {
	Args, Env []string // Env is all of it
	Dir       string
	Stdout    io.Writer // nil: what it prints there goes where its errors go
}

// runGroup runs a confined command in its own process group and returns the beginning
// of its output. said gets all of the output: both streams, or stderr alone when the
// command has a Stdout. When ctx ends, the whole group is killed.
// The error is an *exec.ExitError when the command itself failed.
func (b *Builder) runGroup(ctx context.Context, cmd *command, rules confine.Rules, pace *pace, said io.Writer) (string, error) {
	var output head
	var printed pipes
	defer printed.end()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return "", err
	}
	defer null.Close()
	stderr, err := printed.to(io.MultiWriter(&output, said))
	if err != nil {
		return "", err
	}
	stdout := stderr
	if cmd.Stdout != nil {
		if stdout, err = printed.to(cmd.Stdout); err != nil {
			return "", err
		}
	}
	// All of it dies with this thread, and so with the agent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	process, err := b.launcher.Start(b.goCommand, slices.Concat([]string{b.goCommand}, cmd.Args), &syscall.ProcAttr{
		Dir: cmd.Dir, Env: cmd.Env, Files: []uintptr{null.Fd(), stdout.Fd(), stderr.Fd()}, Sys: &syscall.SysProcAttr{Setpgid: true},
	}, rules)
	if err != nil {
		return "", err
	}
	pace.started(process.Pid)
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-process.Pid, syscall.SIGKILL) })
	state, err := process.Wait()
	stop()
	pace.exited(state)
	printed.end()
	switch {
	case err != nil:
		return output.String(), err
	case state.Success():
		return output.String(), nil
	}
	exit := &exec.ExitError{ProcessState: state}
	if !state.Exited() {
		return output.String() + "\ngo: " + exit.Error(), exit // it cannot say so itself
	}
	return output.String(), exit
}

// pipes carry what a command prints to writers.
type pipes struct {
	ends, outs []*os.File
	copies     sync.WaitGroup
}

// to returns a file whose content goes to a writer.
func (p *pipes) to(w io.Writer) (*os.File, error) {
	out, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.ends, p.outs = append(p.ends, end), append(p.outs, out)
	p.copies.Go(func() {
		_, _ = io.Copy(w, out)
		_ = out.Close() // who prints more is told
	})
	return end, nil
}

// end waits until all that was printed has arrived.
func (p *pipes) end() {
	for _, end := range p.ends {
		_ = end.Close()
	}
	late := time.AfterFunc(pipeLag, func() {
		for _, out := range p.outs {
			_ = out.Close()
		}
	})
	defer late.Stop()
	p.copies.Wait()
}

// head keeps the beginning of what is written to it.
type head struct {
	kept []byte
	more bool
}

func (h *head) Write(p []byte) (int, error) {
	n := min(maxOutput-len(h.kept), len(p))
	h.kept = append(h.kept, p[:n]...)
	h.more = h.more || n < len(p)
	return len(p), nil
}

func (h *head) String() string {
	if h.more {
		return string(h.kept) + "\n(more was said)"
	}
	return string(h.kept)
}
