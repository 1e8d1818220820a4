package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	want := stat{state: 'S', session: 3, cpu: 11 + 12, start: 19, exit: 49}
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49"
	for name, stat := range map[string]string{
		"plain":                  "7 (fn)" + rest,
		"spaces and parentheses": "7 (a) b) (c 9 9)" + rest,
		"a newline":              "7 (a\nb)" + rest,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(stat))
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
	for _, stat := range []string{"", ")", "7 (fn", "7 (fn) S 1 2", "7 (fn) S 1 2 x" + rest, "7 (fn) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 -19 20", "7 (fn)" + strings.Replace(rest, " 19", " -19", 1)} {
		_, err := parseStat([]byte(stat))
		require.Error(t, err, stat)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (fn) S" + strings.Repeat(" 1", 50)))
	f.Add([]byte("7 (fn) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20"))
	f.Add([]byte("7 (a) b) (c 9 9) S 1"))
	f.Add([]byte(")"))
	f.Add([]byte("0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if _, err := parseStat(stat); err == nil && len(stat) < 100 {
			t.Errorf("%q has too few fields", stat)
		}
	})
}

func TestUsage(t *testing.T) {
	s := newStage(t)
	before := time.Now()
	p := s.ready()
	var u Usage
	require.Eventually(t, func() bool {
		_, err := get("tcp", s.Sockets.Addr(), "")
		require.NoError(t, err)
		u, err = p.Usage()
		require.NoError(t, err)
		return u.CPU > 0
	}, patience, time.Millisecond)
	assert.Less(t, u.CPU, time.Minute)
	assert.WithinDuration(t, before, u.Start, patience)
	assert.Greater(t, u.Resident, uint64(1<<20))
	assert.Less(t, u.Resident, uint64(1<<30))
	assert.GreaterOrEqual(t, u.Peak, u.Resident)
	assert.Greater(t, u.Descriptors, 5)
	p.Stop(t.Context(), patience)
	_, err := p.Usage()
	require.ErrorIs(t, err, os.ErrProcessDone)
}

func TestParseMemory(t *testing.T) {
	resident, peak, err := parseMemory([]byte("Name:\tVmRSS: 1 kB\nVmHWM:\t  20 kB\nVmRSS:\t  10 kB\nThreads:\t1\n"))
	require.NoError(t, err)
	assert.EqualValues(t, 20<<10, peak)
	assert.EqualValues(t, 10<<10, resident)
	for _, text := range []string{"", "VmRSS:\t1 kB\n", "VmRSS:\t-1 kB\nVmHWM:\t1 kB\n", "VmRSS:\t99999999999999999999 kB\nVmHWM:\t1 kB\n"} {
		_, _, err := parseMemory([]byte(text))
		require.Error(t, err, text)
	}
}

func FuzzParseMemory(f *testing.F) {
	f.Add([]byte("VmHWM:\t  20 kB\nVmRSS:\t  10 kB\n"))
	f.Add([]byte("VmRSS: 1 kB\nVmRSS: 1 kB"))
	f.Fuzz(func(t *testing.T, status []byte) {
		if resident, peak, err := parseMemory(status); err == nil && (resident|peak)&1023 != 0 {
			t.Errorf("%q is not in KiB", status)
		}
	})
}

func TestMemoryEvents(t *testing.T) {
	for of, want := range map[string]string{
		"0::/a/b\n":                           "a/b/memory.events",
		"8:pids:/p\n4:memory:/m\n0::/\n":      "memory/m/memory.oom_control",
		"4:cpu,memory:/m:x\n":                 "memory/m:x/memory.oom_control",
		"1:name=memory:/m\n":                  "",
		"":                                    "",
		"0::/../../../../etc/passwd/../..\n0": "memory.events",
	} {
		path, ok := memoryEvents([]byte(of))
		assert.Equal(t, want, strings.TrimPrefix(path, "/"), of)
		assert.Equal(t, want != "", ok)
	}
}

func FuzzMemoryEvents(f *testing.F) {
	f.Add([]byte("0::/a/b\n"))
	f.Add([]byte("8:pids:/p\n4:memory:/m\n0::/\n"))
	f.Add([]byte("0::.."))
	f.Add([]byte("4:memory:../.."))
	f.Fuzz(func(t *testing.T, of []byte) {
		if path, ok := memoryEvents(of); ok && !strings.HasPrefix(filepath.Join(cgroups, path), cgroups+"/") {
			t.Errorf("%q leads to %s", of, path)
		}
	})
}

// cgroup makes a memory cgroup below this process's own, of either version.
func cgroup(t *testing.T, limit int) (dir string) {
	t.Helper()
	of, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	events, ok := memoryEvents(of)
	if !ok {
		t.Skip("there is no memory cgroup")
	}
	file := "memory.max"
	if strings.HasSuffix(events, "oom_control") {
		file = "memory.limit_in_bytes"
	}
	dir = filepath.Join(cgroups, filepath.Dir(events), "ryo-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Skip("memory cgroups cannot be made: ", err)
	}
	t.Cleanup(func() {
		require.Eventually(t, func() bool { return os.Remove(dir) == nil }, patience, 10*time.Millisecond)
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0o600); err != nil {
		t.Skip("memory cgroups cannot be limited: ", err)
	}
	return dir
}

// inCgroup has this program, started again, play a role in a cgroup.
func inCgroup(t *testing.T, limit int, role string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args, cmd.Env = []string{role, cgroup(t, limit), childPath, "hog:later"}, []string{}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestKillsOfTheKernelAreTold(t *testing.T) {
	assert.Regexp(t, `^signal: killed by the kernel: out of memory`, inCgroup(t, 256<<20, roleStarve))
}

func TestOwnKillsAreNotTheKernels(t *testing.T) {
	assert.Regexp(t, "^signal: (killed|terminated)$", inCgroup(t, 256<<20, roleKill)) // whichever came first
}
