//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// load is callers that call a function again and again: GETs and POSTs, over connections that
// are kept and over new ones.
type load struct {
	t       *testing.T
	ended   atomic.Bool
	callers sync.WaitGroup
	good    atomic.Int64

	mu     sync.Mutex // guards the fields below
	faults []mishap
}

// mishap is a call that did not go well.
type mishap struct {
	status int
	body   string
	err    error
}

func (f mishap) String() string { return fmt.Sprintf("status %d: %.300s %v", f.status, f.body, f.err) }

// startLoad calls a function that obeys, which says one of some texts.
func startLoad(t *testing.T, url string, texts ...string) *load {
	t.Helper()
	l := &load{t: t}
	body := strings.Repeat("0123456789abcdef", 2<<10)
	for _, fresh := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: fresh}, Timeout: patience}
		t.Cleanup(func() {
			l.stop() // also of a test that has failed
			client.CloseIdleConnections()
		})
		l.callers.Go(func() { l.call(client, http.MethodGet, url, "", texts) })
		l.callers.Go(func() { l.call(client, http.MethodPost, url+"/echo", body, []string{body}) })
	}
	return l
}

// breath lies between the calls of one caller. Without it a few callers take all processors of
// a small machine, and what is tested under load, such as a build, takes many times as long.
const breath = time.Millisecond

func (l *load) call(client *http.Client, method, url, body string, wanted []string) {
	next := time.NewTimer(breath)
	defer next.Stop()
	for ; !l.ended.Load(); next.Reset(breath) {
		<-next.C
		f := once(client, method, url, body)
		if f.err == nil && f.status == http.StatusOK && slices.Contains(wanted, f.body) {
			l.good.Add(1)
			continue
		}
		l.mu.Lock()
		l.faults = append(l.faults, f)
		l.mu.Unlock()
	}
}

// once makes one call, which the end of the load does not cut.
func once(client *http.Client, method, url, body string) mishap {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return mishap{err: err}
	}
	rsp, err := client.Do(req)
	if err != nil {
		return mishap{err: err}
	}
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	return mishap{rsp.StatusCode, string(data), err}
}

// served waits until so many more calls went well.
func (l *load) served(n int64) {
	l.t.Helper()
	goal := l.good.Load() + n
	eventually(l.t, func() bool { return l.good.Load() >= goal }, "%d calls go well", n)
}

// stop stops the callers and returns the calls that failed.
func (l *load) stop() []mishap {
	l.ended.Store(true)
	l.callers.Wait()
	return l.faults
}

// memory is how many bytes of memory a process has.
func memory(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	require.NoError(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

// descriptors is how many files a process has open.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(t, err)
	return len(entries)
}

// goroutines stops a server and returns how many it had, without those of the engine under
// its store, which keeps some for whatever it was once asked.
func goroutines(t *testing.T, s *server) int {
	t.Helper()
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGQUIT))
	wait(t, s.done, "the end by SIGQUIT")
	n := 0
	for stack := range strings.SplitSeq(s.String(), "\ngoroutine ") {
		if !strings.Contains(stack, "github.com/nats-io/") {
			n++
		}
	}
	return n - 1 // what it has printed before
}

