package remote

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// spinner is a function that keeps as many threads busy as it is asked to, for good.
const spinner = `package fn

import (
	"fmt"
	"net/http"
	"runtime"
	"strconv"
)

func Spin(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("threads"))
	for range n {
		go func() {
			runtime.LockOSThread()
			for {
			}
		}()
	}
	fmt.Fprint(w, "here")
}
`

// burnt is the processor time of a process.
func burnt(t *testing.T, pid int32) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		require.NoError(t, err)
		ticks += n
	}
	const tick = 10 * time.Millisecond // in which the kernel tells it
	return time.Duration(ticks) * tick
}

// A function that keeps all processors busy does not starve another, with or without a
// limit. Processor time is compared with processor time, so that it does not matter how
// busy the machine is.
func TestFunctionsDoNotStarveEachOther(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and shorter tests run the same code")
	}
	a := start(t, t.TempDir())
	if a.walls.Tier() < proto.IsolationFull {
		t.Skip("nothing divides the processors among functions")
	}
	busy := min(runtime.NumCPU(), 32) // more threads than a function may have are not needed
	greedy := &proto.FunctionJson{Name: "Spin", Dir: source(t, spinner), Wait: true, Env: map[string]string{"GOMAXPROCS": strconv.Itoa(16 * busy)}}
	other := &proto.FunctionJson{Name: "Other", Target: "Spin", Dir: source(t, strings.ReplaceAll(spinner, `"here"`, `"there"`)), Wait: true}
	for _, cpu := range []string{"", "0.5"} {
		t.Run("cpu "+cpu, func(t *testing.T) {
			greedy.Cpu = cpu
			row, its := a.deployed(t, greedy), a.deployed(t, other)
			assertSays(t, "here", row.GetUrl()+"?threads="+strconv.Itoa(16*busy))
			assertSays(t, "there", its.GetUrl()+"?threads="+strconv.Itoa(busy))
			began, greedyBegan, otherBegan := time.Now(), burnt(t, row.GetPid()), burnt(t, its.GetPid())
			for calls := 0; burnt(t, row.GetPid())-greedyBegan < time.Second; calls++ {
				assertSays(t, "there", its.GetUrl())
			}
			took, theirs, ours := time.Since(began), burnt(t, row.GetPid())-greedyBegan, burnt(t, its.GetPid())-otherBegan
			t.Logf("of %v: 16 threads for each processor %v, one for each %v", took, theirs, ours)
			assert.Greater(t, ours, theirs/5, "by threads it would be a 16th")
			if cpu != "" {
				assert.Less(t, theirs, took*7/10, "half a processor")
			}
			_, err := a.Stop(t.Context(), "Other") // which spins
			require.NoError(t, err)
		})
	}
}
