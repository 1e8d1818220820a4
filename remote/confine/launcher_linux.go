package confine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	// name is what a launcher is started as, with the descriptor of its first pipe.
	name = "ryo-confine"
	// self is this program, even when its file has been replaced.
	self = "/proc/self/exe"
	// done is what a launcher says before it becomes the program.
	done = "+"
	// maxSaid is how much of what a launcher says is read, in bytes.
	maxSaid = 4 << 10
)

// hasMain is set by Main.
var hasMain atomic.Bool

// Launcher starts programs. Its methods may be called concurrently.
type Launcher struct {
	abi    int // of Landlock; 0: none
	calls  bool
	held   uintptr // how programs with children are held together; see holding
	groups *groups // nil: none can be made
	layers []Layer
}

// order is what a launcher is told.
type order struct {
	ABI   int
	Calls bool // filter them
	Rules Rules
	Path  string
	Args  []string
	Env   []string
}

// New finds out what the kernel offers. The error says that this program cannot
// be a launcher, because it does not call Main.
func New() (*Launcher, error) {
	if !hasMain.Load() {
		return nil, errors.New("a program that confines others has to call confine.Main first of all")
	}
	abi, landlockErr := landlockABI()
	seccompErr := seccompWorks()
	held, heldErr := holding()
	groups, groupsErr := findGroups()
	if groupsErr != nil {
		groups = nil
	}
	l := &Launcher{abi: abi, calls: seccompErr == nil, held: held, groups: groups}
	l.layers = append(layers(abi, landlockErr, seccompErr), l.heldLayers(heldErr, groupsErr)...)
	return l, nil
}

// Layers says what is in force for every program that is started.
func (l *Launcher) Layers() []Layer { return l.layers }

func layers(abi int, landlockErr, seccompErr error) []Layer {
	landlock := func(name string, since int, version, why string) Layer {
		switch {
		case landlockErr != nil:
			return Layer{name, Off, "this kernel has no Landlock: " + landlockErr.Error(), "Linux 5.13 or later, with landlock among its security modules"}
		case abi < since:
			return Layer{name, Degraded, fmt.Sprintf("%s with Landlock ABI %d", why, abi), "Linux " + version + " or later"}
		}
		return Layer{Name: name, State: On}
	}
	calls := Layer{Name: "calls", State: On}
	if seccompErr != nil {
		calls = Layer{"calls", Off, "system calls cannot be filtered: " + seccompErr.Error(), "Linux 4.14 or later on amd64 or arm64, with seccomp filters"}
	}
	privileges := Layer{Name: "privileges", State: On}
	if keepsCapabilities() {
		privileges.State, privileges.Reason = Degraded, "the agent has capabilities, which programs inherit, and not the one to give them up"
		privileges.Remedy = "run the agent as a plain user, or with CAP_SETPCAP"
	}
	return []Layer{
		landlock(Files, 3, "6.2", "files that cannot be written can be truncated"),
		landlock("ports", 4, "6.7", "a program with a network can dial every port"),
		landlock("signals", 6, "6.12", "a program that starts others can signal all processes of its user"),
		calls,
		privileges,
		{Name: "limits", State: On},
	}
}

// heldLayers are those that hold a program and its children together.
func (l *Launcher) heldLayers(heldErr, groupsErr error) []Layer {
	lifetime, number, memory := Layer{Name: "lifetime", State: On}, Layer{Name: "processes", State: On}, Layer{Name: "memory", State: On}
	if l.held == 0 {
		lifetime.State, lifetime.Remedy = Degraded, "run the agent as root, or allow user namespaces"
		lifetime.Reason = fmt.Sprintf("when the agent is killed, what a build has started goes on to its end: no namespace of processes can be made (%v)", heldErr)
	}
	if l.groups == nil {
		memory.State, memory.Remedy = Degraded, "run the agent as root where it may make control groups"
		memory.Reason = fmt.Sprintf("the processes of a build have a limit each, not one in all: no control group can be made (%v)", groupsErr)
		if !counts(l.held, l.abi) {
			number.State, number.Remedy = Degraded, memory.Remedy+", or as a plain user who may make user namespaces, on Linux 5.19 or later"
			number.Reason = fmt.Sprintf("a build may start any number of processes: no control group can be made (%v)", groupsErr)
		}
	}
	return []Layer{lifetime, number, memory}
}

// Start starts a command under rules, as its own Start would. The environment of
// the command is exactly Env, and Path is absolute. It is up to the caller to put
// a command with Children into a process group of its own, and to Wait.
//
// A program with Children is killed with all of them when the thread that calls
// Start ends, as when this process is killed: the caller keeps to its thread
// (runtime.LockOSThread) until it has waited.
//
// An error means that the program was not started.
func (l *Launcher) Start(cmd *exec.Cmd, rules Rules) error {
	orderIn, orderOut, err := os.Pipe()
	if err != nil {
		return err
	}
	defer orderIn.Close()
	defer orderOut.Close()
	saidIn, saidOut, err := os.Pipe()
	if err != nil {
		return err
	}
	defer saidIn.Close()
	defer saidOut.Close()

	var group group
	if rules.Children {
		hold(cmd, l.held)
		if l.groups != nil {
			if group, err = l.groups.make(rules.Limits); err != nil {
				return fmt.Errorf("make a control group: %w", err)
			}
		}
	}
	if !rules.Children || !counts(l.held, l.abi) {
		rules.Limits.Tasks = 0 // it would be one of all that the user runs
	}
	told := order{ABI: l.abi, Calls: l.calls, Rules: rules, Path: cmd.Path, Args: cmd.Args, Env: cmd.Env}
	first := 3 + len(cmd.ExtraFiles)
	cmd.ExtraFiles = append(cmd.ExtraFiles, orderIn, saidOut)
	cmd.Path, cmd.Args, cmd.Env = self, []string{name, strconv.Itoa(first)}, []string{}
	if err := cmd.Start(); err != nil {
		return errors.Join(fmt.Errorf("start the launcher: %w", err), group.remove())
	}
	_ = orderIn.Close()
	_ = saidOut.Close()
	if group != nil {
		err = l.groups.take(cmd.Process.Pid, group)
	}
	if err == nil { // else it exits without an order
		err = json.NewEncoder(orderOut).Encode(told)
	}
	_ = orderOut.Close()
	said, readErr := io.ReadAll(io.LimitReader(saidIn, maxSaid))
	if err := errors.Join(err, readErr); err == nil && string(said) == done {
		return nil
	}
	exit := cmd.Wait()
	if reason := strings.TrimPrefix(string(said), done); reason != "" {
		return fmt.Errorf("confine %s: %s", told.Path, reason)
	}
	return fmt.Errorf("confine %s: the launcher ended: %w", told.Path, errors.Join(exit, err, readErr))
}
