package build

import (
	"os/exec"
	"syscall"
	"time"

	"github.com/Ishan27g/ryo-faas/remote/confine"
)

const (
	// maxOutput is how much of what a build says is kept, in bytes: the beginning,
	// since the first error is the one to mend.
	maxOutput = 64 << 10
	// pipeLag is how long the output of a killed build is waited for.
	pipeLag = 5 * time.Second
)

// priority is the nice value of a build.
type priority int

const (
	usual priority = 0
	low   priority = 15 // prewarming gives way to functions and to the agent
)

// runGroup runs a command confined, in a process group of its own, which is killed as a
// whole when the command's context ends, and returns the beginning of its output.
// The error is an *exec.ExitError when the command itself failed.
func (b *Builder) runGroup(cmd *exec.Cmd, rules confine.Rules, prio priority) (string, error) {
	var output head
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeLag
	if err := b.launcher.Start(cmd, rules); err != nil {
		return "", err
	}
	if prio != usual {
		// Of the group: of the process it would be that of its first thread alone.
		// It fails when the command has ended already.
		_ = syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, int(prio))
	}
	err := cmd.Wait()
	return output.String(), err
}

// head keeps the beginning of what is written to it.
type head struct {
	kept []byte
	more bool
}

func (h *head) Write(p []byte) (int, error) {
	n := min(maxOutput-len(h.kept), len(p))
	h.kept = append(h.kept, p[:n]...)
	h.more = h.more || n < len(p)
	return len(p), nil
}

func (h *head) String() string {
	if h.more {
		return string(h.kept) + "\n(more was said)"
	}
	return string(h.kept)
}
