package process

import (
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

const (
	// tick is the unit of times in /proc/PID/stat, on every system that runs Go.
	tick = time.Second / 100
	// cgroups is where the file systems of cgroups are mounted.
	cgroups = "/sys/fs/cgroup"
)

// Usage says what the process uses now; os.ErrProcessDone: it has exited.
func (p *Process) Usage() (Usage, error) {
	u, err := usage(p.id)
	if err != nil {
		return Usage{}, fmt.Errorf("read the usage of process %d: %w", p.id.Pid, err)
	}
	return u, nil
}

// Frozen reports whether a signal has stopped the process, or a debugger has. It is then
// called in vain until it goes on.
func (p *Process) Frozen() bool {
	s, err := readStat(p.id.Pid)
	return err == nil && s.start == p.id.Start && (s.state == 'T' || s.state == 't')
}

func usage(id Identity) (Usage, error) {
	dir := "/proc/" + strconv.Itoa(id.Pid)
	status, statusErr := os.ReadFile(dir + "/status")
	open, openErr := os.ReadDir(dir + "/fd")
	// This is read last: if the pid is another process's by now, all of the above may be, too.
	s, err := readStat(id.Pid)
	if errors.Is(err, os.ErrNotExist) || err == nil && (s.start != id.Start || s.state == 'Z') {
		return Usage{}, os.ErrProcessDone
	}
	if err := errors.Join(statusErr, openErr, err); err != nil {
		return Usage{}, err
	}
	resident, peak, err := parseMemory(status)
	if err != nil {
		return Usage{}, err
	}
	var sinceBoot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &sinceBoot); err != nil {
		return Usage{}, err
	}
	lived := time.Duration(sinceBoot.Nano()) - time.Duration(s.start)*tick //nolint:gosec // of this machine
	return Usage{
		CPU:      time.Duration(s.cpu) * tick, //nolint:gosec // as above
		Resident: resident, Peak: peak, Descriptors: len(open), Start: time.Now().Add(-lived),
	}, nil
}

// parseMemory takes two values from /proc/PID/status (proc(5)), in bytes.
func parseMemory(status []byte) (resident, peak uint64, err error) {
	found := 0
	for line := range bytes.Lines(status) {
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[2]) != "kB" {
			continue
		}
		var to *uint64
		switch string(fields[0]) {
		case "VmRSS:":
			to = &resident
		case "VmHWM:":
			to = &peak
		default:
			continue
		}
		kib, err := strconv.ParseUint(string(fields[1]), 10, 53)
		if err != nil {
			return 0, 0, err
		}
		*to = kib << 10
		found++
	}
	if found != 2 {
		return 0, 0, fmt.Errorf("%q does not tell of memory", status)
	}
	return resident, peak, nil
}

// stat is a part of /proc/PID/stat.
type stat struct {
	state   byte
	session int
	cpu     uint64 // ticks, of all its threads
	start   uint64 // ticks since boot
	exit    uint32 // the status as in wait4(2), of a zombie
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, unix.ESRCH) { // it exited between open and read
		err = os.ErrNotExist
	}
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// parseStat reads /proc/PID/stat (proc(5)). The second field is the program's name in
// parentheses, which may have any characters, so the third field is the one after the
// last parenthesis.
func parseStat(text []byte) (stat, error) {
	name := bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[name+1:]))
	if name < 0 || len(fields) < 50 {
		return stat{}, fmt.Errorf("%q is not the state of a process", text)
	}
	session, err1 := strconv.Atoi(fields[3])
	user, err2 := strconv.ParseUint(fields[11], 10, 62)
	system, err3 := strconv.ParseUint(fields[12], 10, 62)
	start, err4 := strconv.ParseUint(fields[19], 10, 64)
	exit, err5 := strconv.ParseUint(fields[49], 10, 32)
	return stat{
		state: fields[0][0], session: session, cpu: user + system, start: start, exit: uint32(exit), //nolint:gosec // 32 bits
	}, errors.Join(err1, err2, err3, err4, err5)
}

// oomKills is the file in which the kernel counts the processes that it kills for lack
// of memory in a cgroup, and an earlier count.
type oomKills struct {
	file   string // "": it cannot be read
	before uint64
}

func oomKillsOf(pid int) oomKills {
	of, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	path, ok := memoryEvents(of)
	if err != nil || !ok {
		return oomKills{}
	}
	file := filepath.Join(cgroups, path)
	before, err := countKills(file)
	if err != nil {
		return oomKills{}
	}
	return oomKills{file, before}
}

// grown reports whether the kernel has killed a process since before was counted.
func (o oomKills) grown() bool {
	if o.file == "" {
		return false
	}
	now, err := countKills(o.file)
	return err == nil && now > o.before
}

func countKills(file string) (uint64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			return strconv.ParseUint(strings.TrimSpace(count), 10, 64)
		}
	}
	return 0, errors.ErrUnsupported
}

// memoryEvents is the file, below cgroups, with the events of the memory cgroup in
// /proc/PID/cgroup (cgroups(7)), whose lines are "HIERARCHY:CONTROLLERS:PATH".
func memoryEvents(of []byte) (path string, ok bool) {
	for line := range strings.Lines(string(of)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) != 3 {
			continue
		}
		group := filepath.Clean("/" + fields[2]) // nowhere above
		for controller := range strings.SplitSeq(fields[1], ",") {
			if controller == "memory" {
				return filepath.Join("memory", group, "memory.oom_control"), true
			}
		}
		if fields[0] == "0" {
			path, ok = filepath.Join(group, "memory.events"), true
		}
	}
	return path, ok
}
