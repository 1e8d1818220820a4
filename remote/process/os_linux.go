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
	// heapArena is by how much Go's heap grows, in bytes. The kernel counts it as a
	// whole although little of it may be used.
	heapArena = 64 << 20
	// runtimeSize is for all else that a Go program maps, which is 10 MiB at first.
	runtimeSize = 64 << 20
)

// child is a child process that has not been waited for.
type child struct {
	pid   int
	pidfd *os.File // nil on kernels before 5.4
}

func startChild(path string, attr *syscall.ProcAttr) (*child, error) {
	var pidfd int
	attr.Sys.PidFD = &pidfd
	pid, err := syscall.ForkExec(path, []string{path}, attr)
	if err != nil {
		return nil, err
	}
	return &child{pid: pid, pidfd: pollable(pidfd)}, nil
}

// pollable makes a file of a pidfd that goroutines can wait for without holding
// a thread, nil if there is none.
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

// ended blocks until the process of a pidfd has ended or the file's deadline
// passes, which is os.ErrDeadlineExceeded.
func ended(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0) //nolint:gosec // a descriptor
		return n > 0
	})
}

// await blocks until the process has ended and leaves it to be reaped.
func (c *child) await() {
	if c.pidfd != nil && ended(c.pidfd) == nil {
		return
	}
	for unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		continue // interrupted by a signal of this program's own
	}
}

// reap takes the exit status; the process's number is free from then on.
func (c *child) reap() Exit {
	if c.pidfd != nil {
		_ = c.pidfd.Close()
	}
	return reap(c.pid)
}

// maxSweeps bounds the rounds of killSession against children that start others
// faster than they are found.
const maxSweeps = 10

// killSession kills the members of a session that have left its leader's process
// group. The leader has ended but is not reaped: its number is nobody else's.
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
			_ = unix.Kill(pid, unix.SIGKILL) // fails when it has just ended
		}
		if !found {
			return
		}
	}
}

// limitMemory bounds the memory that a process can write to. The limit is on
// what it maps, so it lies above the bytes that were asked for by what a Go
// program maps but does not use.
func limitMemory(pid int, bytes int64) error {
	arenas := (uint64(bytes) + heapArena - 1) / heapArena //nolint:gosec // positive
	limit := &unix.Rlimit{Cur: arenas*heapArena + runtimeSize, Max: arenas*heapArena + runtimeSize}
	err := unix.Prlimit(pid, unix.RLIMIT_DATA, limit, nil)
	if errors.Is(err, unix.ESRCH) {
		return nil // it has ended already
	}
	return err
}

// closeInherited keeps descriptors that this program was itself started with
// from its children. Those it opened are close-on-exec anyway.
func closeInherited() error {
	err := unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return nil // before Linux 5.11
	}
	return err
}

// punch gives the blocks of a file between two offsets back to the disk.
func punch(file *os.File, from, to int64) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var punchErr error
	err = raw.Control(func(fd uintptr) {
		punchErr = unix.Fallocate(int(fd), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	})
	return errors.Join(err, punchErr)
}
