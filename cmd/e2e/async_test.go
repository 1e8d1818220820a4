package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// diligent is a function that takes a moment for each call, and tells which it has made.
const diligent = `package diligent

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

var (
	mu   sync.Mutex
	made = map[string]bool{}
)

func Work(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/made" {
		mu.Lock()
		defer mu.Unlock()
		for id := range made {
			fmt.Fprintln(w, id)
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	if string(body) == "bad" {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	if string(body) == "slow" {
		<-r.Context().Done()
		return
	}
	time.Sleep(10 * time.Millisecond)
	mu.Lock()
	made[r.Header.Get("X-Ryo-Call-Id")] = true
	mu.Unlock()
	fmt.Fprintf(w, "did %s", body)
}
`

// acceptLater asks a proxy for a call that is made later, and returns its id, "" if nobody
// answers.
func acceptLater(t *testing.T, url, body string) string {
	t.Helper()
	status, answer, err := tryFetch(http.MethodPost, url, body)
	if err != nil {
		return ""
	}
	var a struct{ ID string }
	require.Equal(t, http.StatusAccepted, status, answer)
	require.NoError(t, json.Unmarshal([]byte(answer), &a))
	return a.ID
}

// later is what is told of such a call.
type later struct {
	ID, State, Body, Error string
	Tried                  int
}

func seeLater(t *testing.T, p gateway, id, query string) (c later) {
	t.Helper()
	status, answer := fetch(t, http.MethodGet, "http://"+p.http+"/calls/"+id+query, "")
	require.Equal(t, http.StatusOK, status, answer)
	require.NoError(t, json.Unmarshal([]byte(answer), &c))
	return c
}

// work deploys diligent.
func work(t *testing.T, a agent, p gateway, settings string) {
	t.Helper()
	dir := folder(t, tree{"work.go": diligent, "deploy.json": `{"deploy": [{"name": "Work", "packageDir": ".", "agentAddr": "` + a.addr + `"` + settings + `}]}`})
	r := proxyCli(t, dir, "-proxy", p.rpc, "def", "-wait", "deploy.json")
	require.Zero(t, r.code, r.stderr)
}

// Calls that were accepted are made, although the proxy is killed again and again.
func TestCallsThatWereAcceptedOutliveTheProxy(t *testing.T) {
	t.Parallel()
	const calls, callers, kills = 2000, 8, 3
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	work(t, a, p, "")
	var mu sync.Mutex // guards ids and p:
	ids := make([]string, 0, calls)
	proxy := func() gateway {
		mu.Lock()
		defer mu.Unlock()
		return p
	}
	var accepting sync.WaitGroup
	var left atomic.Int32
	left.Store(calls)
	for range callers {
		accepting.Go(func() {
			for n := left.Add(-1); n >= 0; n = left.Add(-1) {
				id := ""
				eventually(t, func() bool {
					id = acceptLater(t, "http://"+proxy().http+"/async/work", strconv.Itoa(int(n)))
					return id != ""
				}, "a call is accepted")
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
			}
		})
	}
	for n := range kills {
		eventually(t, func() bool { return left.Load() < int32(calls-calls*(n+1)/(kills+1)) }, "calls are accepted")
		mu.Lock()
		p.kill()
		p = startProxy(t, p.dir, "-agents", a.addr)
		mu.Unlock()
	}
	accepting.Wait()

	require.Len(t, ids, calls)
	// Those alone are made again that a proxy was making when it was killed.
	again := 0
	for _, id := range ids {
		c := seeLater(t, p, id, "?wait=1m")
		require.Equal(t, "done", c.State, "%+v", c)
		if c.Tried > 1 {
			again++
		}
	}
	_, made := fetch(t, http.MethodGet, "http://"+p.http+"/functions/work/made", "")
	known := map[string]bool{}
	for id := range strings.Lines(made) {
		known[strings.TrimSpace(id)] = true
	}
	for _, id := range ids {
		assert.True(t, known[id], id)
	}
	assert.LessOrEqual(t, again, kills*32, "a function gets 32 calls at a time")
	t.Logf("%d calls, %d of them made more than once", calls, again)
}

