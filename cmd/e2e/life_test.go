//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// soak asks for all of what is only sampled otherwise: `make soak` sets it.
const soak = "E2E_SOAK"

// soaked leaves a test to soaks: it takes a machine of two processors half a minute or more.
func soaked(t *testing.T) {
	t.Helper()
	if os.Getenv(soak) == "" {
		t.Skip("it takes long: make soak")
	}
}

// often is how often something is done: a few times, or many in a soak.
func often(few, many int) int {
	if os.Getenv(soak) != "" {
		return many
	}
	return few
}

// traffic is what calls a function all the time: callers with connections that are
// kept and with new ones, streams of events, websockets, and calls that take long.
type traffic struct {
	stop    chan struct{}
	callers sync.WaitGroup
	answers atomic.Int64 // that were right

	mu     sync.Mutex // guards the fields below
	faults []fault
}

// fault is a call that did not go well.
type fault struct {
	what       string
	began, end time.Time
	mishap
}

func (f fault) String() string {
	return fmt.Sprintf("%s, %s after %s: %s", f.what, f.end.Format("15:04:05.000"), f.end.Sub(f.began).Round(time.Millisecond), f.mishap)
}

const (
	keptConnections = 64
	newConnections  = 4
	// pause lies between the calls of one caller: they shall keep the function
	// busy, not the machine.
	pause = 40 * time.Millisecond
)

// startTraffic calls a function that obeys, through the gateway and directly. It
// says one of some texts. long is how long its slow calls take.
func startTraffic(t *testing.T, r row, long time.Duration, texts ...string) *traffic {
	t.Helper()
	tr := &traffic{stop: make(chan struct{})}
	t.Cleanup(func() { tr.end() }) // also of a test that has failed
	direct := r.Proxy + "/" + strings.ToLower(r.Name)
	kept := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: keptConnections}, Timeout: patience}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	t.Cleanup(kept.CloseIdleConnections)
	says := func(client *http.Client, url string, wanted ...string) func() mishap {
		return func() mishap {
			f := once(client, http.MethodGet, url, "")
			if f.err == nil && f.status == http.StatusOK && slices.Contains(wanted, f.body) {
				return mishap{}
			}
			return f
		}
	}
	for i := range keptConnections {
		to, what := r.URL, "kept connection"
		if i%4 == 0 {
			to, what = direct, "kept connection to the service"
		}
		tr.repeat(what, pause, says(kept, to, texts...))
	}
	for i := range newConnections {
		to, what := r.URL, "new connection"
		if i%2 == 0 {
			to, what = direct, "new connection to the service"
		}
		tr.repeat(what, pause, says(fresh, to, texts...))
	}
	var events strings.Builder
	for i := range 5 {
		fmt.Fprintf(&events, "data: %d\n\n", i)
	}
	for range 2 {
		tr.repeat("events", pause, says(fresh, r.URL+"/events?every=100ms", events.String()))
		tr.repeat("long call", pause, says(fresh, r.URL+"/wait?for="+long.String(), texts...))
		tr.repeat("websocket", pause, func() mishap { return mishap{err: chat(r.URL + "/socket")} })
	}
	return tr
}

// repeat makes a call again and again, until the traffic ends.
func (tr *traffic) repeat(what string, pause time.Duration, call func() mishap) {
	tr.callers.Go(func() {
		next := time.NewTicker(pause)
		defer next.Stop()
		for {
			select {
			case <-tr.stop:
				return
			case <-next.C:
			}
			began := time.Now()
			f := call()
			if f == (mishap{}) {
				tr.answers.Add(1)
				continue
			}
			tr.mu.Lock()
			tr.faults = append(tr.faults, fault{what, began, time.Now(), f})
			tr.mu.Unlock()
		}
	})
}

