//go:build !linux

package confine

import (
	"os/exec"
	"syscall"
)

// Launcher starts programs, without confining them: this system cannot.
type Launcher struct{}

// New never fails here.
func New() (*Launcher, error) { return &Launcher{}, nil }

// Main has nothing to do on this system.
func Main([]string) (code int, launcher bool) { return 0, false }

// Use has nothing to do on this system.
func (*Launcher) Use(string) error { return nil }

// Layers says that nothing is in force.
func (*Launcher) Layers() []Layer { return off("lifetime", Processes, Memory) }

// FreeLayers says the same.
func (*Launcher) FreeLayers() []Layer { return off(Processes, Memory, CPU) }

func off(more ...string) (list []Layer) {
	for _, name := range append([]string{Files, Ports, "signals", Calls, "privileges", "limits"}, more...) {
		list = append(list, Layer{name, Off, "programs can be confined on Linux alone", "run the agent on Linux"})
	}
	return list
}

// Prove has nothing to prove on this system.
func (*Launcher) Prove() error { return nil }

// Start starts a command. The rules are not applied, as Layers says.
func (*Launcher) Start(cmd *exec.Cmd, _ Rules) error { return cmd.Start() }

// ForkExec starts a program. The rules are not applied, as Layers says.
func (*Launcher) ForkExec(path string, argv []string, attr *syscall.ProcAttr, _ Rules) (pid int, release func(), err error) {
	pid, err = syscall.ForkExec(path, argv, attr)
	return pid, func() {}, err
}
