package confine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/remote/confine/launch"
)

const (
	// self is this program, even when its file has been replaced.
	self = "/proc/self/exe"
	// maxSaid is how much of what a launcher says is read, in bytes.
	maxSaid = 4 << 10
)

// hasMain is set by Main.
var hasMain atomic.Bool

// Launcher starts programs. Its methods may be called concurrently.
type Launcher struct {
	abi     int // of Landlock; 0: none
	calls   bool
	held    uintptr                // how programs with children are held together; see holding
	groups  *groups                // nil: none can be made
	layers  []Layer                // of Start
	free    []Layer                // of ForkExec
	program atomic.Pointer[string] // that Use was given last; nil: self
	filters sync.Map               // encoded, by filterKind
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
	common := layers(abi, landlockErr, seccompErr)
	l.layers = slices.Concat(common, l.heldLayers(heldErr, groupsErr))
	l.free = slices.Concat(common, l.freeLayers(groupsErr))
	return l, nil
}

// Use makes a program that was built of Source the launcher from now on, if it proves
// that it is one. Else, and when it is removed later, this program is the launcher.
func (l *Launcher) Use(program string) error {
	if l.current() == program {
		return nil
	}
	if err := l.prove(program); err != nil {
		return fmt.Errorf("%s is no launcher: %w", program, err)
	}
	l.program.Store(&program)
	return nil
}

// current is the program that is the launcher.
func (l *Launcher) current() string {
	if used := l.program.Load(); used != nil && unix.Access(*used, unix.X_OK) == nil {
		return *used
	}
	return self // the other was removed, perhaps with the cache
}

// Layers says what is in force for every program that Start starts.
func (l *Launcher) Layers() []Layer { return l.layers }

// FreeLayers says it of those that ForkExec starts.
func (l *Launcher) FreeLayers() []Layer { return l.free }

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
	calls := Layer{Name: Calls, State: On}
	if seccompErr != nil {
		calls = Layer{Calls, Off, "system calls cannot be filtered: " + seccompErr.Error(), "Linux 4.14 or later on amd64 or arm64, with seccomp filters"}
	}
	privileges := Layer{Name: "privileges", State: On}
	if keepsCapabilities() {
		privileges.State, privileges.Reason = Degraded, "the agent has capabilities, which programs inherit, and not the one to give them up"
		privileges.Remedy = "run the agent as a plain user, or with CAP_SETPCAP"
	}
	return []Layer{
		landlock(Files, 3, "6.2", "files that cannot be written can be truncated"),
		landlock(Ports, 4, "6.7", "a program with a network can dial every port"),
		landlock("signals", 6, "6.12", "a program that starts others can signal all processes of its user"),
		calls,
		privileges,
		{Name: "limits", State: On},
	}
}

// heldLayers are those that hold a program and its children together.
func (l *Launcher) heldLayers(heldErr, groupsErr error) []Layer {
	lifetime, number, memory := Layer{Name: "lifetime", State: On}, Layer{Name: Processes, State: On}, Layer{Name: Memory, State: On}
	if l.held == 0 {
		lifetime.State, lifetime.Remedy = Degraded, "run the agent as root, or allow user namespaces"
		lifetime.Reason = fmt.Sprintf("when the agent is killed, what a build has started goes on to its end: no namespace of processes can be made (%v)", heldErr)
	}
	if l.groups == nil {
		memory.State, memory.Remedy = Degraded, runAsRoot
		memory.Reason = fmt.Sprintf("the processes of a build have a limit each, not one in all: no control group can be made (%v)", groupsErr)
		if !counts(l.held, l.abi) {
			number.State, number.Remedy = Degraded, memory.Remedy+", or as a plain user who may make user namespaces, on Linux 5.19 or later"
			number.Reason = fmt.Sprintf("a build may start any number of processes: no control group can be made (%v)", groupsErr)
		}
	}
	return []Layer{lifetime, number, memory}
}

const runAsRoot = "run the agent as root where it may make control groups"

