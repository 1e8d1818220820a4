//go:build !linux || !(amd64 || arm64)

package confine

import (
	"os"
	"syscall"
)

// Launcher starts programs, without confining them: this system cannot.
type Launcher struct{}

// New returns a launcher.
func New() *Launcher { return &Launcher{} }

// Separate has nothing to do on this system.
func (*Launcher) Separate(string, uint32) {}

// Forget has nothing to do on this system.
func (*Launcher) Forget(uint32) {}

// Layers says that nothing is in force.
func (*Launcher) Layers() []Layer { return off("lifetime", Processes, Memory) }

// FreeLayers says the same.
func (*Launcher) FreeLayers() []Layer { return off(Namespaces, Users, Processes, Memory, CPU) }

func off(more ...string) (list []Layer) {
	for _, name := range append([]string{Files, Ports, "signals", Calls, "privileges", "limits"}, more...) {
		list = append(list, Layer{name, Off, "programs can be confined on Linux alone, on amd64 and arm64", "run the agent there"})
	}
	return list
}

// Prove has nothing to prove on this system.
func (*Launcher) Prove() error { return nil }

// Start starts a program. The rules are not applied, as Layers says.
func (*Launcher) Start(path string, argv []string, attr *syscall.ProcAttr, _ Rules) (*os.Process, error) {
	pid, err := syscall.ForkExec(path, argv, attr)
	if err != nil {
		return nil, err
	}
	return os.FindProcess(pid)
}

// ForkExec starts a program. The rules are not applied, as Layers says.
func (*Launcher) ForkExec(path string, argv []string, attr *syscall.ProcAttr, _ Rules) (pid int, release func(), err error) {
	pid, err = syscall.ForkExec(path, argv, attr)
	return pid, func() {}, err
}
