package confine

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/remote/confine/launch"
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
		probe := exec.Command(self)
		probe.Args = []string{launch.Name, "probe"}
		probe.SysProcAttr = new(syscall.SysProcAttr)
		hold(probe.SysProcAttr, flags)
		err = probe.Run()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == launch.Failed {
			return flags, nil
		}
	}
	return 0, err
}

// hold makes a process start in namespaces and die with the thread that starts it.
func hold(attr *syscall.SysProcAttr, flags uintptr) {
	attr.Pdeathsig = syscall.SIGKILL
	attr.Cloneflags |= flags
	if flags&unix.CLONE_NEWUSER != 0 {
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	}
}

// counts says that the kernel limits the number of processes in namespaces of
// these flags.
func counts(flags uintptr, abi int) bool {
	return flags&unix.CLONE_NEWUSER != 0 && os.Getuid() != 0 && abi >= nprocABI
}
