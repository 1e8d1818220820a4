//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// An agent that is killed at any step of a deploy leaves its functions serving. The
// next one brings them back on their ports, in one process each, and finishes the
// deploy, and the proxy follows without help.
func TestAgentKilledAtEveryStepOfADeploy(t *testing.T) {
	soaked(t)
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	p := startProxy(t, "", "-agents", a.addr)
	other := mustDeploy(t, p.http, "Other", source(t, says("Other", "other")))
	before := row{}
	for i, at := range slices.Concat(stages, stages) {
		text, generation := fmt.Sprint("victim ", i+1), i+1
		dir := source(t, late("Victim", text, 200*time.Millisecond))
		reached := stage(t, a.addr, "Victim", generation, at)
		order(t, p.http, "Victim", dir)
		wait(t, reached, at)
		a.kill()

		answers(t, "other", other.URL)
		if before.URL != "" {
			_, body, err := tryFetch(http.MethodGet, before.URL, "")
			if assert.NoError(t, err, at) {
				assert.Contains(t, []string{fmt.Sprint("victim ", i), text}, body, at)
			}
		}
		a = home.start(t)
		after := until(t, a.addr, "Victim", deployed(generation))
		answers(t, text, after.URL)
		assert.Equal(t, other.Proxy, until(t, a.addr, "Other", deployed(1)).Proxy)
		if before.Proxy != "" {
			assert.Equal(t, before.Proxy, after.Proxy, at)
		}
		before = until(t, p.http, "Victim", deployed(generation))
		assert.Empty(t, before.Error)
		answers(t, text, before.URL)
		answers(t, "other", other.URL)
		eventually(t, func() bool { return len(programs(t, a.dir)) == 2 }, "one process per function after a death while %s", at)
	}
	eventually(t, func() bool {
		folders, err := filepath.Glob(filepath.Join(a.dir, "agent", "functions", "victim", "[0-9]*"))
		return err == nil && len(folders) == 2*len(stages) // versions that have served are kept
	}, "half-made versions are removed")
}

// A proxy that is killed loses no deploy that it has acknowledged, and the next one
// knows every route by itself.
func TestProxyKilledAtEveryStepOfADeploy(t *testing.T) {
	soaked(t)
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	other := mustDeploy(t, p.http, "Other", source(t, says("Other", "other")))
	for i, at := range stages {
		text, generation := fmt.Sprint("victim ", i+1), i+1
		reached := stage(t, a.addr, "Victim", generation, at)
		require.Equal(t, "Deploying", order(t, p.http, "Victim", source(t, late("Victim", text, 100*time.Millisecond))).Status)
		wait(t, reached, at)
		p.kill()
		_, port, err := net.SplitHostPort(p.http)
		require.NoError(t, err)
		p = startProxy(t, p.dir, "-http", "127.0.0.1:"+port) // the last of two flags counts
		// No route is denied while the agents, which it remembers, are connected to.
		status, body := fetch(t, http.MethodGet, other.URL, "")
		assert.NotEqual(t, http.StatusNotFound, status, body)
		comesToAnswer(t, "other", other.URL)
		r := until(t, p.http, "Victim", deployed(generation))
		answers(t, text, r.URL)
	}
	eventually(t, func() bool { return len(programs(t, a.dir)) == 2 }, "one process per function")
}

// A function that is killed while its next version is built comes back, and the next
// version replaces it.
func TestFunctionKilledAtEveryStepOfARedeploy(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	last := mustDeploy(t, p.http, "Victim", source(t, says("Victim", "victim 1")))
	for i, at := range stages {
		text, generation := fmt.Sprint("victim ", i+2), i+2
		reached := stage(t, a.addr, "Victim", generation, at)
		order(t, p.http, "Victim", source(t, late("Victim", text, 200*time.Millisecond)))
		wait(t, reached, at)
		require.NoError(t, syscall.Kill(last.Pid, syscall.SIGKILL))

		// The sockets are the agent's: the call waits for the next process.
		_, body, err := tryFetch(http.MethodGet, last.Proxy+"/victim", "")
		require.NoError(t, err)
		assert.Contains(t, []string{fmt.Sprint("victim ", i+1), text}, body, at)
		next := until(t, p.http, "Victim", deployed(generation))
		assert.Equal(t, last.Proxy, next.Proxy)
		answers(t, text, next.URL)
		last = next
	}
	eventually(t, func() bool { return len(programs(t, a.dir)) == 1 }, "one process")
}

