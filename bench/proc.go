package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is the CPU time of a process and its children: the first number of each
// thread's schedstat (proc_pid_schedstat(5)), in nanoseconds. /proc/PID/stat has ticks
// of 10 ms only.
func cpuTime(pid int) (sum time.Duration, err error) {
	err = tree(pid, func(pid int) error {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil {
			return err
		}
		if len(tasks) == 0 {
			return fmt.Errorf("process %d has exited", pid)
		}
		for _, task := range tasks {
			stat, err := os.ReadFile(task)
			if err != nil {
				return err
			}
			first, _, _ := strings.Cut(string(stat), " ")
			ns, err := strconv.ParseInt(first, 10, 64)
			if err != nil {
				return fmt.Errorf("read %s: %w", task, err)
			}
			sum += time.Duration(ns)
		}
		return nil
	})
	return sum, err
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

// tree calls do with a process and its children, and theirs.
func tree(pid int, do func(pid int) error) error {
	if err := do(pid); err != nil {
		return err
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return err
	}
	for _, task := range tasks {
		children, err := os.ReadFile(task)
		if err != nil {
			return err
		}
		for child := range strings.FieldsSeq(string(children)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				return err
			}
			if err := tree(n, do); err != nil {
				return err
			}
		}
	}
	return nil
}

// treeMemory is the memory that a process and its children have for themselves, in bytes.
func treeMemory(pid int) (sum int64, err error) {
	err = tree(pid, func(pid int) error {
		m, err := memoryOf(pid)
		sum += m.PrivateDirty
		return err
	})
	return sum, err
}

// pin keeps the threads of a process and its children on processors. Those that they
// start later stay there, too.
func pin(pid int, on unix.CPUSet) error {
	return tree(pid, func(pid int) error {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(tid, &on); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("pin process %d: %w", pid, err)
			}
		}
		return nil
	})
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
