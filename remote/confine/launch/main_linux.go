package launch

import (
	"errors"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"
)

// Of the kernel, where package syscall does not know them.
const (
	sysLandlockRestrictSelf = 446
	sysCloseRange           = 436

	prCapBsetDrop     = 24
	prCapAmbient      = 47
	prCapAmbientClear = 4
	prSetNoNewPrivs   = 38
	prSetSeccomp      = 22
	seccompFilter     = 2

	closeRangeCloexec = 4
)

// instrSize is that of an instruction of a filter, in bytes.
const instrSize = 8

// Main is the launcher. As one it comes back only on a failure, to end with the
// exit code.
func Main(args []string) (code int, launcher bool) {
	if len(args) != 2 || args[0] != Name {
		return 0, false
	}
	first, err := strconv.Atoi(args[1])
	if err != nil || first < 3 {
		return Failed, true
	}
	// Landlock, seccomp and control groups bind the thread that calls execve, and with it
	// the program.
	runtime.LockOSThread()
	reason := become(first)
	_, _ = syscall.Write(first+1, []byte(reason.Error())) // nobody listens any more
	return Failed, true
}

// become reads an order and turns this process into its program, or says why not.
func become(first int) error {
	text, err := readAll(first)
	if err != nil {
		return failed("read the order", err)
	}
	o, err := Decode(text)
	if err != nil {
		return err
	}
	syscall.Umask(0o077)
	for _, fd := range o.Joins {
		if _, err := syscall.Write(int(fd), []byte("0")); err != nil {
			return failed("join a control group", err)
		}
	}
	for _, limit := range o.Limits {
		if err := limit.set(); err != nil {
			return failed("limit the "+limit.What, err)
		}
	}
	// From the launcher's own pipes on; what lies below was meant.
	if err := closeFrom(first); err != nil {
		return failed("close what was inherited", err)
	}
	if err := dropCapabilities(); err != nil {
		return failed("give up capabilities", err)
	}
	if o.User != 0 {
		if err := becomeUser(uintptr(o.User)); err != nil {
			return failed("become user "+strconv.Itoa(int(o.User)), err)
		}
	}
	if err := prctl(prSetNoNewPrivs, 1, 0); err != nil {
		return failed("set no_new_privs", err)
	}
	if o.Ruleset != 0 {
		if _, _, errno := syscall.RawSyscall(sysLandlockRestrictSelf, uintptr(o.Ruleset), 0, 0); errno != 0 {
			return failed("apply the Landlock ruleset", errno)
		}
	}
	if o.Filter != "" {
		if err := install(o.Filter); err != nil {
			return failed("install the filter of system calls", err)
		}
	}
	if o.Path == "" {
		return errors.New(probe())
	}
	if _, err := syscall.Write(first+1, []byte(Done)); err != nil {
		return err
	}
	return failed("run "+o.Path, syscall.Exec(o.Path, o.Args, o.Env))
}

// failed is an error; package fmt would cost the launcher's start.
func failed(what string, err error) error { return errors.New(what + ": " + err.Error()) }

func readAll(fd int) (text []byte, err error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := syscall.Read(fd, buf)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return nil, err
		case n == 0:
			return text, nil
		default:
			text = append(text, buf[:n]...)
		}
	}
}

// set lowers a limit for good: the hard one too.
func (l Limit) set() error {
	// Never above a limit that this program is itself under. Package syscall knows
	// then that it is not to restore the open files of before at execve.
	var rlimit syscall.Rlimit
	if err := syscall.Getrlimit(int(l.Which), &rlimit); err != nil {
		return err
	}
	rlimit.Max = min(rlimit.Max, l.Value)
	rlimit.Cur = rlimit.Max
	return syscall.Setrlimit(int(l.Which), &rlimit)
}

// closeFrom keeps descriptors from a number on from the program.
func closeFrom(first int) error {
	_, _, errno := syscall.RawSyscall(sysCloseRange, uintptr(first), math.MaxInt32, closeRangeCloexec)
	if errno != syscall.ENOSYS && errno != syscall.EINVAL {
		return asError(errno)
	}
	open, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	for _, entry := range open {
		if fd, _ := strconv.Atoi(entry.Name()); fd >= first {
			syscall.CloseOnExec(fd)
		}
	}
	return err
}

// dropCapabilities empties the set from which execve gives root its capabilities.
// A plain user has none, and must not give up what it never had.
func dropCapabilities() error {
	for c := uintptr(0); ; c++ {
		err := prctl(prCapBsetDrop, c, 0)
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EPERM) { // after the last; package confine tells of the other
			break
		}
		if err != nil {
			return err
		}
	}
	return prctl(prCapAmbient, prCapAmbientClear, 0)
}

// becomeUser gives up all that this thread is for a user and the group of the same
// number. The calls of package syscall would stop the other threads for it, which
// execve ends anyway.
func becomeUser(id uintptr) error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return errno
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESGID, id, id, id); errno != 0 {
		return errno
	}
	_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, id, id, id)
	return asError(errno)
}

// install puts the calling thread under a filter for ever.
func install(filter string) error {
	instrs := []byte(filter)
	prog := syscall.SockFprog{Len: uint16(len(instrs) / instrSize), Filter: (*syscall.SockFilter)(unsafe.Pointer(&instrs[0]))} //nolint:gosec // some hundred
	return prctl(prSetSeccomp, seccompFilter, uintptr(unsafe.Pointer(&prog)))
}

func prctl(option, arg2, arg3 uintptr) error {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, arg2, arg3, 0, 0, 0)
	return asError(errno)
}

func asError(errno syscall.Errno) error {
	if errno != 0 {
		return errno
	}
	return nil
}
