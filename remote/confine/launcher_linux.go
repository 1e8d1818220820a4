//go:build amd64 || arm64

package confine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Launcher starts programs. Its methods may be called concurrently.
type Launcher struct {
	abi     int // of Landlock; 0: none
	calls   bool
	held    uintptr // how programs with children are held together; see holding
	groups  *groups // nil: none can be made
	udp     *datagrams
	apart   *apart   // nil: what ForkExec starts shares the namespaces of this process
	common  []Layer  // of Start and ForkExec
	layers  []Layer  // of Start
	free    []Layer  // of ForkExec alone
	filters sync.Map // []instr, by filterKind
}

// New finds out what the kernel offers.
func New() *Launcher {
	abi, landlockErr := landlockABI()
	seccompErr := seccompWorks()
	held, heldErr := holding()
	groups, groupsErr := findGroups()
	if groupsErr != nil {
		groups = nil
	}
	datagrams, datagramsErr := findDatagrams()
	if datagramsErr != nil {
		datagrams = nil
	}
	l := &Launcher{abi: abi, calls: seccompErr == nil, held: held, groups: groups, udp: datagrams}
	l.common = layers(abi, landlockErr, seccompErr)
	l.layers = slices.Concat(l.common, l.heldLayers(heldErr, groupsErr))
	l.free = l.freeLayers(groupsErr, datagramsErr)
	return l
}

// Layers says what is in force for the programs that Start starts.
func (l *Launcher) Layers() []Layer { return l.layers }

// FreeLayers says what is in force for the programs that ForkExec starts.
func (l *Launcher) FreeLayers() []Layer { return slices.Concat(l.common, l.free) }

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
		calls = Layer{Calls, Off, "system calls cannot be filtered: " + seccompErr.Error(), "Linux 4.14 or later, with seccomp filters"}
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
func (l *Launcher) freeLayers(groupsErr, datagramsErr error) []Layer {
	number, memory, cpu := Layer{Name: Processes, State: On}, Layer{Name: Memory, State: On}, Layer{Name: CPU, State: On}
	if l.groups == nil {
		number = Layer{Processes, Off, fmt.Sprintf("a program may start any number of threads and processes: no control group can be made (%v)", groupsErr), runAsRoot}
		memory = Layer{Memory, Degraded, fmt.Sprintf("the processes of a program have a limit each, not one in all: no control group can be made (%v)", groupsErr), runAsRoot}
		cpu = Layer{CPU, Off, fmt.Sprintf("processors are not limited: no control group can be made (%v)", groupsErr), runAsRoot}
	} else if !l.groups.cpu {
		cpu = Layer{CPU, Off, "processors are not limited: there are no control groups of them", "mount the controller cpu"}
	}
	datagrams := Layer{Name: Datagrams, State: On}
	if l.udp == nil {
		datagrams = Layer{Datagrams, Off, fmt.Sprintf("a list of ports leaves UDP open: no program of the kernel can close it (%v)", datagramsErr), runAsRoot + ", of version 2 too"}
	}
	return []Layer{number, memory, cpu, datagrams}
}

// Start starts a program with what it needs of rules, as os.StartProcess would. It is up
// to the caller to put a program with Children into a process group of its own, and to
// Wait.
//
// A program with Children is killed with all of them when the thread that calls
// Start ends, as when this process is killed: the caller keeps to its thread
// (runtime.LockOSThread) until it has waited.
//
// Of attr.Sys it uses the fields that ForkExec uses. An error means that the program was
// not started.
func (l *Launcher) Start(path string, argv []string, attr *syscall.ProcAttr, rules Rules) (*os.Process, error) {
	pid, group, err := l.launch(path, argv, attr, rules, true)
	if err != nil {
		return nil, err
	}
	if group != nil {
		l.groups.spend(group)
	}
	return os.FindProcess(pid)
}

// ForkExec starts a program under rules, as that of package syscall would. The
// process is not held: it lives as long as it likes, and its pid is the program's.
// Call release when the process and its children have exited.
//
// Of attr.Sys it uses Setsid, Setpgid, Credential, Cloneflags and PidFD. An error means
// that the program was not started.
func (l *Launcher) ForkExec(path string, argv []string, attr *syscall.ProcAttr, rules Rules) (pid int, release func(), err error) {
	pid, group, err := l.launch(path, argv, attr, rules, false)
	return pid, func() {
		if group.remove() != nil { // a child of the program is about to exit
			l.groups.spend(group)
		}
	}, err
}

// A program that this process has just written may still be open for writing in another
// child, until that has become its program (go.dev/issue/22315).
const (
	busyFirst = time.Millisecond
	busyMost  = 64 * time.Millisecond
)

