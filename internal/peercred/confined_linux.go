package peercred

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// lastHolder is the pid of the process that had the socket that was looked for last.
var lastHolder atomic.Pointer[string]

// Confined reports whether the process at the other end is confined more than this
// program is, as functions and builds are. The error is ErrClosed when no process has
// the socket any more. Of several processes that have it, the first that is found decides:
// who gives it to another could close its own, too.
func (p Peer) Confined() (bool, error) {
	own, err := filters("self")
	if err != nil {
		return false, err
	}
	if p.unix {
		theirs, err := filters(strconv.Itoa(p.pid)) // pid 0, which does not exist, stands for another namespace
		if errors.Is(err, os.ErrNotExist) {
			return false, ErrClosed
		}
		return marked(theirs, own), err
	}
	link := fmt.Sprintf("socket:[%d]", p.inode)
	// Mostly it is the process of the connection before, and the others need not be listed.
	if last := lastHolder.Load(); last != nil {
		if found, confined, err := decide(*last, link, own); found {
			return confined, err
		}
	}
	pids, err := processes()
	if err != nil {
		return false, err
	}
	for _, pid := range slices.Backward(pids) { // or one that has just started
		if found, confined, err := decide(pid, link, own); found {
			if err == nil {
				lastHolder.Store(&pid)
			}
			return confined, err
		}
	}
	return p.unseen(pids, own)
}

// decide is Confined for a process that may have the socket, if it has it.
func decide(pid, link string, own int) (found, confined bool, err error) {
	if has, _ := holds(pid, link); !has {
		return false, false, nil
	}
	theirs, err := filters(pid)
	if errors.Is(err, os.ErrNotExist) { // it has exited
		return false, false, nil
	}
	return true, marked(theirs, own), err
}

// unseen is Confined for a socket that is in no process whose files can be seen.
func (p Peer) unseen(pids []string, own int) (confined bool, err error) {
	if !p.open() {
		return false, ErrClosed
	}
	hidden := false
	for _, pid := range pids {
		if uid, err := status(pid, "Uid:"); err != nil || uid != p.UID {
			continue // it has exited, or is another user's, where the socket was not opened
		}
		theirs, err := filters(pid)
		if err == nil && marked(theirs, own) {
			return true, nil
		}
		_, seen := holds(pid, "")
		hidden = hidden || !seen
	}
	if !hidden || !p.open() { // who closed it meanwhile must not pass
		return false, ErrClosed
	}
	return false, nil
}

// processes returns the pids of this machine.
func processes() (pids []string, err error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if name[0] >= '1' && name[0] <= '9' {
			pids = append(pids, name)
		}
	}
	return pids, nil
}

// holds reports whether a process has a file that the link names, and whether its
// files can be seen.
func holds(pid, link string) (has, seen bool) {
	folder := "/proc/" + pid + "/fd"
	dir, err := os.Open(folder)
	if err != nil {
		return false, errors.Is(err, os.ErrNotExist)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, errors.Is(err, os.ErrNotExist)
	}
	seen = true
	for _, name := range slices.Backward(names) { // what was opened last is mostly the highest
		target, err := os.Readlink(filepath.Join(folder, name))
		if err == nil && target == link {
			return true, true
		}
		// One that has more capabilities than this program shows names, and no more.
		seen = seen && !errors.Is(err, os.ErrPermission)
	}
	return false, seen
}

// marked reports whether a process with so many filters is confined, as this one, which
// has own, sees it. People's have none, or the same as all of their container. One that
// has fewer than this program is none that this program started, but may be a function
// of an agent that itself runs under fewer.
func marked(theirs, own int) bool { return theirs > 0 && theirs != own }

// filters returns how many seccomp filters a process has. Kernels before 5.9 tell no
// more than whether there is one.
func filters(pid string) (int, error) {
	n, err := status(pid, "Seccomp_filters:")
	if errors.Is(err, errNoLine) {
		n, err = status(pid, "Seccomp:")
	}
	return n, err
}

var errNoLine = errors.New("there is no such line")

// status returns the first number of a line of a process's status.
func status(pid, line string) (int, error) {
	f, err := os.Open("/proc/" + pid + "/status")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), line); ok {
			return strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return 0, fmt.Errorf("status of process %s, %s: %w", pid, line, errNoLine)
}
