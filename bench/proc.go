package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cpuTime is the CPU time of a process and its children: the first number of each
// thread's schedstat (proc_pid_schedstat(5)), in nanoseconds. /proc/PID/stat has ticks
// of 10 ms only.
func cpuTime(pid int) (time.Duration, error) {
	var sum time.Duration
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return 0, err
	}
	if len(tasks) == 0 {
		return 0, fmt.Errorf("process %d has exited", pid)
	}
	for _, task := range tasks {
		stat, err := os.ReadFile(filepath.Join(task, "schedstat"))
		if err != nil {
			return 0, err
		}
		first, _, _ := strings.Cut(string(stat), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read %s/schedstat: %w", task, err)
		}
		sum += time.Duration(ns)
		children, err := os.ReadFile(filepath.Join(task, "children"))
		if err != nil {
			return 0, err
		}
		for child := range strings.FieldsSeq(string(children)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				return 0, err
			}
			time, err := cpuTime(n)
			if err != nil {
				return 0, err
			}
			sum += time
		}
	}
	return sum, nil
}

// memory is that of a process, in bytes.
type memory struct {
	RSS          int64 // resident, pages that others share included
	PrivateDirty int64 // freed at once when the process exits
}

func memoryOf(pid int) (memory, error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	data, err := os.ReadFile(path)
	if err != nil {
		return memory{}, err
	}
	var m memory
	fields := map[string]*int64{"Rss:": &m.RSS, "Private_Dirty:": &m.PrivateDirty}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if field := fields[words[0]]; field != nil {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return memory{}, fmt.Errorf("read %s: %w", path, err)
			}
			*field = kib << 10
			delete(fields, words[0])
		}
	}
	if len(fields) > 0 {
		return memory{}, fmt.Errorf("read %s: lines are missing", path)
	}
	return m, nil
}

// syncBinary writes a process's program to the disk. Until then the pages of a new
// program count as dirty.
func syncBinary(pid int) error {
	binary, err := os.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return err
	}
	defer binary.Close()
	return binary.Sync()
}

// machine says where the figures come from.
func machine(cpus int, goVersion string) string {
	model, kernel := "CPU", "Linux"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(info), "model name\t: "); ok {
			model, _, _ = strings.Cut(after, "\n")
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel += " " + strings.TrimSpace(string(release))
	}
	return fmt.Sprintf("%d × %s, %s, %s", cpus, model, kernel, goVersion)
}