// Whatever is killed during calls, callers get an answer or an error in the platform's
// form, never another's or half an answer, and all is well afterwards.
func TestKilledDuringCalls(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Victim", source(t, obeys("Victim", "victim")))
	_, httpPort, err := net.SplitHostPort(p.http)
	require.NoError(t, err)

	faults := map[string]func(){
		"function": func() {
			pid := now(t, a.addr, "Victim").Pid
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			until(t, a.addr, "Victim", func(r row) bool { return r.Instances == 1 && r.Pid != pid })
		},
		"agent": func() {
			a.kill()
			a = home.start(t)
			until(t, a.addr, "Victim", func(r row) bool { return r.Instances == 1 })
		},
		"proxy": func() {
			p.kill()
			p = startProxy(t, p.dir, "-http", "127.0.0.1:"+httpPort)
		},
	}
	for _, what := range []string{"function", "agent", "proxy"} {
		for range 3 {
			l := startLoad(t, r.URL, "victim")
			l.served(50)
			faults[what]()
			until(t, p.http, "Victim", func(r row) bool { return r.Status == "Deployed" && r.Instances == 1 && r.Error == "" })
			l.served(50)
			for _, f := range l.stop() {
				if f.err != nil { // the caller knows
					assert.NotEqual(t, "agent", what, "neither gateway nor function has gone: %s", f)
					continue
				}
				assert.Contains(t, []int{502, 503}, f.status, "after the death of the %s: %s", what, f)
				assert.Contains(t, f.body, `"error"`)
			}
			l = startLoad(t, r.URL, "victim")
			l.served(50)
			assert.Empty(t, l.stop(), "after the death of the %s", what)
		}
	}
	eventually(t, func() bool { return len(programs(t, a.dir)) == 1 }, "one process, once the agent has warmed its cache")
}

// What was acknowledged is on the disk: the next agent deploys it.
func TestAcknowledgedDeploysAreFinishedByTheNextAgent(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	var fns []map[string]any
	for i := range 6 {
		name := fmt.Sprint("Fn", i)
		fns = append(fns, map[string]any{"name": name, "dir": source(t, says(name, name))})
	}
	body, err := json.Marshal(fns)
	require.NoError(t, err)
	require.Len(t, rows(t, http.MethodPost, "http://"+a.addr+"/deploy", string(body)), len(fns))
	a.kill()
	a = home.start(t)
	seen := map[string]bool{}
	for i := range fns {
		name := fmt.Sprint("Fn", i)
		r := until(t, a.addr, name, deployed(1))
		answers(t, name, r.URL)
		assert.False(t, seen[r.Proxy], "two functions at %s", r.Proxy)
		seen[r.Proxy] = true
	}
	a.end()
	assert.Zero(t, a.cmd.ProcessState.ExitCode())
	assert.Empty(t, programs(t, a.dir))
	a = home.start(t)
	for i := range fns {
		name := fmt.Sprint("Fn", i)
		r := until(t, a.addr, name, deployed(1))
		assert.True(t, seen[r.Proxy], "the ports are the same ones")
		answers(t, name, r.URL)
	}
}

func TestStoppedProcessDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	other := mustDeploy(t, p.http, "Other", source(t, says("Other", "other")))
	body, err := json.Marshal([]map[string]any{{"name": "Frozen", "dir": source(t, says("Frozen", "one")), "timeout": "300ms"}})
	require.NoError(t, err)
	r := rows(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))[0]
	require.Equal(t, "Deployed", r.Status, r.Error)

	require.NoError(t, syscall.Kill(r.Pid, syscall.SIGSTOP))
	eventually(t, func() bool { // each thread stops when it gets to it
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", r.Pid))
		for _, name := range threads {
			stat, readErr := os.ReadFile(name)
			err = errors.Join(err, readErr)
			if !bytes.Contains(stat, []byte(") T ")) {
				return false
			}
		}
		return err == nil && len(threads) > 0
	}, "the process stops")
	status, answer := fetch(t, http.MethodGet, r.URL, "")
	assert.Equal(t, http.StatusGatewayTimeout, status, answer)
	assert.Contains(t, answer, `"timeout"`)
	answers(t, "other", other.URL)

	// A process that is frozen is replaced like any other.
	next := mustDeploy(t, p.http, "Frozen", source(t, says("Frozen", "two")))
	answers(t, "two", next.URL)
	eventually(t, func() bool { return !alive(r.Pid) }, "the frozen process ends")

	require.NoError(t, syscall.Kill(next.Pid, syscall.SIGSTOP))
	status, answer = fetch(t, http.MethodPost, "http://"+p.http+"/stop", `{"name": "Frozen"}`)
	assert.Equal(t, http.StatusOK, status, answer)
	assert.False(t, alive(next.Pid))
}

