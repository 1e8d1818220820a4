package process

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// child is a child process of this one.
type child struct {
	pid    int
	pidfd  *os.File // Linux alone; nil on kernels before 5.4
	before uint64   // bytes: the peak of what this process had resident, when it forked
	kills  oomKills // as counted when it forked
	// release is called when the child and its group have exited; nil: it was adopted.
	release func()

	// mu guards the fields below:
	mu     sync.Mutex
	killed bool // by this process
	reaped bool // its pid may be another process's
}

var _ leader = (*child)(nil)

func (c *child) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reaped {
		return
	}
	c.killed = c.killed || sig == unix.SIGKILL
	_ = unix.Kill(-c.pid, sig) // fails when all of them have just exited
}

// collect kills the child's group and session and only then reaps it: until then the
// kernel does not reuse its pid.
func (c *child) collect() Exit {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = unix.Kill(-c.pid, unix.SIGKILL) // fails when it had no children
	killSession(c.pid)
	var status unix.WaitStatus
	var usage unix.Rusage
	for {
		if _, err := unix.Wait4(c.pid, &status, 0, &usage); err != unix.EINTR {
			break
		}
	}
	c.reaped = true
	if c.pidfd != nil {
		_ = c.pidfd.Close()
	}
	exit := exitOf(status)
	exit.Starved = exit.Signal == unix.SIGKILL && !c.killed && c.kills.grown()
	if c.release != nil {
		c.release()
	}
	// The kernel counts what a process has before execve, which is this program's.
	if peak := uint64(usage.Maxrss) * peakUnit; peak > c.before { //nolint:gosec // positive
		exit.Peak = peak
	}
	return exit
}

func exitOf(status unix.WaitStatus) Exit {
	if status.Signaled() {
		return Exit{Code: -1, Signal: status.Signal()}
	}
	return Exit{Code: status.ExitStatus()}
}

// ownPeak is the most memory that this process has had resident, in bytes.
func ownPeak() uint64 {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage) // fails for wrong arguments alone
	return uint64(usage.Maxrss) * peakUnit       //nolint:gosec // positive
}