// freeLayers are those that bound what a program of ForkExec takes.
func (l *Launcher) freeLayers(groupsErr error) []Layer {
	number, memory, cpu := Layer{Name: Processes, State: On}, Layer{Name: Memory, State: On}, Layer{Name: CPU, State: On}
	if l.groups == nil {
		number = Layer{Processes, Off, fmt.Sprintf("a program may start any number of threads and processes: no control group can be made (%v)", groupsErr), runAsRoot}
		memory = Layer{Memory, Degraded, fmt.Sprintf("the processes of a program have a limit each, not one in all: no control group can be made (%v)", groupsErr), runAsRoot}
		cpu = Layer{CPU, Off, fmt.Sprintf("processors are not limited: no control group can be made (%v)", groupsErr), runAsRoot}
	} else if !l.groups.cpu {
		cpu = Layer{CPU, Off, "processors are not limited: there are no control groups of them", "mount the controller cpu"}
	}
	return []Layer{number, memory, cpu}
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
	order := launch.Order{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	if rules.Children {
		hold(cmd.SysProcAttr, l.held)
	}
	meant := cmd.ExtraFiles
	group, err := l.launch(order, rules, control{
		launcher: l.current(), held: true, first: 3 + len(meant), attr: cmd.SysProcAttr,
		start: func(program string, args []string, files []*os.File) (int, error) {
			cmd.Path, cmd.Args, cmd.Env, cmd.ExtraFiles = program, args, []string{}, slices.Concat(meant, files)
			if err := cmd.Start(); err != nil {
				return 0, err
			}
			return cmd.Process.Pid, nil
		},
		wait: func(int) error { return cmd.Wait() },
	})
	if err == nil && group != nil {
		l.groups.spend(group)
	}
	return err
}

// ForkExec starts a program under rules, as that of package syscall would. The
// process is not held: it lives as long as it likes, and its pid is the program's.
// Call release when the process and its children have exited.
//
// An error means that the program was not started.
func (l *Launcher) ForkExec(path string, argv []string, attr *syscall.ProcAttr, rules Rules) (pid int, release func(), err error) {
	group, err := l.launch(launch.Order{Path: path, Args: argv, Env: attr.Env}, rules, l.forked(attr, &pid))
	return pid, func() {
		if group.remove() != nil { // a child of its is about to exit
			l.groups.spend(group)
		}
	}, err
}

// forked handles a process that ForkExec starts.
func (l *Launcher) forked(attr *syscall.ProcAttr, pid *int) control {
	launched := *attr
	launched.Env, launched.Sys = []string{}, new(syscall.SysProcAttr)
	if attr.Sys != nil {
		*launched.Sys = *attr.Sys
	}
	return control{
		launcher: l.current(), first: len(attr.Files), attr: launched.Sys,
		start: func(program string, args []string, files []*os.File) (_ int, err error) {
			launched.Files = slices.Clip(attr.Files)
			for _, file := range files {
				launched.Files = append(launched.Files, file.Fd())
			}
			*pid, err = syscall.ForkExec(program, args, &launched)
			return *pid, err
		},
		wait: reap,
	}
}

// Prove starts a process under rules that grant nothing but to dial a port, tries to get
// past each layer that is on, and says which attempt has.
func (l *Launcher) Prove() error { return l.prove(l.current()) }

func (l *Launcher) prove(launcher string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	pid, attr := 0, &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}}
	c := l.forked(attr, &pid)
	c.launcher = launcher
	_, err = l.launch(launch.Order{}, Rules{Connect: []uint16{provePort}, Limits: Limits{Tasks: 64}}, c)
	var said told
	if !errors.As(err, &said) {
		return err
	}
	return l.judge(string(said))
}

// provePort is a port that Prove does not try to dial.
const provePort = 9

// attempts are what package launch tries, the layer that denies it, from which ABI of
// Landlock on, and how.
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
}

// judge compares what a process could do with the layers.
func (l *Launcher) judge(said string) error {
	came := make(map[string]syscall.Errno)
	for line := range strings.Lines(said) {
		var name string
		var errno uint
		if n, _ := fmt.Sscanf(line, "%s %d", &name, &errno); n == 2 {
			came[name] = syscall.Errno(errno)
		}
	}
	for _, a := range attempts {
		if a.layer == Calls && !l.calls || a.layer != Calls && l.abi < a.since {
			continue
		}
		got, tried := came[a.name]
		// What else denies a file or a port on this machine may come first, and be named.
		denied := got == a.want || a.layer != Calls && got != 0 && got != unix.ECONNREFUSED
		if !tried || !denied {
			return fmt.Errorf("the layer %s is on, but a process under it could try %q: %s (%d) instead of %s", a.layer, a.name, got.Error(), int(got), a.want.Error())
		}
	}
	return nil
}

// reap waits for a launcher that has failed.
func reap(pid int) error {
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(pid, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return err
		default:
			return fmt.Errorf("exit status %d, signal %d", status.ExitStatus(), status.Signal())
		}
	}
}

// control is how the process of a launcher is handled.
type control struct {
	launcher string               // its program
	held     bool                 // it ends with this process
	first    int                  // number of the first descriptor of its own
	attr     *syscall.SysProcAttr // it is started with
	// start starts a program with descriptors beside those that were meant for it.
	start func(program string, args []string, files []*os.File) (pid int, err error)
	wait  func(pid int) error // for its exit
}