func TestChildrenEndWithTheirFunction(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	give := func(text string) string {
		body, err := json.Marshal([]map[string]any{{"name": "Parent", "dir": source(t, obeys("Parent", text)), "allow": "subprocess"}})
		require.NoError(t, err)
		return rows(t, http.MethodPost, "http://"+a.addr+"/deploy?wait=true", string(body))[0].URL
	}
	url := give("parent")
	spawn := func() (pids []int) {
		_, answer := fetch(t, http.MethodGet, url+"/children", "")
		for _, word := range strings.Fields(answer) {
			pid, err := strconv.Atoi(word)
			require.NoError(t, err, answer)
			pids = append(pids, pid)
		}
		require.Len(t, pids, 2)
		return pids
	}
	gone := func(pids []int, when string) {
		t.Helper()
		eventually(t, func() bool { return !slices.ContainsFunc(pids, running) }, "children are gone after %s", when)
	}

	children := spawn()
	url = give("again")
	gone(children, "a redeploy")

	children = spawn()
	_, _, _ = tryFetch(http.MethodGet, url+"/exit", "")
	gone(children, "a crash")
	until(t, a.addr, "Parent", func(r row) bool { return r.Restarts == 1 && r.Instances == 1 })

	children = spawn()
	a.kill()
	a = home.start(t)
	until(t, a.addr, "Parent", func(r row) bool { return r.Instances == 1 })
	assert.False(t, slices.ContainsFunc(children, func(pid int) bool { return !running(pid) }), "they outlive the agent")
	fetch(t, http.MethodPost, "http://"+a.addr+"/stop", `{"name": "Parent"}`)
	gone(children, "a stop by the next agent")

	url = give("parent")
	children = spawn()
	fetch(t, http.MethodPost, "http://"+a.addr+"/stop", `{"name": "Parent"}`)
	gone(children, "a stop")
}

func TestOutputOfAnyKind(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Loud", source(t, obeys("Loud", "loud")))
	log := func() string {
		status, answer := fetch(t, http.MethodGet, "http://"+p.http+"/log?entrypoint=Loud", "")
		require.Equal(t, http.StatusOK, status)
		var l struct{ Logs string }
		require.NoError(t, json.Unmarshal([]byte(answer), &l))
		return l.Logs
	}
	assert.True(t, strings.HasPrefix(log(), "deploying at /loud\n"))
	before := memory(t, a.cmd.Process.Pid)
	for path, last := range map[string]string{"/lines": "line 199999\n", "/long": "after the long line\n", "/binary": "after the binary\n"} {
		fetch(t, http.MethodGet, r.URL+path, "")
		logs := log()
		assert.True(t, strings.HasSuffix(logs, last), "%s: …%q", path, logs[max(0, len(logs)-80):])
		assert.LessOrEqual(t, len(logs), 1<<20)
		answers(t, "loud", r.URL)
	}
	assert.Less(t, memory(t, a.cmd.Process.Pid)-before, 64<<20, "bytes more in the agent's memory")
	res := proxyCli(t, t.TempDir(), "-proxy", p.rpc, "log", "Loud")
	assert.Zero(t, res.code, res.stderr)
	assert.NotEmpty(t, res.stdout)
}

// Deployed is said of a function that answers, of no other.
func TestStatusIsHonest(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	// Large enough to be compiled for a while, and late.
	var slow strings.Builder
	slow.WriteString(late("Slow", "slow", 500*time.Millisecond))
	for i := range 1500 {
		fmt.Fprintf(&slow, "\nfunc f%d(a, b string) map[string]string { return map[string]string{a: b, b: fmt.Sprint(a, b, %d)} }\n", i, i)
	}
	r := order(t, p.http, "Slow", source(t, slow.String()))
	seen := map[string]int{}
	eventually(t, func() bool {
		for _, at := range []string{a.addr, p.http} {
			r := now(t, at, "Slow")
			seen[r.Status]++
			if r.Status == "Deployed" {
				answers(t, "slow", r.URL)
				continue
			}
			assert.Equal(t, "Deploying", r.Status)
			assert.Zero(t, r.Instances)
			status, body := fetch(t, http.MethodGet, "http://"+p.http+"/functions/slow", "")
			if status != http.StatusOK { // it has become ready between the two calls
				assert.Equal(t, http.StatusServiceUnavailable, status, body)
			}
		}
		return seen["Deployed"] > 1
	}, "the slow function is deployed")
	assert.Greater(t, seen["Deploying"], 5)
	answers(t, "slow", r.URL)

	for name, code := range map[string]string{
		"Type":   strings.Replace(says("Type", ""), "fmt.Fprint", "fmt.Fprit", 1),
		"Crash":  says("Crash", "") + "\nfunc init() { panic(`boom`) }\n",
		"Silent": strings.Replace(says("Silent", ""), "\t\"net/http\"\n", "\t\"net/http\"\n\t\"os\"\n", 1) + "\nfunc init() { os.Exit(0) }\n",
	} {
		order(t, p.http, name, source(t, code))
		r := until(t, p.http, name, func(r row) bool {
			assert.NotEqual(t, "Deployed", r.Status, name)
			return r.Status == "Failed"
		})
		assert.NotEmpty(t, r.Error)
		status, body := fetch(t, http.MethodGet, "http://"+p.http+"/functions/"+name, "")
		assert.Equal(t, http.StatusBadGateway, status, body)
	}
	answers(t, "slow", r.URL)
}

