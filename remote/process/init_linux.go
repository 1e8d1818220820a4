package process

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// initGrace is how long processes may take to exit after the program has: as long as
// a function drains.
const initGrace = DefaultDrain

// InitMain is the first process of a container, which becomes the parent of every
// orphan, and with which the kernel kills all others. It runs the program a second
// time, with env added, passes signals on to it, reaps every process that exits, and
// stops the others when the program has exited. A program calls it before anything
// but HolderMain. It returns the program's exit code, and whether this is such a
// process.
func InitMain(args []string, stderr io.Writer, env map[string]string) (code int, first bool) {
	if os.Getpid() != 1 {
		return 0, false
	}
	// The kernel sends PID 1 no signal without a handler, so these come first.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	for name, value := range env {
		_ = os.Setenv(name, value) // fails for malformed names alone
	}
	child, err := syscall.ForkExec(self, args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}})
	if err != nil {
		fmt.Fprintln(stderr, "start the program under the first process of the container:", err)
		return 1, true
	}
	go func() {
		for s := range signals {
			_ = unix.Kill(child, s.(syscall.Signal)) // it may have exited
		}
	}()
	for {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, 0, nil); {
		case err == unix.EINTR:
		case err != nil:
			return 1, true // ECHILD: the program was not even a child
		case pid == child:
			code = status.ExitStatus()
			if status.Signaled() {
				code = 128 + int(status.Signal())
			}
			stopOthers()
			return code, true
		}
	}
}

// stopOthers sends SIGTERM to all other processes of the container and waits until
// they have exited, but no longer than initGrace.
func stopOthers() {
	if unix.Kill(-1, unix.SIGTERM) != nil {
		return // there is no other
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		for {
			if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
				return
			}
		}
	}()
	select {
	case <-exited:
	case <-time.After(initGrace):
	}
}
