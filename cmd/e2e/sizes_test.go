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

// Fifty times the calls are noticed within two seconds, and when they are gone, so are the
// processes, in one direction. No call fails.
func TestProcessesFollowCalls(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr, "-scale-window", "6s")
	dir := source(t, `package fn

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
`)
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
	assert.Less(t, up, 2*time.Second)
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