// chat says some words over a websocket, to a function that repeats them.
func chat(at string) error {
	u, err := url.Parse(at)
	if err != nil {
		return err
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", u.Path, u.Host); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	rsp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if rsp.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("answered with %s", rsp.Status)
	}
	next := time.NewTicker(pause)
	defer next.Stop()
	for i := range 20 {
		said := fmt.Sprintf("word %d\n", i)
		if _, err := io.WriteString(conn, said); err != nil {
			return fmt.Errorf("say %q: %w", said, err)
		}
		heard, err := in.ReadString('\n')
		if err != nil || heard != said {
			return fmt.Errorf("said %q, heard %q: %w", said, heard, err)
		}
		<-next.C
	}
	return nil
}

// served waits until so many more calls went well.
func (tr *traffic) served(t *testing.T, n int64) {
	t.Helper()
	goal := tr.answers.Load() + n
	eventually(t, func() bool { return tr.answers.Load() >= goal }, "%d calls go well", n)
}

// end stops the callers, waits until all calls have been answered and returns those
// that failed.
func (tr *traffic) end() []fault {
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.callers.Wait()
	return tr.faults
}

// phase is one part of a life under load.
type phase struct {
	name  string
	times int
	do    func(i int) // once

	from             time.Time
	requests         int64
	failed, excepted int
}

func table(t *testing.T, phases []phase) string {
	t.Helper()
	var text strings.Builder
	out := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(out, "phase\ttimes\trequests\tfailed\texcepted\t\n")
	for _, ph := range phases {
		fmt.Fprintf(out, "%s\t%d\t%d\t%d\t%d\t\n", ph.name, ph.times, ph.requests, ph.failed, ph.excepted)
	}
	require.NoError(t, out.Flush())
	return text.String()
}

// span is a time in which a process is killed: calls that it was serving may fail.
type span struct{ from, to time.Time }

// Whatever happens to a function that is in use, no call fails: it is deployed
// anew, rolled back, its agent is killed or upgraded. When its own process is
// killed, only calls that this serves fail.
func TestLifeUnderLoad(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	p := startProxy(t, "", "-agents", a.addr)
	texts := []string{"even", "odd"}
	dirs := []string{source(t, obeys("Busy", "even")), source(t, obeys("Busy", "odd"))}
	give := func(dir string) row {
		body, err := json.Marshal([]map[string]any{{"name": "Busy", "dir": dir, "drain": "30s"}})
		require.NoError(t, err)
		r := rows(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))[0]
		require.Equal(t, "Deployed", r.Status, r.Error)
		return r
	}
	give(dirs[1])
	first := give(dirs[0])
	tr := startTraffic(t, first, time.Duration(often(2, 10))*time.Second, texts...)
	rollback := func() {
		r := rows(t, http.MethodPost, "http://"+p.http+"/rollback", `{"name": "Busy"}`)[0]
		require.Equal(t, "Deployed", r.Status, r.Error)
	}
	var deaths []span
	phases := []phase{
		{name: "redeploy", times: often(5, 100), do: func(i int) { answers(t, texts[(i+1)%2], give(dirs[(i+1)%2]).URL) }},
		{name: "roll back", times: often(5, 100), do: func(int) { rollback() }},
		{name: "kill the process", times: often(3, 20), do: func(i int) {
			if i%3 == 2 { // five ends in a row are a crash loop, and callers are refused; another version is no part of it
				rollback()
			}
			r := until(t, a.addr, "Busy", func(r row) bool { return r.Instances == 1 })
			death := span{from: time.Now()}
			require.NoError(t, syscall.Kill(r.Pid, syscall.SIGKILL))
			eventually(t, func() bool { return !running(r.Pid) }, "the process dies")
			death.to = time.Now()
			deaths = append(deaths, death)
			until(t, p.http, "Busy", func(now row) bool { return now.Instances == 1 && now.Pid != r.Pid })
		}},
		{name: "kill the agent", times: often(3, 20), do: func(int) {
			pid := now(t, a.addr, "Busy").Pid
			a.kill()
			a = home.start(t)
			assert.Equal(t, pid, until(t, a.addr, "Busy", func(r row) bool { return r.Instances == 1 }).Pid)
			until(t, p.http, "Busy", func(r row) bool { return r.Instances == 1 && r.Status == "Deployed" && r.Error == "" })
		}},
		{name: "upgrade the agent", times: often(3, 20), do: func(int) {
			pid, starts := now(t, a.addr, "Busy").Pid, a.started()
			require.NoError(t, a.cmd.Process.Signal(syscall.SIGHUP))
			eventually(t, func() bool { return a.started() > starts }, "the next agent starts")
			assert.Equal(t, pid, until(t, a.addr, "Busy", func(r row) bool { return r.Instances == 1 }).Pid)
		}},
	}
	tr.served(t, 100)
	for i := range phases {
		ph := &phases[i]
		ph.from, ph.requests = time.Now(), -tr.answers.Load()
		for i := range ph.times {
			ph.do(i)
			tr.served(t, 50)
		}
		ph.requests += tr.answers.Load()
	}
	if rest := int64(often(0, 100_000)) - tr.answers.Load(); rest > 0 {
		tr.served(t, rest)
	}
	excepted := 0
	for _, f := range tr.end() {
		ph := &phases[0]
		for i := range phases {
			if phases[i].from.Before(f.end) {
				ph = &phases[i]
			}
		}
		ph.requests++
		if slices.ContainsFunc(deaths, func(d span) bool { return f.began.Before(d.to) && f.end.After(d.from) }) {
			ph.excepted++
			excepted++
			continue
		}
		ph.failed++
		t.Errorf("%s: %s", ph.name, f)
	}
	t.Logf("%d calls went well, %d were excepted\n%s", tr.answers.Load(), excepted, table(t, phases))
	eventually(t, func() bool { return len(programs(t, a.dir)) == 1 }, "one process remains")
}