// launch starts a program. The caller removes the group, if there is one, when the program
// has exited.
func (l *Launcher) launch(path string, argv []string, attr *syscall.ProcAttr, rules Rules, held bool) (pid int, made group, err error) {
	for wait := busyFirst; ; wait *= 2 {
		pid, made, err = l.run(attr, rules, held, func(c *calls) {
			c.add("run "+path, unix.SYS_EXECVE, c.text(path), c.texts(argv), c.texts(attr.Env))
		})
		if !errors.Is(err, unix.ETXTBSY) || wait > busyMost {
			break
		}
		<-time.After(wait)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("confine %s: %w", path, err)
	}
	if attr.Sys != nil && attr.Sys.PidFD != nil {
		if *attr.Sys.PidFD, err = unix.PidfdOpen(pid, 0); err != nil {
			*attr.Sys.PidFD = -1 // before Linux 5.3
		}
	}
	return pid, made, nil
}

// run starts a child that gives up what rules do not name, and then makes the calls that end
// adds. They are in the order that the package's comment says.
func (l *Launcher) run(attr *syscall.ProcAttr, rules Rules, held bool, end func(*calls)) (pid int, made group, err error) {
	c, folder, cloneFlags := new(calls), -1, uintptr(0)
	defer func() {
		if err != nil {
			err = errors.Join(err, made.remove())
		}
	}()
	defer c.pins.Unpin()
	c.withoutHandlers()
	if held && rules.Children {
		cloneFlags = l.held
		c.hold(cloneFlags)
	}
	if l.groups != nil && (rules.Children || !held) {
		prefix := freePrefix
		if held {
			prefix = heldPrefix
		}
		if made, err = l.groups.make(prefix, rules.Limits); err != nil {
			return 0, nil, fmt.Errorf("make a control group: %w", err)
		}
		joins, dir, err := l.groups.open(made)
		if err != nil {
			return 0, made, err
		}
		defer closeFiles(append(joins, dir))
		if dir != nil {
			folder = int(dir.Fd()) //nolint:gosec // a descriptor
		}
		for _, file := range joins {
			c.add("join a control group", unix.SYS_WRITE, file.Fd(), c.text("0"), 1)
		}
	}
	if !held && l.udp != nil && !rules.AnyPort && len(rules.Connect) > 0 {
		dir, err := l.udp.join(&made)
		if err != nil {
			return 0, made, fmt.Errorf("close UDP: %w", err)
		}
		defer dir.Close()
		folder = int(dir.Fd()) //nolint:gosec // a descriptor
	}
	if !held && l.apart != nil {
		cloneFlags = l.apart.flags(&rules)
		trees, err := l.apart.enter(c, &rules)
		if err != nil {
			return 0, made, err
		}
		defer closeFDs(trees)
	}
	if attr.Sys != nil {
		c.begin(attr.Sys)
	}
	if attr.Dir != "" {
		c.add("enter "+attr.Dir, unix.SYS_CHDIR, c.text(attr.Dir))
	}
	var lent []uintptr
	if l.abi > 0 {
		ruleset, err := ruleset(l.abi, rules)
		if err != nil {
			return 0, made, err
		}
		defer ruleset.Close()
		lent = append(lent, ruleset.Fd())
	}
	first := uintptr(len(attr.Files))
	c.files(slices.Concat(attr.Files, lent))
	c.add("set the file mode creation mask", unix.SYS_UMASK, 0o077)
	if !counts(cloneFlags, l.abi) {
		rules.Limits.Tasks = 0 // the kernel would count all processes of the user
	}
	if err := c.limit(rules.Limits); err != nil {
		return 0, made, err
	}
	if err := c.closeFrom(first); err != nil {
		return 0, made, err
	}
	c.dropCapabilities()
	if rules.User != 0 {
		c.become(rules.User)
	}
	if held && rules.Children {
		c.endWithThread() // once more: another user, which it may have become, ends that
	}
	c.add("set no_new_privs", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	if l.abi > 0 {
		c.add("apply the Landlock ruleset", unix.SYS_LANDLOCK_RESTRICT_SELF, first)
	}
	if l.calls {
		c.install(l.filter(rules, l.abi < 6 && !rules.Children))
	}
	end(c)
	if attr.Sys != nil {
		cloneFlags |= attr.Sys.Cloneflags
	}
	pid, err = c.run(cloneFlags, folder)
	return pid, made, err
}

// filterKind is what of rules a filter depends on.
type filterKind struct {
	network, listen, unix, attributes, children, groups, ownSignals bool
}

// filter is the filter for rules. Making one takes as long as a hundredth of a start, so
// each kind is made once.
func (l *Launcher) filter(rules Rules, ownSignals bool) []instr {
	kind := filterKind{rules.network(), rules.Listen, rules.Unix, rules.Attributes, rules.Children, rules.Groups, ownSignals}
	if made, ok := l.filters.Load(kind); ok {
		return made.([]instr)
	}
	made := filter(rules, ownSignals)
	l.filters.Store(kind, made)
	return made
}

// keepsCapabilities says that this process has capabilities and not the one to
// give them up for good.
func keepsCapabilities() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true
	}
	has := data[0].Permitted|data[1].Permitted != 0
	return has && data[0].Effective&(1<<unix.CAP_SETPCAP) == 0
}
