//go:build amd64 || arm64

package confine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// The names of our control groups begin with one of these. Who made them follows: see maker.
const (
	heldPrefix = "ryo-build-"
	freePrefix = "ryo-function-"
)

// maker is what the name of each group of this process has after its prefix: the namespace
// of its pid, since agents in containers may share control groups, and the pid.
var maker = sync.OnceValue(func() string {
	own, _ := namespace("self")
	return own + "-" + strconv.Itoa(os.Getpid()) + "-"
})

// firstNamespace is the number of the namespace from which all pids can be seen.
const firstNamespace = "4026531836"

// namespace returns the number of the namespace of a process's pid. The error is ErrNotExist
// for one that has exited.
func namespace(pid string) (string, error) {
	link, err := os.Readlink("/proc/" + pid + "/ns/pid")
	return strings.TrimSuffix(strings.TrimPrefix(link, "pid:["), "]"), err
}

// groups makes control groups (cgroups), one for each program.
type groups struct {
	hierarchies []hierarchy
	cpu         bool // they can limit processors

	mu   sync.Mutex // guards the fields below
	used []string   // folders that are still to be removed: see spend
}

// hierarchy is a folder in which groups can be made, and the files that limit them.
type hierarchy struct {
	dir                string
	tasks, memory, cpu string
	second             bool // of version 2
}

// findGroups looks where this process may make groups with limits. The error says
// why it may not.
func findGroups() (*groups, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	g := &groups{hierarchies: hierarchies(string(mounts), string(own))}
	for _, h := range g.hierarchies {
		sweep(h.dir)
		if h.second { // has the limits only where they were asked for
			for _, controller := range []string{"+pids", "+memory", "+cpu"} {
				_ = os.WriteFile(filepath.Join(h.dir, "cgroup.subtree_control"), []byte(controller), 0o600)
			}
		}
	}
	probe, err := g.make(heldPrefix, Limits{Tasks: 1 << 10, Memory: 1 << 30})
	if err != nil {
		return nil, err
	}
	g.cpu = g.limit(probe, Limits{CPUs: 1}) == nil && slices.ContainsFunc(g.hierarchies, func(h hierarchy) bool { return h.cpu != "" })
	return g, probe.remove()
}

// hierarchies returns the hierarchies of version 1 with the controllers of tasks and of
// memory, and of processors if it is there. If one of the first two is missing, it returns
// the hierarchy of version 2. mountinfo and cgroup are what these files of /proc say.
func hierarchies(mountinfo, cgroup string) (list []hierarchy) {
	own := map[string]string{} // path by controller; "" is version 2
	for line := range strings.Lines(cgroup) {
		if parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(parts) == 3 {
			for controller := range strings.SplitSeq(parts[1], ",") {
				own[controller] = parts[2]
			}
		}
	}
	var second []hierarchy
	found := map[string]bool{}
	for line := range strings.Lines(mountinfo) {
		where, what, _ := strings.Cut(line, " - ")
		place, kind := strings.Fields(where), strings.Fields(what)
		if len(place) < 5 || len(kind) < 3 {
			continue
		}
		dir := func(path string) string { return filepath.Join(place[4], strings.TrimPrefix(path, place[3])) }
		if kind[0] == "cgroup2" {
			// Beside the group of this process: one that has processes cannot limit groups
			// inside it.
			second = []hierarchy{{dir: dir(filepath.Dir(own[""])), tasks: "pids.max", memory: "memory.max", cpu: "cpu.max", second: true}}
		}
		if kind[0] != "cgroup" {
			continue
		}
		var h hierarchy
		for controller := range strings.SplitSeq(kind[2], ",") {
			if found[controller] {
				continue // it is mounted twice
			}
			switch controller {
			case "pids":
				h.tasks = "pids.max"
			case "memory":
				h.memory = "memory.limit_in_bytes"
			case "cpu":
				h.cpu = "cpu.cfs_quota_us"
			default:
				continue
			}
			found[controller], h.dir = true, dir(own[controller])
		}
		if h.dir != "" {
			list = append(list, h)
		}
	}
	if found["pids"] && found["memory"] {
		return list
	}
	return second
}

// group is the control group of a program: a folder in each hierarchy.
type group []string

