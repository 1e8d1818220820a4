package confine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// In version 2 of control groups a process begins in its group. A machine with version 1
// has that version too, without limits.
func TestProcessesBeginInGroupsOfVersionTwo(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("root alone makes groups where nobody has given any away")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	dir := ""
	for line := range strings.Lines(string(mounts)) {
		if where, what, _ := strings.Cut(line, " - "); strings.HasPrefix(what, "cgroup2 ") {
			dir = strings.Fields(where)[4]
		}
	}
	if dir == "" {
		t.Skip("it is not mounted")
	}
	l := New()
	l.groups = &groups{hierarchies: []hierarchy{{dir: dir, second: true}}}
	_, rules := users()[0].set(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	pid, release, err := l.ForkExec(helper, []string{helper, "tree", "0"}, &syscall.ProcAttr{
		Files: []uintptr{w.Fd(), w.Fd(), w.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	}, rules)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	member, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	require.NoError(t, err)
	assert.Contains(t, string(member), "0::/"+freePrefix+maker())
	require.NoError(t, unix.Kill(pid, unix.SIGKILL))
	require.Error(t, reap(pid))
	release()
	left, err := filepath.Glob(filepath.Join(dir, freePrefix+maker()+"*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestLimitsOfGroups(t *testing.T) {
	limits := Limits{Tasks: 64, Memory: 1 << 20, CPUs: 0.5}
	for want, h := range map[string]hierarchy{
		"pids.max=64 memory.max=1048576 cpu.max=50000 100000":              {tasks: "pids.max", memory: "memory.max", cpu: "cpu.max", second: true},
		"pids.max=64 memory.limit_in_bytes=1048576 cpu.cfs_quota_us=50000": {tasks: "pids.max", memory: "memory.limit_in_bytes", cpu: "cpu.cfs_quota_us"},
		"memory.limit_in_bytes=1048576":                                    {memory: "memory.limit_in_bytes"},
	} {
		dir := t.TempDir()
		h.dir = filepath.Dir(dir)
		require.NoError(t, (&groups{hierarchies: []hierarchy{h}}).limit(group{dir}, limits))
		var got []string
		for _, file := range []string{h.tasks, h.memory, h.cpu} {
			if file == "" {
				continue
			}
			content, err := os.ReadFile(filepath.Join(dir, file))
			require.NoError(t, err)
			got = append(got, file+"="+string(content))
		}
		assert.Equal(t, want, strings.Join(got, " "))
	}
}
