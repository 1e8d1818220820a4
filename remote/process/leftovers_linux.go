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

// leftoverGrace is how long processes of an earlier agent may take to exit after
// SIGTERM: their drain and a little more.
const leftoverGrace = DefaultDrain + 2*time.Second

// Leftovers stops the processes that an earlier agent left below dir: every process
// whose program lies there, even if its file was removed since, with the children in
// its session, and those that build such a program, with GOTMPDIR below dir. It sends
// SIGTERM, and SIGKILL after 12 seconds or when ctx ends. It returns when all have
// exited, and says how many they were. It signals no other process, and neither those
// of keep nor their children.
func Leftovers(ctx context.Context, dir string, keep ...Identity) (stopped int, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return 0, err
	}
	named := dir // as in environments
	// The kernel's paths have no links. A program may still run whose folder was removed.
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	pids, err := leftovers(dir, named)
	if err != nil {
		return 0, err
	}
	for _, id := range keep {
		if was, ok := pids[id.Pid]; !ok || was.start != id.Start {
			continue // it has exited, or was never there
		}
		maps.DeleteFunc(pids, func(_ int, was candidate) bool { return was.session == id.Pid })
	}
	var errs []error
	var pidfds []*os.File
	for pid, was := range pids {
		pidfd, err := openVerified(pid, was)
		if err == nil {
			pidfds = append(pidfds, pidfd)
			err = errors.Join(send(pidfd, unix.SIGCONT, 0), send(pidfd, unix.SIGTERM, 0))
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			errs = append(errs, fmt.Errorf("stop the left over process %d: %w", pid, err))
		}
	}
	deadline, cancel := context.WithTimeout(ctx, leftoverGrace)
	defer cancel()
	for _, pidfd := range pidfds {
		errs = append(errs, exitOrKill(deadline, pidfd))
	}
	return len(pidfds), errors.Join(errs...)
}

// exitOrKill waits until a process has exited, kills it when ctx ends first, and closes
// its pidfd.
func exitOrKill(ctx context.Context, pidfd *os.File) error {
	defer pidfd.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = pidfd.SetReadDeadline(time.Unix(1, 0)) // wakes exited
	})
	err := exited(pidfd)
	if stop() || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if err := send(pidfd, unix.SIGKILL, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	if err := pidfd.SetReadDeadline(time.Now().Add(leftoverGrace)); err != nil {
		return err
	}
	return exited(pidfd)
}

// candidate tells a process from a later one with its pid.
type candidate struct {
	exe     string // path of its program; " (deleted)" follows when its file was removed
	mounts  string // the mount namespace that the path belongs to
	pid     int
	session int
	start   uint64 // clock ticks since boot
}

// place is where a file lies, in whichever namespace of mounts it is seen.
type place struct{ device, path string }

// placeOf finds the place of a path that a process sees. What was removed counts as if
// it was still there.
func placeOf(pid, path string) (place, error) {
	mounts, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		return place{}, err
	}
	return placeIn(string(mounts), path)
}

// placeIn is placeOf by the text of /proc/PID/mountinfo (proc(5)).
func placeIn(mountinfo, path string) (at place, err error) {
	path = strings.TrimSuffix(path, " (deleted)")
	longest := -1
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		root, point := unescape.Replace(strings.TrimSuffix(fields[3], "//deleted")), unescape.Replace(fields[4])
		rest, found := strings.CutPrefix(path, strings.TrimSuffix(point, "/"))
		// Of two on one point the later one hides the other.
		if found && len(point) >= longest && (rest == "" || rest[0] == '/') {
			longest, at = len(point), place{fields[2], filepath.Join(root, rest)}
		}
	}
	if longest < 0 {
		return place{}, fmt.Errorf("no mount has %s: %w", path, os.ErrNotExist)
	}
	return at, nil
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// leftovers finds the processes whose program lies below dir, the members of the
// sessions that they lead, and the builds below the same folder as it was named.
func leftovers(dir, named string) (map[int]candidate, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	all := make(map[int]candidate)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if id, err := identify(pid); err == nil { // else it has exited, or is another user's
			all[pid] = id
		}
	}
	self, err := identify(os.Getpid())
	if err != nil {
		return nil, err
	}
	own, err := placeOf("self", dir)
	if err != nil {
		return nil, err
	}
	below := func(id candidate) bool {
		if id.mounts == self.mounts {
			return strings.HasPrefix(id.exe, strings.TrimSuffix(dir, "/")+"/")
		}
		// In a container the same path may be another file.
		at, err := placeOf(strconv.Itoa(id.pid), id.exe)
		return err == nil && at.device == own.device && strings.HasPrefix(at.path, strings.TrimSuffix(own.path, "/")+"/")
	}
	found := make(map[int]candidate)
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

func identify(pid int) (candidate, error) {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return candidate{}, err
	}
	mounts, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return candidate{}, err
	}
	stat, err := readStat(pid)
	return candidate{exe: exe, mounts: mounts, pid: pid, session: stat.session, start: stat.start}, err
}

// openVerified opens a pidfd of a process that was found. The pidfd refers to one
// process for good: if the pid is another process's by then, either the comparison
// fails or signals do.
func openVerified(pid int, was candidate) (*os.File, error) {
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

// sameProcess does not compare the program's path, which changes when its file is
// removed.
func sameProcess(a, b candidate) bool {
	return a.session == b.session && a.start == b.start
}

// send signals the process of a pidfd, or with flags its group.
func send(pidfd *os.File, sig unix.Signal, flags int) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), sig, nil, flags) })
	return errors.Join(err, sendErr)
}