// idler is the source of a function that notes each call in a file, and answers with a
// text of its process's own.
func idler(name string) string {
	return `package fn

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
)

var process = rand.Text()

var notes, _ = os.OpenFile(os.Getenv("TMPDIR")+"/notes", os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)

func ` + name + `(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(notes, r.URL.Path)
	fmt.Fprint(w, process)
}
`
}

// giveIdler deploys an idler and returns the file that it notes its calls in.
func giveIdler(t *testing.T, a agent, at, name, idle string) (r row, notes string) {
	t.Helper()
	body, err := json.Marshal([]map[string]any{{
		"name": name, "dir": source(t, idler(name)), "idle": idle,
	}})
	require.NoError(t, err)
	r = rows(t, http.MethodPost, "http://"+at+"/deploy?wait=true", string(body))[0]
	require.Equal(t, "Deployed", r.Status, r.Error)
	return r, a.temp(name, "notes")
}

// noted are the calls that an idler has noted, sorted.
func noted(t *testing.T, notes string) []string {
	t.Helper()
	data, err := os.ReadFile(notes)
	require.NoError(t, err)
	calls := strings.Fields(string(data))
	slices.Sort(calls)
	return calls
}

// A thousand callers who come at once to a function that sleeps wake it once, and
// all are answered.
func TestLifeIsWokenOnce(t *testing.T) {
	t.Parallel()
	const n = 1000
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r, notes := giveIdler(t, a, p.http, "Idle", "2s")
	for range often(1, 10) {
		until(t, p.http, "Idle", func(r row) bool { return r.Instances == 0 && r.Status == "Deployed" })
		eventually(t, func() bool { return len(programs(t, a.dir)) == 0 }, "its process has gone")
		require.NoError(t, os.RemoveAll(notes))
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		begin := make(chan struct{})
		answers := make([]mishap, n)
		var callers sync.WaitGroup
		for i := range n {
			to := r.URL
			if i%2 == 0 {
				to = r.Proxy + "/idle"
			}
			callers.Go(func() {
				<-begin
				answers[i] = once(client, http.MethodPost, fmt.Sprintf("%s/%d", to, i), "")
			})
		}
		close(begin)
		callers.Wait()
		until(t, a.addr, "Idle", func(r row) bool { return r.Instances == 1 })
		failed := 0
		for _, f := range answers {
			if f.err != nil || f.status != http.StatusOK || f.body != answers[0].body {
				if failed++; failed <= 5 {
					assert.Fail(t, "a call failed", "or was another process's: %s", f)
				}
			}
		}
		assert.Zero(t, failed, "of %d calls", n)
		assert.Len(t, slices.Compact(noted(t, notes)), n)
		assert.Len(t, noted(t, notes), n, "each is answered once")
	}
}

