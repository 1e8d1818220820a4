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

func startChild(fork ForkExec, path string, attr *syscall.ProcAttr) (*child, error) {
	before := ownPeak()
	pid, release, err := fork(path, []string{path}, attr)
	if err != nil {
		return nil, err
	}
	return &child{pid: pid, release: release, before: before}, nil
}

// identity cannot tell the process from a later one with its pid.
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

// Frozen is not told on this system.
func (p *Process) Frozen() bool { return false }

// oomKills are not counted on this system.
type oomKills struct{}

func (oomKills) grown() bool { return false }

// killSession does nothing: the system does not tell which processes are in a session.
func killSession(int) {}

// DataLimit is 0, none: the system has no such limit.
func DataLimit(int64) uint64 { return 0 }

// limitMemory does nothing: the system has no limit, so GOMEMLIMIT must do.
func limitMemory(int, int64) error { return nil }

func closeInherited() error { return nil }

var errNotHere = proto.Errorf(proto.ErrIncapable, "processes outlive their agent on Linux alone")

// Adopt cannot verify a process on this system.
func Adopt(context.Context, Identity, *os.File) (*Process, error) { return nil, errNotHere }

// Usage fails: this system does not tell.
func (*Process) Usage() (Usage, error) { return Usage{}, errNotHere }

// HolderMain has nothing to do on this system.
func HolderMain([]string) (code int, holder bool) { return 0, false }

// HolderClient does not exist on this system: OpenHolder fails.
type HolderClient struct{}

// OpenHolder fails.
func OpenHolder(context.Context, string, string) (*HolderClient, error) { return nil, errNotHere }

// Done is never closed.
func (*HolderClient) Done() <-chan struct{} { return nil }

// Put fails.
func (*HolderClient) Put(string, ...*os.File) error { return errNotHere }

// Bound fails.
func (*HolderClient) Bound(*os.File, int64) error { return errNotHere }

// Remove fails.
func (*HolderClient) Remove(string) error { return errNotHere }

// All fails.
func (*HolderClient) All() (map[string][]*os.File, error) { return nil, errNotHere }

// Close does nothing.
func (*HolderClient) Close() {}

// Stop does nothing.
func (*HolderClient) Stop() error { return nil }

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

// Wait returns a channel that is closed, so that a process starts at once.
func (*Waker) Wait(*Sockets) (ready <-chan struct{}, cancel func()) {
	now := make(chan struct{})
	close(now)
	return now, func() {}
}

// Leftovers fails: this system does not tell a process from a later one with its pid.
func Leftovers(context.Context, string, ...Identity) (stopped int, err error) {
	return 0, proto.Errorf(proto.ErrIncapable, "processes that an earlier agent left behind are found on Linux alone")
}
