package proxy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Of proxies that share a store one decides on a size, by the calls of all, and each says why.
func TestASizeFollowsTheCallsOfAllProxies(t *testing.T) {
	n := newAgents(t, 1)[0]
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(srv.Close)
	n.service = srv.URL
	_, a, b := pair(t, Config{Agents: []string{n.addr}})
	fn := source(t, "Hello", n.addr)
	fn.Max, fn.InFlight = 20, 1
	deploys(t, b, fn)
	var calls sync.WaitGroup
	defer calls.Wait()
	defer close(release)
	call := func(p *running, count int) {
		web := client(t)
		for range count {
			calls.Go(func() {
				req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://"+p.http+"/functions/hello", nil)
				if !assert.NoError(t, err) {
					return
				}
				res, err := web.Do(req)
				if assert.NoError(t, err) {
					_ = res.Body.Close()
				}
			})
		}
	}
	size := func(p *running) (*proto.FunctionJsonRsp, bool) {
		rows, err := p.Details(t.Context())
		if err != nil || len(rows) != 1 {
			return nil, false
		}
		return rows[0], true
	}
	call(b, 6)
	require.Eventually(t, func() bool { row, ok := size(a); return ok && row.GetProcesses() == 6 }, patience, 10*time.Millisecond)
	for _, p := range []*running{a, b} {
		require.Eventually(t, func() bool { row, ok := size(p); return ok && row.GetSize() != "" }, patience, 10*time.Millisecond)
	}
	a.stop() // the one that led
	call(b, 8)
	require.Eventually(t, func() bool { row, ok := size(b); return ok && row.GetProcesses() == 14 }, patience, 10*time.Millisecond)
}
