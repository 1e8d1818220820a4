//go:build amd64 || arm64

package confine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// provePort is the one port that the process of Prove may dial. It tries triedPort, where
// nobody listens, so that the attempt reaches no program.
const (
	provePort = 9
	triedPort = 1
)

// attempts are what a process tries whose rules grant nothing: the layer that denies it,
// the ABI of Landlock from which on it does, and the error that it gives. An attempt that
// works changes nothing.
var attempts = []struct {
	name, layer string
	since       int
	want        syscall.Errno
}{
	{"read", Files, 1, unix.EACCES},
	{"write", Files, 1, unix.EACCES},
	{"environ", Files, 1, unix.EACCES},
	{"dial", Ports, 4, unix.EACCES},
	{"signal", "signals", 6, unix.EPERM},
	{"signal", Calls, 0, unix.EPERM},
	{"mptcp", Calls, 0, unix.EACCES},
	{"listen", Calls, 0, unix.EACCES},
	{"unix", Calls, 0, unix.EACCES},
	{"netlink", Calls, 0, unix.EACCES},
	{"fork", Calls, 0, unix.EPERM},
	{"ptrace", Calls, 0, unix.EPERM},
	{"unshare", Calls, 0, unix.EPERM},
	{"datagram", Datagrams, 0, unix.EPERM},
	{"see", Namespaces, 0, unix.ENOENT},
	{"know", Namespaces, 0, unix.ESRCH},
	{"stay", Users, 0, unix.EPERM},
}

// Prove starts a process whose rules grant nothing but to dial one port. It tries to get
// past each layer that is on. The error says which attempt has worked.
func (l *Launcher) Prove() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	const theirs = 3 // the socket's number there
	files := []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(socket)}
	var tried *calls
	var tries map[string]int
	rules := Rules{Connect: []uint16{provePort}, Limits: Limits{Tasks: 64}}
	if l.apart != nil {
		rules.User, rules.Read = l.apart.user, []string{l.apart.folder}
	}
	pid, group, err := l.run(&syscall.ProcAttr{Files: files}, rules, false, func(c *calls) {
		tried, tries = c, c.attempt(theirs)
	})
	if err != nil {
		return err
	}
	if err := reap(pid); err.Error() != "exit status 0" {
		return fmt.Errorf("a process that tries what is denied has ended: %w", err)
	}
	came := make(map[string]syscall.Errno)
	for name, i := range tries {
		if tried.list[i].result != notMade {
			came[name] = failure(tried.list[i].result)
		}
	}
	if user := tried.list[tries["stay"]].result; user != uintptr(os.Getuid()) {
		came["stay"] = unix.EPERM
	}
	return errors.Join(l.judge(came), group.remove())
}

// attempt adds all attempts, and returns the calls by the names of the attempts. socket is
// the descriptor of a TCP socket.
func (c *calls) attempt(socket uintptr) map[string]int {
	here, ours := int(unix.AT_FDCWD), uintptr(os.Getpid())
	open := func(path string, flags uintptr) int {
		return c.try(unix.SYS_OPENAT, uintptr(here), c.text(path), flags|unix.O_CLOEXEC, 0o600)
	}
	address := &unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: [4]byte{127, 0, 0, 1}}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&address.Port))[:], triedPort)
	tries := map[string]int{
		"read":    open("/", unix.O_RDONLY),
		"write":   open("/tmp", unix.O_WRONLY|unix.O_TMPFILE),
		"environ": open("/proc/self/environ", unix.O_RDONLY),
		"signal":  c.try(unix.SYS_KILL, ours, 0),
		"dial":    c.try(unix.SYS_CONNECT, socket, at(c, address), unsafe.Sizeof(*address)),
		"mptcp":   c.try(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP),
		"listen":  c.try(unix.SYS_LISTEN, socket, 1),
		"unix":    c.try(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0),
		"netlink": c.try(unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, 0),
		"fork":    c.try(unix.SYS_CLONE, uintptr(unix.SIGCHLD)), // into a copy that exits as well
		"ptrace":  c.try(unix.SYS_PTRACE, unix.PTRACE_PEEKDATA, ours),
		"unshare": c.try(unix.SYS_UNSHARE, unix.CLONE_NEWUSER),
		"see":     c.try(unix.SYS_FACCESSAT, uintptr(here), c.text("/proc/self"), 0),
		"know":    c.try(unix.SYS_GETPRIORITY, unix.PRIO_PROCESS, ours),
		"stay":    c.try(unix.SYS_GETUID), // its result is who it is
	}
	datagrams := c.try(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	tries["datagram"] = c.try(unix.SYS_CONNECT, 0, at(c, address), unsafe.Sizeof(*address))
	c.handOn = append(c.handOn, [2]int{datagrams, tries["datagram"]})
	c.add("exit", unix.SYS_EXIT_GROUP, 0)
	return tries
}

// judge compares the results of the attempts with the layers.
func (l *Launcher) judge(came map[string]syscall.Errno) error {
	for _, a := range attempts {
		on := l.abi >= a.since
		switch a.layer {
		case Calls:
			on = l.calls
		case Datagrams:
			on = l.udp != nil
		case Namespaces:
			on = l.apart != nil
		case Users:
			on = l.apart != nil && l.apart.user != 0
		}
		if !on {
			continue
		}
		got, tried := came[a.name]
		// Something else on this machine may deny a file or a port before the layer does, with
		// another error. And a process that is out of sight cannot be signalled.
		lenient := slices.Contains([]string{Files, Ports, "signals"}, a.layer) || a.name == "signal" && l.apart != nil && got == unix.ESRCH
		denied := got == a.want || lenient && got != 0 && got != unix.ECONNREFUSED
		if !tried || !denied {
			return fmt.Errorf("the layer %s is on, but a process under it could try %q: %s (%d) instead of %s", a.layer, a.name, got.Error(), int(got), a.want.Error())
		}
	}
	return nil
}