func TestCrashInTheMiddleOfAnAnswer(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	url := mustDeploy(t, p.http, "Cut", source(t, obeys("Cut", "whole"))).URL
	for i, path := range []string{"/cut", "/cut?length=1000"} {
		_, body, err := tryFetch(http.MethodGet, url+path, "")
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF, "half an answer is no answer")
		assert.Equal(t, "part", body)
		answers(t, "whole", url)
		r := until(t, p.http, "Cut", func(r row) bool { return r.Restarts == i+1 && r.Instances == 1 })
		assert.Equal(t, "Deployed", r.Status)
	}
	status, body := fetch(t, http.MethodGet, url+"/exit", "")
	assert.Equal(t, http.StatusBadGateway, status)
	assert.Contains(t, body, `"bad_gateway"`)
	answers(t, "whole", url)
}

func TestMemoryLimitIsTold(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	body, err := json.Marshal([]map[string]any{{"name": "Hog", "dir": source(t, obeys("Hog", "hog")), "memory": "128MiB"}})
	require.NoError(t, err)
	r := rows(t, http.MethodPost, "http://"+a.addr+"/deploy?wait=true", string(body))[0]
	require.Equal(t, "Deployed", r.Status, r.Error)
	_, _, err = tryFetch(http.MethodGet, r.URL+"/hog", "")
	require.Error(t, err)
	answers(t, "hog", r.URL)
	_, logs := fetch(t, http.MethodGet, "http://"+a.addr+"/log?entrypoint=Hog", "")
	assert.Contains(t, logs, "out of memory")
}

// Ctrl-C ends the wait, not the deploy.
func TestInterruptedWaitTakesNothingBack(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	for i, at := range []struct{ kind, addr string }{{"rpc", p.rpc}, {"http", p.http}, {"rpc", a.addr}} {
		reached := stage(t, a.addr, "Hello", i+1, proto.StageStarting)
		text := fmt.Sprint("hello ", i)
		cmd := command(t.Context(), "proxyCli", "-proxy", at.addr, "-transport", at.kind, "deploy", "-wait",
			source(t, late("Hello", text, time.Second)))
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		require.NoError(t, cmd.Start())
		wait(t, reached, "the deploy")
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
		_ = cmd.Wait()
		assert.Equal(t, 130, cmd.ProcessState.ExitCode(), "%v: %s", at, &stderr)
		assert.Empty(t, stdout.String())
		answers(t, text, until(t, p.http, "Hello", deployed(i+1)).URL)
	}
}

// SIGTERM lets calls in flight finish; then the program exits.
func TestSIGTERMFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Slow", source(t, obeys("Slow", "slow")))
	direct := r.Proxy + "/slow"
	for _, test := range []struct {
		name string
		*server
		url string
	}{{"proxy", p.server, r.URL}, {"agent", a.server, direct}} {
		name, s := test.name, test.server
		inFlight := begin(t, test.url+"/wait?for=2s")
		l := startLoad(t, direct, "slow")
		l.served(50)
		began := time.Now()
		s.end()
		assert.Less(t, time.Since(began), patience/2, "the drain's limit is ten seconds")
		assert.Zero(t, s.cmd.ProcessState.ExitCode())
		body, err := io.ReadAll(inFlight.Body)
		assert.NoError(t, err, "the %s cut a call in flight", name)
		assert.Equal(t, "slow", string(body))
		faults := l.stop()
		if name == "proxy" {
			assert.Empty(t, faults, "the proxy's end is none of the function's")
			continue
		}
		for _, f := range faults { // once the socket is closed, which resets who waits in its backlog
			assert.True(t, errors.Is(f.err, syscall.ECONNREFUSED) || errors.Is(f.err, syscall.ECONNRESET), f.err)
		}
	}
	assert.Empty(t, programs(t, a.dir))
}