// Fifty functions that are deployed at once through the proxy all come up, none
// takes another's port or name, and nothing is left of them when they are stopped.
func TestFiftyDeploysAtOnceLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	const n = 50
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	deployAll := func(first, n int) {
		const together = 10 // functions of a package, which is built once
		var all sync.WaitGroup
		var dirs []string
		for i := first; i < first+n; i++ {
			if (i-first)%together == 0 {
				code := "package fn\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n"
				for j := i; j < i+together; j++ {
					code += fmt.Sprintf("\nfunc Fn%[1]d(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, \"I am %[1]d\") }\n", j)
				}
				dirs = append(dirs, source(t, code))
			}
			dir := dirs[len(dirs)-1]
			all.Go(func() {
				body, err := json.Marshal([]map[string]any{{"name": fmt.Sprint("Fn", i), "dir": dir}})
				assert.NoError(t, err)
				status, answer, err := tryFetch(http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, status, answer)
				assert.Contains(t, answer, `"Deployed"`)
			})
		}
		all.Wait()
	}
	stopAll := func() {
		var all sync.WaitGroup
		for _, r := range rows(t, http.MethodGet, "http://"+p.http+"/details", "") {
			all.Go(func() {
				status, answer, err := tryFetch(http.MethodPost, "http://"+p.http+"/stop", `{"name": "`+r.Name+`"}`)
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, status, answer)
			})
		}
		all.Wait()
		assert.Empty(t, rows(t, http.MethodGet, "http://"+p.http+"/details", ""))
	}
	deployAll(1000, 1) // whatever is made once
	stopAll()
	agentFiles, proxyFiles := descriptors(t, a.cmd.Process.Pid), descriptors(t, p.cmd.Process.Pid)
	agentMemory, proxyMemory := memory(t, a.cmd.Process.Pid), memory(t, p.cmd.Process.Pid)

	deployAll(0, n)
	services, pids := map[string]bool{}, map[int]bool{}
	for _, r := range rows(t, http.MethodGet, "http://"+p.http+"/details", "") {
		assert.Equal(t, "Deployed", r.Status, r.Error)
		assert.False(t, services[r.Proxy] || pids[r.Pid], "two functions share %s or process %d", r.Proxy, r.Pid)
		services[r.Proxy], pids[r.Pid] = true, true
		text := "I am " + strings.TrimPrefix(r.Name, "Fn")
		answers(t, text, r.URL)
		answers(t, text, r.Proxy+"/"+strings.ToLower(r.Name))
	}
	assert.Len(t, services, n)
	assert.Len(t, programs(t, a.dir), n)

	stopAll()
	assert.Empty(t, programs(t, a.dir))
	for service := range services {
		refused(t, strings.TrimPrefix(service, "http://"))
	}
	for who, s := range map[string]struct {
		pid, files, memory int
	}{"agent": {a.cmd.Process.Pid, agentFiles, agentMemory}, "proxy": {p.cmd.Process.Pid, proxyFiles, proxyMemory}} {
		eventually(t, func() bool { return descriptors(t, s.pid) <= s.files+5 }, "the %s closes its files", who)
		most := 96 << 20
		if testkit.Race { // it takes several times as much
			most *= 2
		}
		assert.Less(t, memory(t, s.pid)-s.memory, most, "bytes that the %s keeps", who)
	}
	// The proxy has some 50 of its own; one for each function would make 100.
	assert.Less(t, goroutines(t, p.server), 3*n/2)
	assert.Less(t, goroutines(t, a.server), 3*n/2)
}

// Twenty redeploys under load fail no call, and each caller gets the old code or
// the new.
func TestRedeploysUnderLoadFailNoCall(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	texts := []string{"even", "odd"}
	dirs := []string{source(t, obeys("Busy", "even")), source(t, obeys("Busy", "odd"))}
	first := mustDeploy(t, p.http, "Busy", dirs[0])
	gateway := startLoad(t, first.URL, texts...)
	direct := startLoad(t, first.Proxy+"/busy", texts...)
	for i := 1; i <= 20; i++ {
		r := mustDeploy(t, p.http, "Busy", dirs[i%2])
		assert.Equal(t, first.Proxy, r.Proxy)
		answers(t, texts[i%2], r.URL)
	}
	gateway.served(20)
	direct.served(20)
	assert.Empty(t, gateway.stop(), "of %d calls through the gateway", gateway.good.Load())
	assert.Empty(t, direct.stop(), "of %d calls of the service", direct.good.Load())
	eventually(t, func() bool { return len(programs(t, a.dir)) == 1 }, "one process remains")
}

