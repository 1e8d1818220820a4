package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// identity is that of a process that was not reaped, without its nonce.
func identity(pid int) (Identity, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Identity{}, err
	}
	stat, err := readStat(pid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Pid: pid, Start: stat.start, Boot: strings.TrimSpace(string(boot))}, nil
}

// Adopt takes a process over from an agent that has exited, or that has become
// this program by execve(2). control is a duplicate of the agent's end of the
// control connection, which stays the caller's.
//
// The process is the one of id when boot, pid and start time are the same, and when
// it says the nonce over the connection. Otherwise, or when ctx ends before it has
// answered, Adopt fails and has signalled no process.
//
// The Exit of an adopted process may be Unknown on kernels before 6.15, unless it is
// this program's child, whose Exit is known even if it has exited before Adopt.
func Adopt(ctx context.Context, id Identity, control *os.File) (*Process, error) {
	p, err := adopt(ctx, id, control)
	if err != nil {
		return nil, fmt.Errorf("adopt process %d: %w", id.Pid, err)
	}
	return p, nil
}

func adopt(ctx context.Context, id Identity, file *os.File) (*Process, error) {
	pidfd, err := openIdentified(id)
	if err != nil {
		return nil, err
	}
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, errors.Join(err, pidfd.Close())
	}
	c := newControl(conn)
	// A zombie child needs no proof: it keeps its pid until it is reaped here.
	mine := isChild(id.Pid)
	if err := prove(ctx, c, id.Nonce); err != nil && (errors.Is(err, errNonce) || !mine || !exitsNow(pidfd)) {
		return nil, errors.Join(err, conn.Close(), pidfd.Close())
	}
	if !mine {
		return own(id, &adopted{id, pidfd}, c), nil
	}
	// The peak of this program when it forked is not known; now it is the same or higher.
	return own(id, &child{pid: id.Pid, pidfd: pidfd, before: ownPeak(), kills: oomKillsOf(id.Pid)}, c), nil
}

// openIdentified opens a pidfd of the process that has an identity. The pidfd
// refers to one process for good, so the identity is compared after it is opened.
func openIdentified(id Identity) (*os.File, error) {
	if id.Pid <= 1 || id.Pid == os.Getpid() {
		return nil, errors.New("it cannot have been a function's")
	}
	fd, err := unix.PidfdOpen(id.Pid, 0)
	if err != nil {
		return nil, err
	}
	pidfd := pollable(fd)
	if pidfd == nil {
		return nil, errors.New("its pidfd cannot be waited for")
	}
	is, err := identity(id.Pid)
	if err == nil && (is.Boot != id.Boot || is.Start != id.Start) {
		err = errors.New("its number is another process's now")
	}
	if sid, sidErr := unix.Getsid(id.Pid); err == nil && (sidErr != nil || sid != id.Pid) {
		err = errors.New("it does not lead a session")
	}
	if err != nil {
		return nil, errors.Join(err, pidfd.Close())
	}
	return pidfd, nil
}

// prove checks that the process at the other end knows the nonce.
func prove(ctx context.Context, c *control, nonce string) error {
	said, err := c.stats(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	if nonce == "" || said.Nonce != nonce {
		return errNonce
	}
	return nil
}

var errNonce = errors.New("it does not know its nonce")

// isChild reports whether a process, which may be a zombie, is a child of this one.
func isChild(pid int) bool {
	return unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil
}

// exitsNow reports whether a process has exited or is about to: its connections are
// closed before it has.
func exitsNow(pidfd *os.File) bool {
	err := pidfd.SetReadDeadline(time.Now().Add(exitLag))
	return errors.Join(err, exited(pidfd), pidfd.SetReadDeadline(time.Time{})) == nil
}

// adopted is a process that another one reaps. Its pidfd stands for the group
// too: in the kernel both are the same object, which outlives the pid.
type adopted struct {
	id    Identity
	pidfd *os.File
}

var _ leader = (*adopted)(nil)

func (a *adopted) await() { _ = exited(a.pidfd) } // fails when the file is closed, which collect does

func (a *adopted) signal(sig syscall.Signal) {
	err := send(a.pidfd, sig, unix.PIDFD_SIGNAL_PROCESS_GROUP)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.9: the leader alone gets it
		_ = send(a.pidfd, sig, 0) // fails when it has just exited
	}
}

func (a *adopted) collect() Exit {
	defer a.pidfd.Close()
	a.signal(unix.SIGKILL)
	// Its parent may have reaped it. The kernel does not reuse its pid as long as its
	// session has members; without any, the session may be another process's.
	if s, err := readStat(a.id.Pid); err != nil || s.start == a.id.Start {
		killSession(a.id.Pid)
	}
	status, err := a.status()
	if err != nil {
		return Exit{Code: -1, Unknown: true}
	}
	return exitOf(status)
}

// status comes from /proc while the process is a zombie, and from its pidfd once it
// is reaped.
func (a *adopted) status() (unix.WaitStatus, error) {
	if s, err := readStat(a.id.Pid); err == nil && s.start == a.id.Start && s.state == 'Z' {
		return unix.WaitStatus(s.exit), nil
	}
	status, err := pidfdStatus(a.pidfd)
	if !errors.Is(err, errNotReaped) {
		return status, err
	}
	if err := a.pidfd.SetReadDeadline(time.Now().Add(exitLag)); err != nil {
		return 0, err
	}
	if err := until(a.pidfd, unix.POLLHUP); err != nil {
		return 0, err
	}
	return pidfdStatus(a.pidfd)
}

var errNotReaped = errors.New("its status is not told before it is reaped, or before Linux 6.15")

func pidfdStatus(pidfd *os.File) (unix.WaitStatus, error) {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return 0, err
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	var infoErr error
	err = raw.Control(func(fd uintptr) { infoErr = unix.IoctlPidfdInfo(int(fd), &info) })
	if err := errors.Join(err, infoErr); err != nil {
		return 0, err
	}
	if info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, errNotReaped
	}
	return unix.WaitStatus(info.Exit_code), nil //nolint:gosec // bits
}
