package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// systemCalls are the reads and writes that a process has made (proc_pid_io(5)).
func systemCalls(t *testing.T, pid int) (reads, writes int) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	require.NoError(t, err)
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, _ := strconv.Atoi(value)
		switch name {
		case "syscr":
			reads = n
		case "syscw":
			writes = n
		}
	}
	require.NotZero(t, writes)
	return reads, writes
}

// A call costs the proxy two writes, to the function and to the caller, and at most one
// read more of each than brings something: what a gateway costs is mostly system calls.
func TestACallTakesFewSystemCalls(t *testing.T) {
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	url := mustDeploy(t, p.http, "Busy", source(t, obeys("Busy", "hello"))).URL
	const callers, calls = 8, 500
	all := func(calls int) {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
		defer client.CloseIdleConnections()
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range calls {
					rsp, err := client.Get(url)
					if !assert.NoError(t, err) {
						return
					}
					_, err = io.Copy(io.Discard, rsp.Body)
					assert.NoError(t, err)
					assert.NoError(t, rsp.Body.Close())
					assert.Equal(t, http.StatusOK, rsp.StatusCode)
				}
			})
		}
		wg.Wait()
	}
	all(10) // connections
	reads, writes := systemCalls(t, p.cmd.Process.Pid)
	all(calls)
	readsAfter, writesAfter := systemCalls(t, p.cmd.Process.Pid)
	each := func(after, before int) float64 { return float64(after-before) / (callers * calls) }
	t.Logf("%.2f reads and %.2f writes a call", each(readsAfter, reads), each(writesAfter, writes))
	assert.LessOrEqual(t, each(writesAfter, writes), 2.1)
	assert.LessOrEqual(t, each(readsAfter, reads), 4.1)
}
