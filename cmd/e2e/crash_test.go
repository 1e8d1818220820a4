//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// firstAnswer calls a function until somebody listens, and returns what the call became and
// when.
func firstAnswer(url, host string) (f mishap, at time.Time) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	next := time.NewTicker(time.Millisecond)
	defer next.Stop()
	for {
		req, err := http.NewRequest(http.MethodGet, url, http.NoBody)
		if err != nil {
			return mishap{err: err}, time.Now()
		}
		req.Host = host
		rsp, err := client.Do(req)
		if errors.Is(err, syscall.ECONNREFUSED) {
			<-next.C
			continue
		}
		if err != nil {
			return mishap{err: err}, time.Now()
		}
		body := make([]byte, 100)
		n, _ := rsp.Body.Read(body)
		_ = rsp.Body.Close()
		return mishap{status: rsp.StatusCode, body: string(body[:n])}, time.Now()
	}
}

// A proxy that was killed serves all functions from the first call on that its next process
// accepts, those of three agents and those with routes of their own.
func TestAProxyThatWasKilledIsBackWithItsRoutes(t *testing.T) {
	t.Parallel()
	const functions, rounds = 30, 10
	var agents []string
	for range 3 {
		agents = append(agents, newSite(t).start(t).addr)
	}
	p := startProxy(t, "", "-agents", strings.Join(agents, ","), "-functions", "127.0.0.1:0")
	port := func(addr string) string {
		_, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		return "127.0.0.1:" + port
	}
	public := "localhost:" + p.said(`Functions started on \S*:(\d+)`)
	code := "package fn\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n"
	var orders []map[string]any
	for i := range functions {
		code += fmt.Sprintf("\nfunc Fn%[1]d(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, \"I am %[1]d\") }\n", i)
		order := map[string]any{"name": fmt.Sprint("Fn", i), "toAgent": agents[i%len(agents)]}
		if i < len(agents) {
			order["auth"], order["routes"] = "public", []string{fmt.Sprintf("fn%d.example.com", i)}
		}
		orders = append(orders, order)
	}
	dir := source(t, code)
	for i := range orders {
		orders[i]["dir"] = dir
	}
	body, err := json.Marshal(orders)
	require.NoError(t, err)
	for _, r := range rows(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body)) {
		require.Equal(t, "Deployed", r.Status, r.Error)
	}
	args := []string{"-http", port(p.http), "-rpc", port(p.rpc), "-functions", port(public)}
	var firsts, alls []time.Duration
	for range rounds {
		p.kill()
		var calls sync.WaitGroup
		ends := make([]time.Time, functions+len(agents))
		call := func(i int, url, host, text string) {
			calls.Go(func() {
				var f mishap
				f, ends[i] = firstAnswer(url, host)
				assert.Equal(t, text, f.body, "%s: %s", url, f)
			})
		}
		for i := range functions {
			call(i, fmt.Sprintf("http://%s/functions/fn%d", p.http, i), "", fmt.Sprint("I am ", i))
		}
		for i := range agents {
			call(functions+i, "http://"+public, fmt.Sprintf("fn%d.example.com", i), fmt.Sprint("I am ", i))
		}
		began := time.Now()
		p = startProxy(t, p.dir, args...)
		calls.Wait()
		firsts = append(firsts, slices.MinFunc(ends, time.Time.Compare).Sub(began))
		alls = append(alls, slices.MaxFunc(ends, time.Time.Compare).Sub(began))
	}
	slices.Sort(firsts)
	slices.Sort(alls)
	t.Logf("from exec to the first answer: %s (median), %s (most); to one of each of %d functions: %s, %s",
		firsts[rounds/2].Round(time.Millisecond), firsts[rounds-1].Round(time.Millisecond), functions, alls[rounds/2].Round(time.Millisecond), alls[rounds-1].Round(time.Millisecond))
}
