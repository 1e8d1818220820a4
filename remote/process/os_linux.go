package process

import (
	"errors"
	"math"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// heapArena is by how much Go's heap grows, in bytes. The kernel counts all of it
	// although little of it may be used.
	heapArena = 64 << 20
	// runtimeSize is room for all else that a Go program maps, 10 MiB at first.
	runtimeSize = 64 << 20
)

// peakUnit is what wait4(2) counts resident memory in, in bytes.
const peakUnit = 1 << 10

func startChild(fork ForkExec, path string, attr *syscall.ProcAttr) (*child, error) {
	var pidfd int
	attr.Sys.PidFD = &pidfd
	before := ownPeak()
	pid, release, err := fork(path, []string{path}, attr)
	if err != nil {
		return nil, err
	}
	return &child{pid: pid, release: release, pidfd: pollable(pidfd), before: before, kills: oomKillsOf(pid)}, nil
}

// pollable makes a file of a descriptor that goroutines can wait for without holding
// a thread; nil: it cannot, or there is no descriptor.
func pollable(pidfd int) *os.File {
	if pidfd < 0 {
		return nil
	}
	if err := unix.SetNonblock(pidfd, true); err != nil {
		_ = unix.Close(pidfd)
		return nil
	}
	return os.NewFile(uintptr(pidfd), "pidfd")
}

// exited blocks until the process of a pidfd has exited or the file's deadline passes,
// which is os.ErrDeadlineExceeded.
func exited(pidfd *os.File) error { return until(pidfd, unix.POLLIN) }

// until blocks until poll(2) returns an event, or until the file's deadline.
func until(file *os.File, event int16) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool { return has(fd, event) })
}

func has(fd uintptr, event int16) bool {
	polled := []unix.PollFd{{Fd: int32(fd), Events: event}} //nolint:gosec // a descriptor
	_, _ = unix.Poll(polled, 0)                             // no event when it fails
	return polled[0].Revents&event != 0
}

func (c *child) await() {
	if c.pidfd != nil && exited(c.pidfd) == nil {
		return
	}
	for unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		continue // interrupted by a signal of this program's own
	}
}

// maxSweeps bounds the rounds of killSession, as children may start others faster than
// they are found.
const maxSweeps = 10

// killSession kills the members of a session outside its leader's process group. The
// leader has exited, and its pid is not reused yet.
func killSession(leader int) {
	killed := map[int]bool{leader: true}
	for range maxSweeps {
		entries, _ := os.ReadDir("/proc")
		found := false
		for _, e := range entries {
			pid, err := strconv.Atoi(e.Name())
			if err != nil || killed[pid] {
				continue
			}
			if sid, err := unix.Getsid(pid); err != nil || sid != leader {
				continue
			}
			killed[pid], found = true, true
			_ = unix.Kill(pid, unix.SIGKILL) // fails when it has just exited
		}
		if !found {
			return
		}
	}
}

// DataLimit is the RLIMIT_DATA, in bytes, for a process that may use so many bytes of
// memory; 0: none. The kernel limits what a process maps. So the limit is higher, by what a
// Go program maps and does not use.
func DataLimit(bytes int64) uint64 {
	if bytes <= 0 {
		return 0
	}
	return (uint64(bytes)+heapArena-1)/heapArena*heapArena + runtimeSize
}

func limitMemory(pid int, bytes int64) error {
	limit := DataLimit(bytes)
	err := unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: limit, Max: limit}, nil)
	if errors.Is(err, unix.ESRCH) {
		return nil // it has exited already
	}
	return err
}

// closeInherited sets the descriptors that this program was started with to
// close-on-exec. Those that it opened are so anyway.
func closeInherited() error {
	err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return nil // before Linux 5.11
	}
	return err
}
