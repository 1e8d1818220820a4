package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// leftoverGrace is how long processes of an earlier agent may take to end by
// themselves: their drain and a little more.
const leftoverGrace = DefaultDrain + 2*time.Second

// Leftovers ends every process whose program lies below dir, also when its file
// has been deleted since, and the children in its session; further those that
// build such a program, which have their GOTMPDIR below dir: SIGTERM, and after 12
// seconds, or at once when ctx ends, SIGKILL. It returns when all have ended, and
// says how many they were. Any other process is never signalled, nor are those of
// keep and their children.
func Leftovers(ctx context.Context, dir string, keep ...Identity) (killed int, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return 0, err
	}
	named := dir // as environments have it
	// What the kernel says is free of links. A folder that is gone may still be the
	// one of a program that runs.
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	pids, err := leftovers(dir, named)
	if err != nil {
		return 0, err
	}
	for _, id := range keep {
		if was, ok := pids[id.Pid]; !ok || was.start != id.Start {
			continue // it has ended, or was never there
		}
		maps.DeleteFunc(pids, func(_ int, was program) bool { return was.session == id.Pid })
	}
	var errs []error
	var ending []*os.File
	for pid, was := range pids {
		pidfd, err := openVerified(pid, was)
		if err == nil {
			ending = append(ending, pidfd)
			err = errors.Join(send(pidfd, unix.SIGCONT, 0), send(pidfd, unix.SIGTERM, 0))
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("end the left over process %d: %w", pid, err))
		}
	}
	deadline, cancel := context.WithTimeout(ctx, leftoverGrace)
	defer cancel()
	for _, pidfd := range ending {
		errs = append(errs, endOne(deadline, pidfd))
	}
	return len(ending), errors.Join(errs...)
}

// endOne waits for a process until ctx ends, kills it then, and closes its pidfd.
func endOne(ctx context.Context, pidfd *os.File) error {
	defer pidfd.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = pidfd.SetReadDeadline(time.Unix(1, 0)) // wakes ended
	})
	err := ended(pidfd)
	if stop() || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if err := send(pidfd, unix.SIGKILL, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if err := pidfd.SetReadDeadline(time.Now().Add(leftoverGrace)); err != nil {
		return err
	}
	return ended(pidfd)
}

// program tells a process from another one that has its number later.
type program struct {
	exe     string // path of its program; of a deleted one it ends in " (deleted)"
	mounts  string // the mount namespace that the path belongs to
	session int
	start   uint64 // clock ticks since boot
}

// leftovers finds the processes whose program lies below dir, the members of the
// sessions that they lead, and the builds below the same folder as it was named.
func leftovers(dir, named string) (map[int]program, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := make(map[int]program)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if id, err := identify(pid); err == nil { // else it is gone, or another user's
			all[pid] = id
		}
	}
	self, err := identify(os.Getpid())
	if err != nil {
		return nil, err
	}
	below := func(id program) bool {
		// In a container the same path is another file.
		return id.mounts == self.mounts && strings.HasPrefix(id.exe, strings.TrimSuffix(dir, "/")+"/")
	}
	found := make(map[int]program)
	for pid, id := range all {
		leader, ok := all[id.session]
		if below(id) || ok && leader.session == id.session && below(leader) || id.mounts == self.mounts && builds(pid, named) {
			found[pid] = id
		}
	}
	return found, nil
}

// builds reports whether a process is a go command, or one that it started, whose
// temporary files lie below dir.
func builds(pid int, dir string) bool {
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && bytes.Contains(append([]byte{0}, env...), []byte("\x00GOTMPDIR="+strings.TrimSuffix(dir, "/")+"/"))
}

func identify(pid int) (program, error) {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return program{}, err
	}
	mounts, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return program{}, err
	}
	stat, err := readStat(pid)
	return program{exe: exe, mounts: mounts, session: stat.session, start: stat.start}, err
}

// openVerified opens a pidfd of the process that had this identity. The pidfd
// refers to one process for good: if the number is another's by the time that
// the identity is compared, either the comparison fails or signals do.
func openVerified(pid int, was program) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, err
	}
	pidfd := pollable(fd)
	if pidfd == nil {
		return nil, errors.New("its pidfd cannot be waited for")
	}
	if is, err := identify(pid); err != nil || !sameProcess(is, was) {
		return nil, errors.Join(unix.ESRCH, pidfd.Close())
	}
	return pidfd, nil
}

// sameProcess compares without the program's path: its file may be deleted at
// any time, which changes that.
func sameProcess(a, b program) bool {
	return a.session == b.session && a.start == b.start
}

// send signals the process of a pidfd, or what flags say of it.
func send(pidfd *os.File, sig unix.Signal, flags int) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), sig, nil, flags) })
	return errors.Join(err, sendErr)
}