// make makes a group with limits, whose name begins with a prefix.
func (g *groups) make(prefix string, l Limits) (made group, err error) {
	if len(g.hierarchies) == 0 {
		return nil, errors.New("no control groups of tasks and memory are mounted")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, made.remove())
		}
	}()
	for _, h := range g.hierarchies {
		dir, err := os.MkdirTemp(h.dir, prefix+maker())
		if err != nil {
			return made, err
		}
		made = append(made, dir)
	}
	return made, g.limit(made, l)
}

// period is that of limits of processors, in microseconds: the kernel's default.
const period = 100_000

func (g *groups) limit(made group, l Limits) error {
	for i, h := range g.hierarchies {
		quota := int64(l.CPUs * period)
		cpu := strconv.FormatInt(quota, 10)
		if h.second {
			cpu += " " + strconv.Itoa(period)
		}
		for _, to := range []struct {
			file, value string
			set         bool
		}{
			{h.tasks, strconv.FormatUint(l.Tasks, 10), l.Tasks > 0},
			{h.memory, strconv.FormatUint(l.Memory, 10), l.Memory > 0},
			{h.cpu, cpu, quota > 0},
		} {
			if to.file == "" || !to.set {
				continue
			}
			if err := os.WriteFile(filepath.Join(made[i], to.file), []byte(to.value), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry is the file by which a thread joins a group of version 1, which takes no time, or a
// process one of version 2, which takes some 10 ms.
func (h hierarchy) entry(dir string) string {
	if h.second {
		return filepath.Join(dir, "cgroup.procs")
	}
	return filepath.Join(dir, "tasks")
}

// open opens the files by which a thread joins a group of version 1, and the folder of
// one of version 2, in which a process can begin.
func (g *groups) open(made group) (joins []*os.File, folder *os.File, err error) {
	for i, h := range g.hierarchies {
		if h.second {
			folder, err = os.Open(made[i])
		} else {
			var file *os.File
			if file, err = os.OpenFile(h.entry(made[i]), os.O_WRONLY, 0); err == nil {
				joins = append(joins, file)
			}
		}
		if err != nil {
			closeFiles(append(joins, folder))
			return nil, nil, err
		}
	}
	return joins, folder, nil
}

func closeFiles(files []*os.File) {
	for _, file := range files {
		if file != nil {
			_ = file.Close()
		}
	}
}

// spend notes a group whose processes may still run. A later call of spend removes it, once
// they have exited.
func (g *groups) spend(m group) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used = slices.DeleteFunc(g.used, func(dir string) bool { return !errors.Is(syscall.Rmdir(dir), syscall.EBUSY) })
	g.used = append(g.used, m...)
}

// remove removes a group without processes.
func (m group) remove() (err error) {
	for _, dir := range m {
		if rmErr := os.Remove(dir); !errors.Is(rmErr, os.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	return err
}

// sweep removes the groups whose makers have exited.
func sweep(dir string) {
	own, _ := namespace("self")
	for _, prefix := range []string{heldPrefix, freePrefix} {
		found, _ := filepath.Glob(filepath.Join(dir, prefix+"*"))
		for _, old := range found {
			parts := strings.Split(strings.TrimPrefix(filepath.Base(old), prefix), "-")
			if len(parts) == 3 && exited(parts[0], parts[1], own) {
				_ = syscall.Rmdir(old) // fails while a process of it runs
			}
		}
	}
}

// exited reports whether a maker of groups is surely no more, as a process whose pid is of
// the namespace own sees it.
func exited(space, pid, own string) bool {
	if space == own {
		n, err := strconv.Atoi(pid)
		return err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH)
	}
	if own != firstNamespace {
		return false
	}
	others, err := filepath.Glob("/proc/[0-9]*")
	return err == nil && !slices.ContainsFunc(others, func(dir string) bool {
		theirs, err := namespace(filepath.Base(dir))
		return theirs == space || errors.Is(err, os.ErrPermission) && !plain(dir)
	})
}

// plain reports whether the process of a folder of /proc is of no namespace inside that of
// this process: then it has no further pid. That is told of processes of all users.
func plain(dir string) bool {
	status, _ := os.ReadFile(filepath.Join(dir, "status"))
	_, rest, _ := strings.Cut(string(status), "\nNSpid:")
	pids, _, _ := strings.Cut(rest, "\n")
	return len(strings.Fields(pids)) == 1
}