// What people and callers do with calls that are made later, with real programs.
func TestCallsThatAreMadeLater(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr, "-allow-callbacks", "127.0.0.1")
	work(t, a, p, `, "retries": 0, "timeout": "1m"`)
	cli := func(args ...string) result {
		return proxyCli(t, t.TempDir(), append([]string{"-proxy", p.rpc}, args...)...)
	}
	async := "http://" + p.http + "/async/work"

	r := cli("invoke", "Work", "-async", "-wait", "-d", "it", "-priority", "high")
	assert.Equal(t, "did it", r.stdout, r.stderr)
	r = cli("invoke", "Work", "-async", "-d", "slow")
	require.Zero(t, r.code, r.stderr)
	slow := strings.TrimSpace(r.stdout)
	eventually(t, func() bool { return seeLater(t, p, slow, "").State == "running" }, "the call runs")
	for _, kind := range []string{"rpc", "http"} {
		addr := map[string]string{"rpc": p.rpc, "http": p.http}[kind]
		r = proxyCli(t, t.TempDir(), "-proxy", addr, "-transport", kind, "calls", "show", slow)
		assert.Contains(t, r.stdout, "running", r.stderr)
	}
	assert.Zero(t, cli("calls", "cancel", slow).code)
	assert.Equal(t, "canceled", seeLater(t, p, slow, "").State)
	r = cli("calls", "cancel", slow)
	assert.Contains(t, r.stderr, "has ended")

	bad := acceptLater(t, async, "bad")
	assert.Equal(t, "dead", seeLater(t, p, bad, "?wait=30s").State)
	r = cli("calls", "-state", "dead", "-function", "Work")
	assert.Contains(t, r.stdout, bad)
	r = cli("calls", "-limit", "1")
	assert.Contains(t, r.stdout, bad)
	assert.Contains(t, r.stderr, "-after "+bad)
	r = cli("calls", "ls", "-after", bad, "-limit", "1", "-o", "json")
	assert.Contains(t, r.stdout, `"id":"`+slow+`"`, r.stderr)
	assert.Zero(t, cli("calls", "redrive", bad).code)
	eventually(t, func() bool { c := seeLater(t, p, bad, ""); return c.State == "dead" && c.Tried == 2 }, "it was tried again")
	r = cli("calls", "purge", "-all")
	assert.Contains(t, r.stderr, "calls removed: 1")
	r = cli("calls", "redrive", bad)
	assert.Contains(t, r.stderr, "not among the dead ones")

	// A receiver of callbacks, which verifies them as a function's webhook would.
	told := make(chan *http.Request, 1)
	body := make(chan []byte, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		told <- r
		body <- data
	}))
	defer receiver.Close()
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(strings.TrimSpace(cli("calls", "secret").stdout), "whsec_"))
	require.NoError(t, err)
	assert.Len(t, secret, 32)
	r = cli("invoke", "Work", "-async", "-d", "x", "-H", "X-Ryo-Callback: "+receiver.URL)
	require.Zero(t, r.code, r.stderr)
	select {
	case req := <-told:
		assert.NotEmpty(t, req.Header.Get("Webhook-Signature"))
		assert.Contains(t, string(<-body), `"body":"did x"`)
	case <-time.After(patience):
		require.Fail(t, "no callback has come")
	}
	r = cli("invoke", "Work", "-async", "-H", "X-Ryo-Callback: http://169.254.169.254/")
	assert.NotZero(t, r.code)
	assert.Contains(t, r.stdout, "-allow-callbacks")

	// Agents keep none.
	r = proxyCli(t, t.TempDir(), "-proxy", a.addr, "calls")
	assert.Contains(t, r.stderr, "proxies alone")
	r = proxyCli(t, t.TempDir(), "-proxy", a.addr, "invoke", "Work", "-async")
	assert.Contains(t, r.stderr, "proxies alone")

	_, metrics := fetch(t, http.MethodGet, "http://"+p.http+"/metrics", "")
	assert.Contains(t, metrics, fmt.Sprintf("ryo_async_dead_total{function=%q} 2", "Work"))
}
