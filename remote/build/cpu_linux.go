package build

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// userHZ is how many units of time in /proc make a second: the kernel says the same to
// programs of all its platforms (proc_pid_stat(5)).
const userHZ = 100

// cpuTime is the processor time of a process and of those of its children that it
// has waited for. It is 0 when it cannot be told.
func cpuTime(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name in parentheses may hold anything.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const first, fourth = 11, 15 // utime, stime, cutime, cstime
	if len(fields) < fourth {
		return 0
	}
	ticks := int64(0)
	for _, field := range fields[first:fourth] {
		var n int64
		if _, err := fmt.Sscan(string(field), &n); err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / userHZ)
}
