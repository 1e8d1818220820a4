package process

import (
	"context"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
)

// child is a child process that has not been waited for.
type child struct{ pid int }

func startChild(path string, attr *syscall.ProcAttr) (*child, error) {
	pid, err := syscall.ForkExec(path, []string{path}, attr)
	if err != nil {
		return nil, err
	}
	return &child{pid}, nil
}

// await blocks until the process has ended and leaves it to be reaped.
func (c *child) await() {
	queue, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer unix.Close(queue)
	exit := []unix.Kevent_t{{
		Ident: uint64(c.pid), Filter: unix.EVFILT_PROC, Flags: unix.EV_ADD | unix.EV_ONESHOT, Fflags: unix.NOTE_EXIT,
	}}
	for {
		if _, err := unix.Kevent(queue, exit, exit, nil); err != unix.EINTR {
			return
		}
	}
}

func (c *child) reap() Exit { return reap(c.pid) }

// killSession leaves alone what has left the leader's process group: the system
// does not tell who is in a session.
func killSession(int) {}

// limitMemory leaves the limit to GOMEMLIMIT: the system has no other.
func limitMemory(int, int64) error { return nil }

func closeInherited() error { return nil }

func punch(*os.File, int64, int64) error { return errors.ErrUnsupported }

// Leftovers cannot tell a process from a later one of its number on this system.
func Leftovers(context.Context, string) (killed int, err error) {
	return 0, proto.Errorf(proto.ErrUnsupported, "processes that an earlier agent left behind are found on Linux alone")
}
