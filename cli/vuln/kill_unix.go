//go:build unix

package vuln

import (
	"os/exec"
	"syscall"
)

// killTogether makes a program and those that it starts one process group, which is killed as a
// whole.
func killTogether(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
