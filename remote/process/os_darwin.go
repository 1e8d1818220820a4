package process

import (
	"context"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
)

// peakUnit is what wait4(2) counts resident memory in, in bytes.
const peakUnit = 1

func startChild(path string, attr *syscall.ProcAttr) (*child, error) {
	before := ownPeak()
	pid, err := syscall.ForkExec(path, []string{path}, attr)
	if err != nil {
		return nil, err
	}
	return &child{pid: pid, before: before}, nil
}

// identity cannot tell the process from a later one of its number.
func identity(pid int) (Identity, error) { return Identity{Pid: pid}, nil }

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

// oomKills are not counted on this system.
type oomKills struct{}

func (oomKills) grown() bool { return false }

// killSession leaves alone what has left the leader's process group: the system
// does not tell who is in a session.
func killSession(int) {}

// limitMemory leaves the limit to GOMEMLIMIT: the system has no other.
func limitMemory(int, int64) error { return nil }

func closeInherited() error { return nil }

var errNotHere = proto.Errorf(proto.ErrUnsupported, "processes outlive their agent on Linux alone")

// Adopt cannot verify a process on this system.
func Adopt(context.Context, Identity, *os.File) (*Process, error) { return nil, errNotHere }

// Usage is not told by this system.
func (*Process) Usage() (Usage, error) { return Usage{}, errNotHere }

// HolderMain has nothing to do on this system.
func HolderMain([]string) (code int, holder bool) { return 0, false }

// HolderClient cannot be had on this system.
type HolderClient struct{}

// OpenHolder fails.
func OpenHolder(context.Context, string, string) (*HolderClient, error) { return nil, errNotHere }

// Lost is closed never.
func (*HolderClient) Lost() <-chan struct{} { return nil }

// Put fails.
func (*HolderClient) Put(string, ...*os.File) error { return errNotHere }

// Bound fails.
func (*HolderClient) Bound(*os.File, int64) error { return errNotHere }

// Drop fails.
func (*HolderClient) Drop(string) error { return errNotHere }

// All fails.
func (*HolderClient) All() (map[string][]*os.File, error) { return nil, errNotHere }

// Close does nothing.
func (*HolderClient) Close() {}

// End does nothing.
func (*HolderClient) End() error { return nil }

// InitMain has nothing to do on this system.
func InitMain([]string, io.Writer, map[string]string) (code int, first bool) { return 0, false }

// Waker does not wait on this system.
type Waker struct{}

type wait struct{}

func (*wait) remove() {}

// NewWaker returns a waker.
func NewWaker() (*Waker, error) { return &Waker{}, nil }

// Run has nothing to do.
func (*Waker) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Wait has a process started at once.
func (*Waker) Wait(*Sockets) (ready <-chan struct{}, cancel func()) {
	now := make(chan struct{})
	close(now)
	return now, func() {}
}

// Leftovers cannot tell a process from a later one of its number on this system.
func Leftovers(context.Context, string, ...Identity) (killed int, err error) {
	return 0, proto.Errorf(proto.ErrUnsupported, "processes that an earlier agent left behind are found on Linux alone")
}
