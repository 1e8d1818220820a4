//go:build amd64 || arm64

package confine

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// nprocABI comes with a kernel (5.19) that counts the processes of a user in each
// user namespace apart (since 5.14). Before, the limit counted all of the user's.
const nprocABI = 2

// holding finds out how the processes of a program can be held together: by the
// flags of clone(2) for a namespace of their own. What starts there first is the
// program, and with it all others end.
//
// A user namespace comes along where it takes one. In it the kernel counts
// processes apart from others of the user, but does not limit root's.
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

// hold makes the child, which begins in namespaces, die with the thread that starts it.
func (c *calls) hold(flags uintptr) {
	c.endWithThread()
	c.stay(flags)
}

// stay makes the child, which begins in namespaces, stay who it is.
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

// counts says that the kernel limits the number of processes in namespaces of
// these flags.
func counts(flags uintptr, abi int) bool {
	return flags&unix.CLONE_NEWUSER != 0 && os.Getuid() != 0 && abi >= nprocABI
}
