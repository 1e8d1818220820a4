package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// groupPrefix begins the names of our control groups. The pid of their maker follows.
const groupPrefix = "ryo-build-"

// groups makes control groups (cgroups) for programs with children, one for each.
// A group whose processes have all exited is removed when the next one is made.
type groups struct {
	hierarchies []hierarchy

	mu   sync.Mutex // guards the fields below
	used []string   // folders
}

// hierarchy is a folder in which groups can be made, and the files that limit them.
type hierarchy struct{ dir, tasks, memory string }

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
		g.sweep(h.dir)
		// Version 2 has the limits only where they were asked for.
		_ = os.WriteFile(filepath.Join(h.dir, "cgroup.subtree_control"), []byte("+pids +memory"), 0o600)
	}
	probe, err := g.make(Limits{Tasks: 1 << 10, Memory: 1 << 30})
	if err == nil {
		err = probe.remove()
	}
	return g, err
}

// hierarchies reads which of version 1 have controllers of tasks and memory, or
// else the one of version 2, from the files of /proc of these names.
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
	for line := range strings.Lines(mountinfo) {
		where, what, _ := strings.Cut(line, " - ")
		place, kind := strings.Fields(where), strings.Fields(what)
		if len(place) < 5 || len(kind) < 3 {
			continue
		}
		dir := func(path string) string { return filepath.Join(place[4], strings.TrimPrefix(path, place[3])) }
		options := strings.Split(kind[2], ",")
		switch {
		case kind[0] == "cgroup2":
			// Beside this process: a group with processes has no limits for others in it.
			second = []hierarchy{{dir(filepath.Dir(own[""])), "pids.max", "memory.max"}}
		case kind[0] == "cgroup" && slices.Contains(options, "pids"):
			list = append(list, hierarchy{dir(own["pids"]), "pids.max", ""})
		case kind[0] == "cgroup" && slices.Contains(options, "memory"):
			list = append(list, hierarchy{dir(own["memory"]), "", "memory.limit_in_bytes"})
		}
	}
	if len(list) == 2 {
		return list
	}
	return second
}

// group is one of a program: a folder in each hierarchy.
type group []string

// make makes a group with limits.
func (g *groups) make(l Limits) (made group, err error) {
	if len(g.hierarchies) == 0 {
		return nil, errors.New("no control groups of tasks and memory are mounted")
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, made.remove())
		}
	}()
	for _, h := range g.hierarchies {
		dir, err := os.MkdirTemp(h.dir, groupPrefix+strconv.Itoa(os.Getpid())+"-")
		if err != nil {
			return made, err
		}
		made = append(made, dir)
		for file, limit := range map[string]uint64{h.tasks: l.Tasks, h.memory: l.Memory} {
			if file == "" || limit == 0 {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), strconv.AppendUint(nil, limit, 10), 0o600); err != nil {
				return made, err
			}
		}
	}
	return made, nil
}

// take brings a process into a group, and removes groups without processes.
func (g *groups) take(pid int, into group) error {
	for _, dir := range into {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), strconv.AppendInt(nil, int64(pid), 10), 0o600); err != nil {
			return errors.Join(fmt.Errorf("join the control group: %w", err), into.remove())
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used = slices.DeleteFunc(g.used, func(dir string) bool { return !errors.Is(syscall.Rmdir(dir), syscall.EBUSY) })
	g.used = append(g.used, into...)
	return nil
}

// remove removes a group without processes.
func (m group) remove() (err error) {
	for _, dir := range m {
		err = errors.Join(err, os.Remove(dir))
	}
	return err
}

// sweep removes the groups whose makers have exited.
func (*groups) sweep(dir string) {
	found, _ := filepath.Glob(filepath.Join(dir, groupPrefix+"*"))
	for _, old := range found {
		name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(old), groupPrefix), "-")
		if pid, err := strconv.Atoi(name); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = syscall.Rmdir(old) // fails while a process of it runs
		}
	}
}
