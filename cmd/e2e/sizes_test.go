//go:build linux

package e2e

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// size is what a proxy says of how many processes a function has.
type size struct {
	Name                 string
	Instances, Processes int
	Size                 string
}

func sizeOf(t *testing.T, p gateway, name string) size {
	t.Helper()
	_, answer := fetch(t, http.MethodGet, "http://"+p.http+"/details", "")
	var list []size
	require.NoError(t, json.Unmarshal([]byte(answer), &list), answer)
	for _, s := range list {
		if s.Name == name {
			return s
		}
	}
	return size{}
}

// throng is callers that call a function one call after the other.
type throng struct {
	url    string
	client *http.Client
	all    sync.WaitGroup
	good   atomic.Int64
	mu     sync.Mutex // guards the field below:
	failed []mishap
}

// come lets further callers come until what is returned is called.
func (c *throng) come(n int) (leave func()) {
	var ended atomic.Bool
	for range n {
		c.all.Go(func() {
			for !ended.Load() {
				f := once(c.client, http.MethodGet, c.url, "")
				if f.err == nil && f.status == http.StatusOK {
					c.good.Add(1)
					continue
				}
				c.mu.Lock()
				c.failed = append(c.failed, f)
				c.mu.Unlock()
			}
		})
	}
	return func() { ended.Store(true) }
}

// slow is a function that answers after a time beside which that between two calls is nothing.
const slow = `package fn

import (
	"fmt"
	"net/http"
	"time"
)

// Slow answers after a time beside which that between two calls is nothing.
func Slow(w http.ResponseWriter, r *http.Request) {
	time.Sleep(500 * time.Millisecond)
	fmt.Fprint(w, "done")
}
`

// Fifty times the calls are noticed within two seconds, and when they are gone, so are the
// processes, in one direction. No call fails.
func TestProcessesFollowCalls(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr, "-scale-window", "6s")
	dir := source(t, slow)
	body, err := json.Marshal([]map[string]any{{"name": "Slow", "dir": dir, "max": 8, "inFlight": 8}})
	require.NoError(t, err)
	status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))
	require.Equal(t, http.StatusOK, status, answer)
	require.Contains(t, answer, "Deployed")
	c := &throng{url: "http://" + p.http + "/functions/slow", client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: patience}}
	t.Cleanup(c.client.CloseIdleConnections)
	one := c.come(1)
	many := func() {}
	t.Cleanup(func() { // also of a test that has failed
		one()
		many()
		c.all.Wait()
	})
	eventually(t, func() bool { return c.good.Load() > 2 }, "calls are served")
	assert.Equal(t, 1, sizeOf(t, p, "Slow").Processes)

	came := time.Now()
	many = c.come(54) // more than 6 processes have, whether all are there at the first look or not
	eventually(t, func() bool { return sizeOf(t, p, "Slow").Instances >= 7 }, "there are enough processes")
	up := time.Since(came)
	s := sizeOf(t, p, "Slow")
	t.Logf("%d processes after %s: %s", s.Instances, up.Round(10*time.Millisecond), s.Size)
	assert.Contains(t, s.Size, "calls in flight in the last 100ms, 8 to a process")

	many()
	last := s.Processes
	eventually(t, func() bool {
		now := sizeOf(t, p, "Slow")
		assert.LessOrEqual(t, now.Processes, last, "it goes one way")
		last = now.Processes
		return now.Processes == 1 && now.Instances == 1
	}, "the processes are gone")
	assert.Contains(t, sizeOf(t, p, "Slow").Size, "of the last 6s")
	one()
	c.all.Wait()
	assert.Empty(t, c.failed, "of %d calls", c.good.Load())
	eventually(t, func() bool { return len(programs(t, a.dir)) == 1 }, "one process remains")
}

// A function whose processes have no room left on its agent gets another one, and leaves it when
// the calls are gone. No call fails.
func TestFunctionsFollowCallsToFurtherAgents(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "", "-agents", newSite(t).start(t).addr+","+newSite(t).start(t).addr, "-scale-window", "2s")
	deploy := func(settings map[string]any) (int, string) {
		settings["name"], settings["dir"] = "Slow", source(t, slow)
		body, err := json.Marshal([]map[string]any{settings})
		require.NoError(t, err)
		return fetch(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))
	}
	status, answer := deploy(map[string]any{"replicas": "1-2"})
	assert.Equal(t, http.StatusBadRequest, status, answer)
	assert.Contains(t, answer, "there is no max")
	status, answer = deploy(map[string]any{"max": 2, "inFlight": 2})
	require.Equal(t, http.StatusOK, status, answer)
	said := proxyCli(t, t.TempDir(), "-proxy", p.rpc, "scale", "Slow", "1-2")
	require.Zero(t, said.code, said.stderr)
	require.Len(t, holders(t, p, "Slow"), 1)

	c := &throng{url: "http://" + p.http + "/functions/slow", client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: patience}}
	t.Cleanup(c.client.CloseIdleConnections)
	one, many := c.come(1), func() {}
	t.Cleanup(func() { // also of a test that has failed
		one()
		many()
		c.all.Wait()
	})
	eventually(t, func() bool { return c.good.Load() > 2 }, "calls are served")
	assert.Len(t, holders(t, p, "Slow"), 1, "one has room for them")
	came := time.Now()
	many = c.come(11)
	eventually(t, func() bool { return len(holders(t, p, "Slow")) == 2 }, "it is on both")
	t.Logf("on a further agent after %s: %s", time.Since(came).Round(10*time.Millisecond), sizeOf(t, p, "Slow").Size)
	eventually(t, func() bool {
		sum := 0
		for _, r := range rows(t, http.MethodGet, "http://"+p.http+"/details", "") {
			sum += r.Instances
		}
		return sum == 4
	}, "with two processes on each")
	said = proxyCli(t, t.TempDir(), "-proxy", p.rpc, "details")
	assert.Contains(t, said.stdout, "; 2 of 1-2 agents, with up to 2 processes each", said.stderr)

	many()
	eventually(t, func() bool { return len(holders(t, p, "Slow")) == 1 }, "it has left one")
	served := c.good.Load()
	eventually(t, func() bool { return c.good.Load() > served+2 }, "and is called at the other")
	one()
	c.all.Wait()
	assert.Empty(t, c.failed, "of %d calls", c.good.Load())
}