func TestStreamsAndSlowCallsOutliveARedeploy(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	replacement := source(t, obeys("Slow", "new"))
	mustDeploy(t, p.http, "Slow", replacement) // so that it is built when the calls wait
	r := mustDeploy(t, p.http, "Slow", source(t, obeys("Slow", "old")))
	stream := begin(t, r.URL+"/events?every=600ms")
	slow := begin(t, r.URL+"/wait?for=3s")
	answers(t, "new", mustDeploy(t, p.http, "Slow", replacement).URL)
	assert.True(t, alive(r.Pid), "it has calls in flight")

	body, err := io.ReadAll(slow.Body)
	require.NoError(t, err)
	assert.Equal(t, "old", string(body))
	body, err = io.ReadAll(stream.Body)
	require.NoError(t, err)
	assert.Equal(t, 5, strings.Count(string(body), "data: "))
	eventually(t, func() bool { return !alive(r.Pid) }, "the old process ends with its last call")
}

// Clients that hold connections and send nothing delay nobody, and cost nothing once
// they have closed them.
func TestIdleClientsDelayNobody(t *testing.T) {
	t.Parallel()
	const n = 200
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Hello", source(t, says("Hello", "hello")))
	files := map[*server]int{a.server: descriptors(t, a.cmd.Process.Pid), p.server: descriptors(t, p.cmd.Process.Pid)}
	var idle []net.Conn
	for _, target := range []struct{ addr, path string }{{a.addr, "/details"}, {p.http, "/details"}, {p.http, "/functions/hello"}} {
		for range n {
			conn, err := net.Dial("tcp", target.addr)
			require.NoError(t, err)
			defer conn.Close()
			idle = append(idle, conn)
			_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", target.path)
			require.NoError(t, err)
			rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, http.StatusOK, rsp.StatusCode)
			require.NoError(t, rsp.Body.Close())
		}
	}
	began := time.Now()
	answers(t, "hello", r.URL)
	now(t, p.http, "Hello")
	now(t, a.addr, "Hello")
	assert.Less(t, time.Since(began), patience/2)
	for _, conn := range idle {
		require.NoError(t, conn.Close())
	}
	for s, before := range files {
		eventually(t, func() bool { return descriptors(t, s.cmd.Process.Pid) <= before+5 }, "%s lets go", s.cmd.Args[1])
	}
}

// Thirty-two busy clients leave no heap of closed connections between gateway
// and function, also where there is no unix socket.
func TestBusyClientsLeaveNoClosedConnections(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Busy", source(t, obeys("Busy", "busy")))
	require.NoError(t, os.Remove(r.Socket))
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	defer client.CloseIdleConnections()
	port := strings.TrimPrefix(r.Proxy, "http://localhost:")
	before := timeWaits(t, port) // of an earlier test that had this port
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() {
			for range 100 {
				f := once(client, http.MethodGet, r.URL, "")
				assert.Equal(t, "busy", f.body, f)
			}
		})
	}
	callers.Wait()
	assert.Less(t, timeWaits(t, port)-before, 100, "of 3200 calls; %d before", before)
}

// timeWaits counts the connections in TIME_WAIT to or from a port.
func timeWaits(t *testing.T, port string) (n int) {
	t.Helper()
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	suffix := fmt.Sprintf(":%04X", number)
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // without IPv6
		}
		for line := range strings.Lines(string(data)) {
			f := strings.Fields(line)
			if len(f) > 3 && f[3] == "06" && (strings.HasSuffix(f[1], suffix) || strings.HasSuffix(f[2], suffix)) {
				n++
			}
		}
	}
	return n
}

// A function need not read what it is sent: its caller's connection goes on.
func TestBodiesThatAreNotReadCostNoConnection(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Hello", source(t, says("Hello", "hello")))
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, size := range []int{1, 4 << 10, 32 << 10, 200 << 10} {
		for range 50 {
			f := once(client, http.MethodPost, r.URL, strings.Repeat("x", size))
			require.NoError(t, f.err, "a body of %d bytes", size)
			require.Equal(t, "hello", f.body)
		}
	}
}
