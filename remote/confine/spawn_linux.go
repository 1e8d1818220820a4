//go:build amd64 || arm64

package confine

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// call is a system call that the assembler makes, and its result.
type call struct {
	number   uintptr
	args     [6]uintptr
	store    uintptr // the address where the low 32 bits of the result go to; 0: nowhere
	optional uintptr // 1: an error does not matter
	result   uintptr
}

// notMade is the result of a call that was not made. The kernel has no such result.
const notMade = 1 << 62

// forkAndCall starts a child by clone(2) or clone3(2), in which n calls are made from the
// first on, until one fails that is not optional. It returns the pid, or an error number
// below zero, when the child has become another program or has exited.
func forkAndCall(number, arg1, arg2 uintptr, first *call, n uintptr) (pid uintptr)

// calls are what a child does between fork and execve. Until then it shares this process's
// memory and runs no Go. So all that the calls need is laid out before, and their results
// are in the list afterwards.
type calls struct {
	list []call
	what []string // what each call is for
	// handOn are pairs of calls, of which the second gets the first's result as its first
	// argument.
	handOn [][2]int
	pins   runtime.Pinner
	mask   uint64 // the signals that this thread blocks
}

// add adds a call, which must work, and returns its index.
func (c *calls) add(what string, number uintptr, args ...uintptr) int {
	added := call{number: number, result: notMade}
	copy(added.args[:], args)
	c.list, c.what = append(c.list, added), append(c.what, what)
	return len(c.list) - 1
}

// try adds a call that may fail.
func (c *calls) try(number uintptr, args ...uintptr) int {
	i := c.add("", number, args...)
	c.list[i].optional = 1
	return i
}

// write adds calls that write to a file, which stays open until the child's end.
func (c *calls) write(path, content string) {
	here := int(unix.AT_FDCWD)
	opened := c.add("open "+path, unix.SYS_OPENAT, uintptr(here), c.text(path), unix.O_WRONLY|unix.O_CLOEXEC)
	c.handOn = append(c.handOn, [2]int{opened, c.add("write to "+path, unix.SYS_WRITE, 0, c.text(content), uintptr(len(content)))})
}

// at is the address of a value, which stays where it is until the calls are made.
func at[T any](c *calls, value *T) uintptr {
	c.pins.Pin(value)
	return uintptr(unsafe.Pointer(value))
}

// text is the address of a text that ends with a zero.
func (c *calls) text(s string) uintptr {
	b := append([]byte(s), 0)
	return at(c, &b[0])
}

// texts is the address of a list of texts, which ends with a zero.
func (c *calls) texts(list []string) uintptr {
	addresses := make([]uintptr, len(list)+1)
	for i, s := range list {
		addresses[i] = c.text(s)
	}
	return at(c, &addresses[0])
}

// cloneArgs is what clone3(2) takes, as far as it is set here.
type cloneArgs struct {
	flags      uint64
	_          [3]uint64
	exitSignal uint64
	_          [5]uint64
	cgroup     uint64
}

// run makes the calls in a child, the last of which is its end: execve or exit_group. The
// child begins in a control group of version 2 if there is one, by the descriptor of its
// folder. An error means that the end was not reached, and the child has been reaped.
func (c *calls) run(flags uintptr, cgroup int) (pid int, err error) {
	defer c.pins.Unpin()
	number, arg1, arg2 := uintptr(unix.SYS_CLONE), flags|unix.CLONE_VFORK|unix.CLONE_VM|uintptr(unix.SIGCHLD), uintptr(0)
	if cgroup >= 0 {
		args := &cloneArgs{
			flags:      uint64(flags | unix.CLONE_VFORK | unix.CLONE_VM | unix.CLONE_INTO_CGROUP),
			exitSignal: uint64(unix.SIGCHLD), cgroup: uint64(cgroup), //nolint:gosec // a descriptor
		}
		number, arg1, arg2 = unix.SYS_CLONE3, at(c, args), unsafe.Sizeof(*args)
	}
	for _, pair := range c.handOn {
		c.list[pair[0]].store = uintptr(unsafe.Pointer(&c.list[pair[1]].args[0]))
	}
	// The child must not run this program's signal handlers. So it begins with all signals
	// blocked, and unblocks them once it has no handlers.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all := ^uint64(0)
	setMask(&all, &c.mask)
	forked := forkAndCall(number, arg1, arg2, &c.list[0], uintptr(len(c.list)))
	setMask(&c.mask, nil)
	if errno := failure(forked); errno != 0 {
		return 0, fmt.Errorf("fork: %w", errno)
	}
	pid = int(forked) //nolint:gosec // a pid
	for i, made := range c.list {
		switch errno := failure(made.result); {
		case made.result == notMade && i < len(c.list)-1:
			return 0, fmt.Errorf("the process ended before it could %s: %w", c.what[i], reap(pid))
		case errno != 0 && made.optional == 0:
			_ = reap(pid)
			return 0, fmt.Errorf("%s: %w", c.what[i], errno)
		}
	}
	return pid, nil
}

// leave starts a child with a copy of this process's memory, which makes the calls while
// this process goes on, and returns its pid.
func (c *calls) leave(flags uintptr) (pid int, err error) {
	defer c.pins.Unpin()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all := ^uint64(0)
	setMask(&all, &c.mask)
	forked := forkAndCall(unix.SYS_CLONE, flags|uintptr(unix.SIGCHLD), 0, &c.list[0], uintptr(len(c.list)))
	setMask(&c.mask, nil)
	if errno := failure(forked); errno != 0 {
		return 0, fmt.Errorf("fork: %w", errno)
	}
	return int(forked), nil //nolint:gosec // a pid
}

// reap waits for a process that is about to exit, and says how it has.
func reap(pid int) error {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		case status.Signaled():
			return errors.New("signal: " + status.Signal().String())
		default:
			return fmt.Errorf("exit status %d", status.ExitStatus())
		}
	}
}

// failure is the error of a result; 0: there is none.
func failure(result uintptr) syscall.Errno {
	if -result < 4096 {
		return syscall.Errno(-result)
	}
	return 0
}

// setMask sets the signals that this thread blocks, and reads those that it did before.
func setMask(mask, before *uint64) {
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, sigSetmask, uintptr(unsafe.Pointer(mask)), uintptr(unsafe.Pointer(before)), sizeofMask, 0, 0)
}

// Of the kernel, where package unix does not know them.
const (
	sigSetmask = 2
	sizeofMask = 8
	lastSignal = 64
	// The two values of a handler that are no function.
	sigDefault, sigIgnore = 0, 1
)

// sigaction is as large as the kernel's, and begins with the handler.
type sigaction [4]uintptr

// withoutHandlers adds the first calls of a child, which remove the signal handlers of this
// program, and then unblock the signals that its parent does not block.
func (c *calls) withoutHandlers() {
	none := at(c, new(sigaction))
	for signal := uintptr(1); signal <= lastSignal; signal++ {
		var now sigaction
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, signal, 0, uintptr(unsafe.Pointer(&now)), sizeofMask, 0, 0)
		if errno == 0 && now[0] != sigDefault && now[0] != sigIgnore {
			c.add("handle no signals", unix.SYS_RT_SIGACTION, signal, none, 0, sizeofMask)
		}
	}
	c.add("take signals", unix.SYS_RT_SIGPROCMASK, sigSetmask, at(c, &c.mask), 0, sizeofMask)
}
