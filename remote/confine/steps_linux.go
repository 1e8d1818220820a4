//go:build amd64 || arm64

package confine

import (
	"math"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// begin adds what attr asks for.
func (c *calls) begin(attr *syscall.SysProcAttr) {
	if attr.Setsid {
		c.add("lead a session", unix.SYS_SETSID)
	}
	if attr.Setpgid {
		c.add("join a process group", unix.SYS_SETPGID, 0, uintptr(attr.Pgid))
	}
	if attr.Credential != nil {
		c.add("give up groups", unix.SYS_SETGROUPS)
		c.add("become a group", unix.SYS_SETGID, uintptr(attr.Credential.Gid))
		c.add("become a user", unix.SYS_SETUID, uintptr(attr.Credential.Uid))
	}
}

// files gives the child files as its descriptors from 0 on.
func (c *calls) files(files []uintptr) {
	// A file whose number another one is to have is moved first.
	room := uintptr(len(files))
	for _, fd := range files {
		room = max(room, fd+1)
	}
	from := slices.Clone(files)
	for i, fd := range files {
		if fd < uintptr(len(files)) {
			from[i] = room
			c.add("move a file", unix.SYS_DUP3, fd, room, unix.O_CLOEXEC)
			room++
		}
	}
	for i, fd := range from {
		c.add("hand on a file", unix.SYS_DUP3, fd, uintptr(i), 0)
	}
}

// limit lowers limits for good: the hard ones too.
func (c *calls) limit(l Limits) error {
	for _, limit := range []struct {
		what  string
		which int
		value uint64
		set   bool
	}{
		{"core dumps", unix.RLIMIT_CORE, 0, true},
		{"locked memory", unix.RLIMIT_MEMLOCK, 0, true},
		{"processor time", unix.RLIMIT_CPU, uint64(l.CPU / time.Second), l.CPU > 0}, //nolint:gosec // positive
		{"memory", unix.RLIMIT_DATA, l.Data, l.Data > 0},
		{"file size", unix.RLIMIT_FSIZE, l.File, l.File > 0},
		{"open files", unix.RLIMIT_NOFILE, l.Files, l.Files > 0},
		{"processes", unix.RLIMIT_NPROC, l.Tasks, l.Tasks > 0},
	} {
		if !limit.set {
			continue
		}
		var own unix.Rlimit // this process cannot give more than it has
		if err := unix.Getrlimit(limit.which, &own); err != nil {
			return err
		}
		value := min(own.Max, limit.value)
		c.add("limit the "+limit.what, unix.SYS_PRLIMIT64, 0, uintptr(limit.which), at(c, &unix.Rlimit{Cur: value, Max: value}))
	}
	return nil
}

// closeFrom closes the descriptors from a number on when the child becomes the program.
func (c *calls) closeFrom(first uintptr) error {
	if err := unix.CloseRange(math.MaxInt32, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC); err == nil {
		c.add("close what was inherited", unix.SYS_CLOSE_RANGE, first, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
		return nil
	}
	open, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	for _, entry := range open {
		if fd, _ := strconv.ParseUint(entry.Name(), 10, 32); uintptr(fd) >= first {
			c.try(unix.SYS_FCNTL, uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC) // it may have been closed
		}
	}
	return err
}

// lastCapability is the highest number that a capability can have: sets of them have 64 bits.
const lastCapability = 63

// dropCapabilities empties the set from which execve gives root its capabilities.
// A plain user may not empty it, and has no capabilities to lose; keepsCapabilities tells
// of one that has some.
func (c *calls) dropCapabilities() {
	for number := uintptr(0); number <= lastCapability; number++ {
		c.try(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, number)
	}
	c.add("give up capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL)
}

// become makes the child another user, with the group of the same number and no other.
func (c *calls) become(user uint32) {
	id, what := uintptr(user), "become user "+strconv.Itoa(int(user))
	c.add(what, unix.SYS_SETGROUPS)
	c.add(what, unix.SYS_SETRESGID, id, id, id)
	c.add(what, unix.SYS_SETRESUID, id, id, id)
}

// install puts the child under a filter, for good.
func (c *calls) install(prog []instr) {
	if slices.ContainsFunc(prog, isOwnPid) {
		prog = slices.Clone(prog)
		for i := range prog {
			if isOwnPid(prog[i]) {
				c.list[c.add("know the own pid", unix.SYS_GETPID)].store = at(c, &prog[i].K)
			}
		}
	}
	loaded := &unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]} //nolint:gosec // some hundred
	c.pins.Pin(loaded.Filter)
	c.add("install the filter of system calls", unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, at(c, loaded))
}

func isOwnPid(i instr) bool { return i.Code == unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K && i.K == ownPid }
