//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// dialLimit is how long the gateway waits for a connection to a replica.
	dialLimit = 2 * time.Second
	// noticeLimit is how long a failure of an agent or process may show nowhere.
	noticeLimit = 10 * time.Second
	// cutLimit is how long a call under way on a machine that vanished may last: 5 s
	// without a sign of life, looked for each second, on a machine that is busy.
	cutLimit = 8 * time.Second
)

// slowly answers with the pid of its process, after a moment in which it can be killed.
const slowly = `package fn

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func Hello(w http.ResponseWriter, r *http.Request) {
	time.Sleep(5 * time.Millisecond)
	fmt.Fprint(w, os.Getpid())
}
`

// callers call a function all the time, each over a connection of its own.
type callers struct {
	stop    chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex // guards the field below
	calls []made
}

// made is a call that was made.
type made struct {
	began  time.Time
	took   time.Duration
	status int // 0: none came
	body   string
}

func (m made) good() bool { return m.status == http.StatusOK }

func startCallers(t *testing.T, n int, dial dialer, url string) *callers {
	t.Helper()
	c := &callers{stop: make(chan struct{})}
	t.Cleanup(c.end)
	for range n {
		client := &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: patience}
		c.running.Go(func() {
			defer client.CloseIdleConnections()
			next := time.NewTicker(pause)
			defer next.Stop()
			for {
				select {
				case <-c.stop:
					return
				case <-next.C:
				}
				m := made{began: time.Now()}
				f := once(client, http.MethodPost, url, "")
				m.took, m.status, m.body = time.Since(m.began), f.status, f.body
				if f.err != nil {
					m.status, m.body = 0, f.err.Error()
				}
				c.mu.Lock()
				c.calls = append(c.calls, m)
				c.mu.Unlock()
			}
		})
	}
	return c
}

func (c *callers) end() {
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.running.Wait()
}

// take returns the calls that have ended since the last time.
func (c *callers) take() []made {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls = nil
	return calls
}