// begin makes a call and returns when its answer has begun.
func begin(t *testing.T, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	rsp, err := client.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = rsp.Body.Close() })
	return rsp
}

func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Busy", source(t, obeys("Busy", "busy")))
	l := startLoad(t, r.URL, "busy")
	l.served(100)
	inFlight := begin(t, r.URL+"/wait?for=1s")
	status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/stop", `{"name": "Busy"}`)
	require.Equal(t, http.StatusOK, status, answer)
	assert.Contains(t, answer, `"Stopped"`)
	faults := l.stop()
	body, err := io.ReadAll(inFlight.Body)
	assert.NoError(t, err, "a stop lets calls finish")
	assert.Equal(t, "busy", string(body))
	for _, f := range faults {
		assert.Equal(t, http.StatusNotFound, f.status, "%s", f)
	}
	assert.Empty(t, programs(t, a.dir))
	refused(t, strings.TrimPrefix(r.Proxy, "http://"))
	status, _ = fetch(t, http.MethodGet, r.URL, "")
	assert.Equal(t, http.StatusNotFound, status)
	answers(t, "again", mustDeploy(t, p.http, "Busy", source(t, says("Busy", "again"))).URL)
}

// A head of 10,000 bytes is served, one that never ends is ended, by each of the
// three servers.
func TestSlowAndLargeHeads(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Hello", source(t, says("Hello", "hello")))
	var slow sync.WaitGroup
	for name, target := range map[string]string{
		"agent":    "http://" + a.addr + "/details",
		"proxy":    "http://" + p.http + "/details",
		"gateway":  r.URL,
		"function": r.Proxy + "/hello",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
		require.NoError(t, err)
		for size, want := range map[int]int{10_000: http.StatusOK, 4 << 20: http.StatusRequestHeaderFieldsTooLarge} {
			req.Header.Set("X-Large", strings.Repeat("x", size))
			rsp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err != nil { // it has hung up on what is far too long
				assert.NotEqual(t, http.StatusOK, want, name)
				continue
			}
			assert.Equal(t, want, rsp.StatusCode, name)
			require.NoError(t, rsp.Body.Close())
		}
		conn, err := net.Dial("tcp", req.URL.Host)
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "GET "+req.URL.Path+" HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		require.NoError(t, err)
		slow.Go(func() { assert.Less(t, dripped(conn), 45*time.Second, "the %s waits for a head", name) })
	}
	slow.Wait()
	answers(t, "hello", r.URL)
}

// dripped sends one byte after the other until the other side hangs up, and
// returns how long that took.
func dripped(conn net.Conn) time.Duration {
	began := time.Now()
	hungUp := make(chan struct{})
	go func() {
		defer close(hungUp)
		_, _ = io.Copy(io.Discard, conn)
	}()
	drip := time.NewTicker(200 * time.Millisecond)
	defer drip.Stop()
	for range drip.C {
		select {
		case <-hungUp:
			return time.Since(began)
		default:
		}
		if _, err := conn.Write([]byte("x")); err != nil || time.Since(began) > time.Minute {
			break
		}
	}
	return time.Since(began)
}

func TestPortsUsedUp(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	first, _, _ := strings.Cut(home.ports, "-")
	n, err := strconv.Atoi(first)
	require.NoError(t, err)
	a := home.start(t, "-ports", fmt.Sprintf("%d-%d", n, n+1))
	p := startProxy(t, "", "-agents", a.addr)
	mustDeploy(t, p.http, "One", source(t, says("One", "one")))
	broken := source(t, "package fn\n\nfunc Broken(\n")
	for range 20 {
		r := deploy(t, p.http, "Broken", broken)
		assert.Equal(t, "Failed", r.Status)
		assert.Contains(t, r.Error, "fn.go:3")
	}
	mustDeploy(t, p.http, "Two", source(t, says("Two", "two")))
	body, err := json.Marshal([]map[string]any{{"name": "Three", "dir": source(t, says("Three", "three"))}})
	require.NoError(t, err)
	status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/deploy", string(body))
	assert.NotEqual(t, http.StatusOK, status)
	assert.Contains(t, answer, "in use")
	assert.Contains(t, answer, `"exhausted"`)
	fetch(t, http.MethodPost, "http://"+p.http+"/stop", `{"name": "One"}`)
	answers(t, "three", mustDeploy(t, p.http, "Three", source(t, says("Three", "three"))).URL)
}