// Callers who come just when a function goes to sleep are answered, once.
func TestLifeAtTheBorderOfSleep(t *testing.T) {
	soaked(t)
	t.Parallel()
	const idle = 50 * time.Millisecond
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	var callers sync.WaitGroup
	for i, test := range []struct{ direct, fresh bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		name := fmt.Sprint("Idle", i)
		r, notes := giveIdler(t, a, p.http, name, idle.String())
		to := r.URL
		if test.direct {
			to = r.Proxy + "/" + strings.ToLower(name)
		}
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: test.fresh, IdleConnTimeout: idle / 2}, Timeout: patience}
		defer client.CloseIdleConnections()
		callers.Go(func() {
			var made []string
			for i := range often(40, 1000) {
				// From before the function has become idle to after its process has ended.
				pause := time.NewTimer(idle/2 + time.Duration(i%40)*2*time.Millisecond)
				<-pause.C
				id := fmt.Sprintf("/%d", i)
				f := once(client, http.MethodPost, to+id, "")
				assert.Equal(t, http.StatusOK, f.status, "%s of %+v: %s", id, test, f)
				made = append(made, id)
			}
			slices.Sort(made)
			assert.Equal(t, made, noted(t, notes), "%+v", test)
		})
	}
	callers.Wait()
	sleeps := strings.Count(a.String(), "agent: idle: function=")
	assert.Greater(t, sleeps, often(20, 500))
	t.Logf("%d sleeps", sleeps)
}

// footprint is what an agent and its functions take of the machine.
type footprint struct{ descriptors, held, memory, processes, disk int }

func (a agent) footprint(t *testing.T) (f footprint) {
	t.Helper()
	pid := a.cmd.Process.Pid
	f.descriptors, f.memory = descriptors(t, pid), memory(t, pid)
	all := processes(t, a.dir)
	f.processes = len(all)
	for _, pid := range all {
		f.held += descriptors(t, pid)
	}
	require.NoError(t, filepath.WalkDir(a.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // removed meanwhile
		}
		if info, err := e.Info(); err == nil {
			f.disk += int(info.Size())
		}
		return nil
	}))
	return f
}

// Functions that are deployed, crash and are removed leave nothing behind.
func TestLifeLeavesNothingBehind(t *testing.T) {
	soaked(t)
	t.Parallel()
	a := newSite(t).start(t)
	dirs := []string{source(t, obeys("Mayfly", "even")), source(t, obeys("Mayfly", "odd"))}
	cycle := func(i int) {
		r := mustDeploy(t, a.addr, "Mayfly", dirs[i%2])
		answers(t, []string{"even", "odd"}[i%2], r.URL)
		require.NoError(t, syscall.Kill(r.Pid, syscall.SIGKILL))
		until(t, a.addr, "Mayfly", func(now row) bool { return now.Instances == 1 && now.Pid != r.Pid })
		status, answer := fetch(t, http.MethodPost, "http://"+a.addr+"/stop", `{"name": "Mayfly"}`)
		require.Equal(t, http.StatusOK, status, answer)
		require.Empty(t, programs(t, a.dir))
	}
	for i := range 10 { // whatever is made once
		cycle(i)
	}
	before := a.footprint(t)
	n := often(50, 1000)
	for i := range n {
		cycle(i)
	}
	after := a.footprint(t)
	eventually(t, func() bool { after = a.footprint(t); return after.descriptors <= before.descriptors+3 }, "the agent closes its files: %d, %+v", before.descriptors, &after)
	assert.Equal(t, before.processes, after.processes)
	assert.LessOrEqual(t, after.held, before.held, "descriptors of the holder")
	assert.Less(t, after.memory-before.memory, 48<<20, "bytes of memory")
	// What functions print is kept, and how they crashed; both are bounded.
	assert.Less(t, after.disk-before.disk, 1<<20+n*4<<10, "bytes on the disk")
	t.Logf("before %d cycles %+v, after %+v", n, before, after)
	assert.Less(t, goroutines(t, a.server), 60)
}