// launch starts a launcher and has it become the program. The caller removes the group,
// which there may be, when the program has exited.
func (l *Launcher) launch(order launch.Order, rules Rules, c control) (made group, err error) {
	orderIn, orderOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer orderIn.Close()
	defer orderOut.Close()
	saidIn, saidOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer saidIn.Close()
	defer saidOut.Close()
	files := []*os.File{orderIn, saidOut}
	lend := func(file *os.File) uint32 {
		files = append(files, file)
		return uint32(c.first + len(files) - 1) //nolint:gosec // a descriptor
	}
	if l.abi > 0 {
		ruleset, err := ruleset(l.abi, rules)
		if err != nil {
			return nil, fmt.Errorf("confine %s: %w", order.Path, err)
		}
		defer ruleset.Close()
		order.Ruleset = lend(ruleset)
	}
	if l.groups != nil && (rules.Children || !c.held) {
		prefix := freePrefix
		if c.held {
			prefix = heldPrefix
		}
		if made, err = l.groups.make(prefix, rules.Limits); err != nil {
			return nil, fmt.Errorf("make a control group: %w", err)
		}
		defer func() {
			if err != nil {
				err, made = errors.Join(err, made.remove()), nil
			}
		}()
		joins, folder, err := l.groups.open(made)
		if err != nil {
			return made, err
		}
		defer closeFiles(append(joins, folder))
		for _, file := range joins {
			order.Joins = append(order.Joins, lend(file))
		}
		if folder != nil {
			c.attr.UseCgroupFD, c.attr.CgroupFD = true, int(folder.Fd()) //nolint:gosec // a descriptor
		}
	}
	if !rules.Children || !c.held || !counts(l.held, l.abi) {
		rules.Limits.Tasks = 0 // it would be one of all that the user runs
	}
	order.Limits, order.User = limits(rules.Limits), rules.User

	pid, err := c.start(c.launcher, []string{launch.Name, strconv.Itoa(c.first)}, files)
	if err != nil {
		return made, fmt.Errorf("start the launcher: %w", err)
	}
	_ = orderIn.Close()
	_ = saidOut.Close()
	own := 0
	if l.abi < 6 && !rules.Children {
		own = pid
	}
	if l.calls {
		order.Filter = l.filter(rules, own)
	}
	_, err = orderOut.Write(order.Encode())
	_ = orderOut.Close()
	said, readErr := io.ReadAll(io.LimitReader(saidIn, maxSaid))
	if err := errors.Join(err, readErr); err == nil && string(said) == launch.Done {
		return made, nil
	}
	exit := c.wait(pid)
	if reason := strings.TrimPrefix(string(said), launch.Done); reason != "" {
		return made, fmt.Errorf("confine %s: %w", order.Path, told(reason))
	}
	return made, fmt.Errorf("confine %s: the launcher ended: %w", order.Path, errors.Join(exit, err, readErr))
}

// told is what a launcher says.
type told string

func (t told) Error() string { return string(t) }

// limits are Limits as the kernel knows them.
func limits(l Limits) []launch.Limit {
	list := []launch.Limit{{What: "core dumps", Which: unix.RLIMIT_CORE}, {What: "locked memory", Which: unix.RLIMIT_MEMLOCK}}
	for _, limit := range []launch.Limit{
		{What: "processor time", Which: unix.RLIMIT_CPU, Value: uint64(l.CPU / time.Second)}, //nolint:gosec // positive
		{What: "memory", Which: unix.RLIMIT_DATA, Value: l.Data},
		{What: "file size", Which: unix.RLIMIT_FSIZE, Value: l.File},
		{What: "open files", Which: unix.RLIMIT_NOFILE, Value: l.Files},
		{What: "processes", Which: unix.RLIMIT_NPROC, Value: l.Tasks},
	} {
		if limit.Value > 0 {
			list = append(list, limit)
		}
	}
	return list
}

// filterKind is what of rules a filter depends on.
type filterKind struct {
	network, listen, unix, attributes, children, groups bool
	ownSignals                                          int
}

// filter is the filter for rules, encoded. Making one takes as long as a hundredth of
// a start, so each kind is made once.
func (l *Launcher) filter(rules Rules, ownSignals int) string {
	kind := filterKind{rules.network(), rules.Listen, rules.Unix, rules.Attributes, rules.Children, rules.Groups, ownSignals}
	if made, ok := l.filters.Load(kind); ok {
		return made.(string)
	}
	made := encoded(filter(rules, ownSignals))
	if ownSignals == 0 { // a pid does not come again
		l.filters.Store(kind, made)
	}
	return made
}
