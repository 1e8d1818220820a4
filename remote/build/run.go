package build

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
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
	// pipeLag is how long the output of a killed build is waited for.
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
	mu    sync.Mutex // guards the below
	prio  priority
	group int           // of the command that runs now; 0: none does
	spent time.Duration // processor time of those before
}

// lower sets the priority of what runs and of what follows.
func (p *pace) lower(prio priority) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prio = prio
	p.apply()
}

// lead says which process group runs.
func (p *pace) lead(group int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.group = group
	p.apply()
}

// ended says that the group has ended, and how.
func (p *pace) ended(state *os.ProcessState) {
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
// first thread alone. It fails when the command has ended already.
func (p *pace) apply() {
	if p.group != 0 && p.prio != usual {
		_ = syscall.Setpriority(syscall.PRIO_PGRP, p.group, int(p.prio))
	}
}

// enter waits for a place to build. A build that turns out to be slow leaves it
// to the next one and goes on at low priority, if not too many do already. leave
// must be called when the build has ended.
func (b *Builder) enter(ctx context.Context, pace *pace) (leave func(), err error) {
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

// watch ends a build that meets a limit of time, until the function that it returns
// is called.
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
				a.end(proto.Errorf(proto.ErrTimeout, "the build took longer than %s and was ended", a.wallLimit).WithHint(goOn))
			case <-tick.C:
				if a.pace.used() > a.cpuLimit {
					a.end(proto.Errorf(proto.ErrTimeout, "the build took more than %s of processor time and was ended", a.cpuLimit).WithHint(goOn))
				}
			}
		}
	})
	return func() { close(done); watching.Wait() }
}

// runGroup runs a command confined, in a process group of its own, which is killed as a
// whole when the command's context ends, and returns the beginning of its output,
// of which said gets all: both streams, unless the command has a Stdout. The error is an *exec.ExitError when the command itself
// failed.
func (b *Builder) runGroup(cmd *exec.Cmd, rules confine.Rules, pace *pace, said io.Writer) (string, error) {
	var output head
	cmd.Stderr = io.MultiWriter(&output, said)
	if cmd.Stdout == nil {
		cmd.Stdout = cmd.Stderr
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeLag
	// All of it dies with this thread, and so with the agent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := b.launcher.Start(cmd, rules); err != nil {
		return "", err
	}
	pace.lead(cmd.Process.Pid)
	err := cmd.Wait()
	pace.ended(cmd.ProcessState)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && !exit.Exited() {
		return output.String() + "\ngo: " + err.Error(), err // it cannot say so itself
	}
	return output.String(), err
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
