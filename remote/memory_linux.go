package remote

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memory is how many bytes the agent and its functions may use: those of the machine, or
// what the cgroups allow in which the agent is; 0: it cannot be told.
func memory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	least := info.Totalram * uint64(info.Unit)
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return least
	}
	for line := range strings.Lines(string(own)) {
		path, found := strings.CutPrefix(strings.TrimSpace(line), "0::") // of version 2, the only one that is looked at
		if !found {
			continue
		}
		const root = "/sys/fs/cgroup"
		for dir := filepath.Clean(root + path); len(dir) >= len(root); dir = filepath.Dir(dir) {
			text, err := os.ReadFile(filepath.Join(dir, "memory.max"))
			if err != nil {
				continue
			}
			if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil { // else it is max
				least = min(least, limit)
			}
		}
	}
	return least
}