// A deploy that fails on the second of two agents leaves both as they were, and
// no call fails. The second one cannot even build.
func TestLifeOnTwoAgents(t *testing.T) {
	soaked(t)
	t.Parallel()
	one, two := newSite(t).start(t), newSite(t).start(t, "-build", "never")
	p := startProxy(t, "", "-agents", one.addr+","+two.addr)
	give := func(code string) []row {
		body, err := json.Marshal([]map[string]any{{"name": "Busy", "dir": source(t, code), "toAgent": []string{one.addr, two.addr}}})
		require.NoError(t, err)
		return rows(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))
	}
	first := give(obeys("Busy", "old"))
	require.Len(t, first, 2)
	for _, r := range first {
		require.Equal(t, "Deployed", r.Status, "%+v", first)
	}
	assert.Contains(t, two.String(), "builds no functions")
	tr := startTraffic(t, first[0], time.Second, "old", "new")
	tr.served(t, 100)
	for range often(2, 20) {
		broken := obeys("Busy", "new") + fmt.Sprintf("\nfunc init() {\n\tif exe, _ := os.Executable(); strings.HasPrefix(exe, %q) {\n\t\tos.Exit(3)\n\t}\n}\n", two.dir)
		for _, r := range give(broken) {
			assert.Equal(t, "Failed", r.Status, r.AtAgent)
		}
		for _, at := range []agent{one, two} {
			answers(t, "old", until(t, at.addr, "Busy", func(r row) bool { return r.Status == "Deployed" }).URL)
		}
		tr.served(t, 100)
	}
	for _, r := range give(obeys("Busy", "new")) {
		assert.Equal(t, "Deployed", r.Status, "%s: %s", r.AtAgent, r.Error)
	}
	tr.served(t, 100)
	assert.Empty(t, tr.end(), "of %d calls", tr.answers.Load())
}

// Of what a function prints while no agent runs, no line is lost or told twice.
func TestLifeIsLoggedWithoutAGap(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	r := mustDeploy(t, a.addr, "Clock", source(t, `package fn

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

var ticks atomic.Int64

func init() {
	go func() {
		for range time.Tick(10 * time.Millisecond) {
			fmt.Println("tick", ticks.Add(1))
		}
	}()
}

func Clock(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, ticks.Load()) }
`))
	tick := func() int {
		_, body := fetch(t, http.MethodGet, r.URL, "")
		n, err := strconv.Atoi(body)
		require.NoError(t, err, body)
		return n
	}
	passed := func(n int) { eventually(t, func() bool { return tick() >= n }, "%d ticks", n) }
	for range often(3, 20) {
		passed(tick() + 20)
		a.kill()
		passed(tick() + 20)
		a = home.start(t)
		assert.Equal(t, r.Pid, until(t, a.addr, "Clock", func(r row) bool { return r.Instances == 1 }).Pid)
	}
	passed(tick() + 20)
	last := tick()
	var logs struct{ Logs string }
	eventually(t, func() bool {
		_, answer := fetch(t, http.MethodGet, "http://"+a.addr+"/log?entrypoint=Clock", "")
		return json.Unmarshal([]byte(answer), &logs) == nil && strings.Contains(logs.Logs, fmt.Sprintf("\ntick %d\n", last))
	}, "tick %d is in the log", last)
	next := 1
	for line := range strings.Lines(logs.Logs) {
		text, ok := strings.CutPrefix(line, "tick ")
		if !ok {
			continue
		}
		require.Equal(t, fmt.Sprintln(next), text)
		next++
	}
	assert.Greater(t, next, last)
}
