//go:build amd64 || arm64

package confine

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// nprocABI is the Landlock ABI of Linux 5.19. Since 5.14 the kernel counts the processes of a
// user in each user namespace apart; before, it counted them all together.
const nprocABI = 2

// holding returns the flags of clone(2) that give a program a process namespace of its own.
// The program is the first process there, and when it ends, the kernel ends all others.
//
// A plain user needs a user namespace for that. In it the kernel counts processes apart
// from others of the user, but does not limit root's.
func holding() (flags uintptr, err error) {
	for _, flags := range []uintptr{unix.CLONE_NEWPID, unix.CLONE_NEWPID | unix.CLONE_NEWUSER} {
		probe := new(calls)
		probe.withoutHandlers()
		probe.hold(flags)
		probe.add("exit", unix.SYS_EXIT_GROUP, 0)
		var pid int
		if pid, err = probe.run(flags, -1); err == nil {
			return flags, reap(pid)
		}
	}
	return 0, err
}

// hold makes a child in namespaces die with the thread that starts it, and keep its user.
func (c *calls) hold(flags uintptr) {
	c.endWithThread()
	c.stay(flags)
}

// stay makes a child in a user namespace keep its user and group there. flags are those of
// its clone(2).
func (c *calls) stay(flags uintptr) {
	if flags&unix.CLONE_NEWUSER == 0 {
		return
	}
	for _, file := range []struct{ name, content string }{
		{"setgroups", "deny"},
		{"uid_map", fmt.Sprintf("%d %[1]d 1", os.Getuid())},
		{"gid_map", fmt.Sprintf("%d %[1]d 1", os.Getgid())},
	} {
		c.write("/proc/self/"+file.name, file.content)
	}
}

// endWithThread makes the child die with the thread that starts it, until it becomes
// another user.
func (c *calls) endWithThread() {
	c.add("end with the agent", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
}

// counts reports whether the kernel limits the number of processes in namespaces of these
// flags.
func counts(flags uintptr, abi int) bool {
	return flags&unix.CLONE_NEWUSER != 0 && os.Getuid() != 0 && abi >= nprocABI
}
