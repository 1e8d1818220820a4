package build

import (
	"bytes"
	"fmt"
	"os"
	"time"
)

// clockTick is the unit of times in /proc: the kernel says 100 a second to all
// programs (proc_pid_stat(5), USER_HZ).
const clockTick = time.Second / 100

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
	var ticks time.Duration
	for _, field := range fields[first:fourth] {
		var n int64
		if _, err := fmt.Sscan(string(field), &n); err != nil {
			return 0
		}
		ticks += time.Duration(n)
	}
	return ticks * clockTick
}