// Two machines serve a function, and one of them fails in all ways. Only calls that were
// under way there are lost, and only they wait longer than for a dial.
func TestLifeGoesOnWhileAReplicaOrItsMachineFails(t *testing.T) {
	soaked(t)
	t.Parallel()
	m := newMachines(t, 3)
	front, well, hurt := m[0], m[1], m[2]
	ip := func(format string, args ...any) {
		words := "-n " + hurt.name + " " + fmt.Sprintf(format, args...)
		said, err := exec.CommandContext(t.Context(), "ip", strings.Fields(words)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", words, said)
	}
	ip("rule add pref 100 lookup local") // so that rules come before it
	ip("rule del pref 0")
	dir := t.TempDir()
	launchAgent := func(on machine, dir string) *server {
		return launch(t, on.command(t, "agent", "-insecure", "-host", on.addr, "-dir", dir, "-cache", cache(t)))
	}
	launchAgent(well, t.TempDir())
	agent := launchAgent(hurt, dir)
	launch(t, front.command(t, "proxy", "-insecure", "-dir", t.TempDir(), "-agents", well.addr+":9000,"+hurt.addr+":9000"))
	def := folder(t, tree{
		"hello.go":    slowly,
		"deploy.json": fmt.Sprintf(`{"deploy": [{"packageDir": ".", "name": "Hello", "agentAddr": [%q, %q]}]}`, well.addr+":9000", hurt.addr+":9000"),
	})
	r := front.cli(t, "def", "-wait", filepath.Join(def, "deploy.json"))
	require.Zero(t, r.code, r.stderr)
	// Callers are on the proxy's machine, and so is who looks at the list.
	client := http.Client{Transport: &http.Transport{DialContext: front.dial}}
	t.Cleanup(client.CloseIdleConnections)
	rowOf := func(on machine) (of row) {
		rsp, err := client.Get("http://localhost:9002/details")
		require.NoError(t, err)
		defer rsp.Body.Close()
		data, err := io.ReadAll(rsp.Body)
		require.NoError(t, err)
		var list []row
		require.NoError(t, json.Unmarshal(data, &list), "%s", data)
		for _, r := range list {
			if r.AtAgent == on.addr+":9000" {
				of = r
			}
		}
		return of
	}
	signal := func(pid int, sig syscall.Signal) { require.NoError(t, syscall.Kill(pid, sig)) }
	reason := func(word string) func(row) bool { return func(r row) bool { return r.Reason == word } }
	cut := func() { // packets vanish, both ways
		ip("rule add pref 1 iif to0 blackhole")
		ip("rule add pref 2 to %s blackhole", front.addr)
	}
	heal := func() {
		ip("rule del pref 1")
		ip("rule del pref 2")
	}
	var pid int // of the process that is hurt
	failures := []struct {
		what       string
		hurt, heal func()
		shows      func(row) bool
		blames     string // the component that is told to callers; "": it depends on who is first to notice
	}{
		{"process killed", func() { signal(pid, syscall.SIGKILL) }, func() {}, func(r row) bool { return r.Pid != pid && r.Pid != 0 }, "function"},
		{"process frozen", func() { signal(pid, syscall.SIGSTOP) }, func() { signal(pid, syscall.SIGCONT) }, reason("frozen"), "function"},
		{"agent killed", func() { agent.kill() }, func() { agent = launchAgent(hurt, dir) }, reason("unreachable"), ""},
		{"agent frozen", func() { signal(agent.cmd.Process.Pid, syscall.SIGSTOP) }, func() { signal(agent.cmd.Process.Pid, syscall.SIGCONT) }, reason("unreachable"), "agent"},
		{"machine cut off", cut, heal, reason("unreachable"), "agent"},
	}
	const n = 16
	load := startCallers(t, n, front.dial, "http://localhost:9002/functions/hello")
	var table strings.Builder
	out := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "failure\tcalls\tlost\tafter\theld\tslowest other\tshows after\tback after")
	for range often(1, 10) {
		for _, f := range failures {
			eventually(t, func() bool { r := rowOf(hurt); pid = r.Pid; return r.Reason == "" && pid != 0 }, "all is well")
			other := fmt.Sprint(rowOf(well).Pid)
			// served waits until the replica that is hurt has answered a call that began now or later.
			served := func() time.Time {
				now := time.Now()
				var at time.Time
				eventually(t, func() bool {
					load.mu.Lock()
					defer load.mu.Unlock()
					for _, c := range load.calls {
						if c.good() && c.body != other && c.began.After(now) {
							at = c.began.Add(c.took)
							return true
						}
					}
					return false
				}, "%s: the replica serves", f.what)
				return at
			}
			served()
			load.take()

			began := time.Now()
			f.hurt()
			eventually(t, func() bool { return f.shows(rowOf(hurt)) }, "%s: it shows", f.what)
			shown := time.Now()
			load.mu.Lock()
			goal := len(load.calls) + 200
			load.mu.Unlock()
			eventually(t, func() bool { load.mu.Lock(); defer load.mu.Unlock(); return len(load.calls) > goal }, "%s: the other replica serves", f.what)
			healed := time.Now()
			f.heal()
			back := served()
			eventually(t, func() bool { return rowOf(hurt).Reason == "" }, "%s: all is well again", f.what)

			calls := load.take()
			lost, held := 0, 0
			var slowest, longest time.Duration
			for _, c := range calls {
				switch {
				case !c.good():
					lost++
					longest = max(longest, c.took)
					assert.True(t, c.began.Before(shown), "%s: lost %s after it showed: %d %s", f.what, c.began.Sub(shown), c.status, c.body)
					assert.Less(t, c.took, cutLimit, "%s: %d %s", f.what, c.status, c.body)
					if f.blames != "" {
						assert.Equal(t, f.blames, errorOf(t, c.body).Component, c.body)
					}
				case c.took > dialLimit+time.Second && c.body != other:
					held++ // it was under way in what was frozen
					assert.True(t, c.began.Before(shown), "%s: held %s after it showed", f.what, c.began.Sub(shown))
				default:
					slowest = max(slowest, c.took)
				}
			}
			fmt.Fprintf(out, "%s\t%d\t%d\t%s\t%d\t%s\t%s\t%s\n", f.what, len(calls), lost, longest.Round(time.Millisecond), held,
				slowest.Round(time.Millisecond), shown.Sub(began).Round(time.Millisecond), back.Sub(healed).Round(time.Millisecond))
			assert.LessOrEqual(t, lost+held, n, "%s: more calls than can be under way", f.what)
			assert.Less(t, slowest, dialLimit+time.Second, "%s: the others wait for a dial at most", f.what)
			assert.Less(t, shown.Sub(began), noticeLimit, "%s: how long it shows nowhere", f.what)
		}
	}
	load.end()
	require.NoError(t, out.Flush())
	t.Logf("a replica fails under load:\n%s", &table)
}
