//go:build linux

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
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
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// installation is the file of a program that can be replaced by another.
type installation struct {
	t      *testing.T
	file   string
	builds []string // of the program, alike
}

func newInstallation(t *testing.T) installation {
	t.Helper()
	dir := t.TempDir()
	in := installation{t: t, file: filepath.Join(dir, "proxy")}
	program, err := executable("proxy")
	require.NoError(t, err)
	data, err := os.ReadFile(program)
	require.NoError(t, err)
	for i := range 2 {
		in.builds = append(in.builds, filepath.Join(dir, fmt.Sprint("build", i)))
		require.NoError(t, os.WriteFile(in.builds[i], data, 0o700))
	}
	in.install(in.builds[0])
	return in
}

// install puts a file in the program's place.
func (in installation) install(from string) {
	in.t.Helper()
	require.NoError(in.t, os.Link(from, in.file+".new"))
	require.NoError(in.t, os.Rename(in.file+".new", in.file))
	_ = os.Remove(in.file + ".new") // both names were the same file
}

// script puts a shell script in the program's place.
func (in installation) script(text string) {
	in.t.Helper()
	from := filepath.Join(in.t.TempDir(), "script")
	require.NoError(in.t, os.WriteFile(from, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
	in.install(from)
}

// start starts a proxy from the file.
func (in installation) start(args ...string) gateway {
	in.t.Helper()
	dir := in.t.TempDir()
	cmd := command(context.Background(), "proxy", append([]string{"-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", dir}, args...)...)
	cmd.Path, cmd.Args[0], cmd.Dir = in.file, in.file, in.t.TempDir()
	s := launch(in.t, cmd)
	return gateway{s, "localhost:" + s.said(`HTTP started on \S*:(\d+)`), "localhost:" + s.said(`GRPC server started on \S*:(\d+)`), dir}
}

// runs reports whether a proxy runs a build.
func (p gateway) runs(t *testing.T, build string) bool {
	t.Helper()
	now, err := os.Stat(fmt.Sprintf("/proc/%d/exe", p.cmd.Process.Pid))
	require.NoError(t, err)
	want, err := os.Stat(build)
	require.NoError(t, err)
	return os.SameFile(now, want)
}

// children are the processes that a process has started.
func children(t *testing.T, pid int) (pids []string) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err == nil { // else the thread has ended
			pids = append(pids, strings.Fields(string(data))...)
		}
	}
	return pids
}

// hangUp asks a proxy for its upgrade.
func (p gateway) hangUp(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGHUP))
}

// upgraded waits until the process runs a program anew, and no other is left.
func (p gateway) upgraded(t *testing.T, starts int) {
	t.Helper()
	eventually(t, func() bool { return p.started() > starts }, "the next program serves in the process")
	eventually(t, func() bool { return len(children(t, p.cmd.Process.Pid)) == 0 }, "the process that stood in ends")
}

// Ten times the proxy's program is replaced under load: no call fails, plain or by TLS, of
// people or programs, nor a deploy, and the process stays.
func TestUpgradesOfTheProxyUnderLoadFailNoCall(t *testing.T) {
	soaked(t)
	t.Parallel()
	a := newSite(t).start(t)
	in := newInstallation(t)
	authority := testkit.NewAuthority(t)
	cert, dir := authority.Issue(t, "localhost"), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cert.pem"), cert.Cert, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key.pem"), cert.Key, 0o600))
	p := in.start("-agents", a.addr, "-functions", "127.0.0.1:0", "-tls-cert", filepath.Join(dir, "cert.pem"), "-tls-key", filepath.Join(dir, "key.pem"))
	pid := p.cmd.Process.Pid
	dirs := []string{source(t, obeys("Busy", "busy")), source(t, says("Other", "other"))}
	r := mustDeploy(t, p.http, "Busy", dirs[0])
	mustDeploy(t, p.http, "Other", dirs[1])
	files := descriptors(t, pid)

	tr := startTraffic(t, r, time.Second, "busy")
	calls := startLoad(t, r.URL, "busy")
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}, ForceAttemptHTTP2: true}, Timeout: patience}
	defer secure.CloseIdleConnections()
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}, Timeout: patience}
	defer old.CloseIdleConnections()
	for what, client := range map[string]*http.Client{"TLS, HTTP/2": secure, "TLS, HTTP/1": old} {
		for method, path := range map[string]string{http.MethodGet: "", http.MethodPost: "/echo"} {
			body, want := "", "busy"
			if method == http.MethodPost {
				body, want = "over TLS", "over TLS"
			}
			tr.repeat(what+" "+method, pause, func() mishap {
				f := once(client, method, strings.Replace(r.URL, "http:", "https:", 1)+path, body)
				if f.err == nil && f.status == http.StatusOK && f.body == want {
					return mishap{}
				}
				return f
			})
		}
	}
	rpc := transport.NewAgent(transport.RPC, p.rpc)
	defer rpc.Close()
	tr.repeat("list over gRPC", pause, func() mishap {
		rows, err := rpc.Details(context.Background())
		if err == nil && len(rows) < 2 {
			err = fmt.Errorf("%d rows", len(rows))
		}
		return mishap{err: err}
	})
	kinds := map[string]*transport.Client{"gRPC": rpc, "HTTP": transport.NewAgent(transport.HTTP, p.http)}
	for kind, cli := range kinds {
		defer cli.Close()
		tr.repeat("deploy over "+kind, pause, func() mishap {
			_, err := cli.Deploy(context.Background(), &proto.FunctionJson{Name: "Other", Dir: dirs[1], Wait: true})
			return mishap{err: err}
		})
	}
	tr.served(t, 100)
	before := tr.answers.Load() + calls.good.Load()
	const upgrades = 10
	var longest time.Duration
	for i := 1; i <= upgrades; i++ {
		build := in.builds[i%2]
		in.install(build)
		starts, began := p.started(), time.Now()
		p.hangUp(t)
		p.upgraded(t, starts)
		longest = max(longest, time.Since(began))
		assert.True(t, p.runs(t, build))
		tr.served(t, 50)
	}
	t.Logf("%d calls during %d upgrades, of which the longest took %s", tr.answers.Load()+calls.good.Load()-before, upgrades, longest.Round(time.Millisecond))
	for _, f := range tr.end() {
		t.Error(f)
	}
	assert.Empty(t, calls.stop(), "of %d calls", calls.good.Load())
	lock, err := os.ReadFile(filepath.Join(p.dir, "proxy", "LOCK"))
	require.NoError(t, err)
	assert.Equal(t, strconv.Itoa(pid), strings.TrimSpace(string(lock)))
	// Connections that wait for nothing end with the next upgrade, and no other trace is left.
	starts := p.started()
	p.hangUp(t)
	p.upgraded(t, starts)
	eventually(t, func() bool { return descriptors(t, pid) <= files+5 }, "the proxy has no more files open than before")
	assert.Less(t, goroutines(t, p.server), 60)
}

// What does not start takes nothing over: the old program serves on, and says why.
func TestAProxyOutlivesProgramsThatDoNotStart(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	in := newInstallation(t)
	p := in.start("-agents", a.addr)
	r := mustDeploy(t, p.http, "Hello", source(t, says("Hello", "hello")))
	tr := &traffic{stop: make(chan struct{})}
	t.Cleanup(func() { tr.end() })
	kept := &http.Client{Transport: &http.Transport{}, Timeout: patience}
	defer kept.CloseIdleConnections()
	tr.repeat("call", pause, func() mishap {
		if f := once(kept, http.MethodPost, r.URL, "x"); f.err != nil || f.body != "hello" {
			return f
		}
		return mishap{}
	})
	version := `case "$*" in *-version) echo "proxy v0.0.0"; exit;; esac; `
	for i, c := range []struct{ name, script, says string }{
		{"no program", "", "not tell|no such|exec format|permission"},
		{"another program", `echo "agent v0.0.0"`, "its name is not proxy"},
		{"a flag that it does not know", `echo "proxy: unknown flag -http" >&2; exit 2`, "unknown flag -http"},
		{"it exits", version + "exit 3", "exit status 3"},
		{"it crashes", version + "kill -SEGV $$", "segmentation fault"},
	} {
		in.script(c.script)
		if c.script == "" {
			require.NoError(t, os.Remove(in.file))
		}
		starts := p.started()
		p.hangUp(t)
		eventually(t, func() bool { return strings.Count(p.String(), "this proxy stays") == i+1 }, c.name)
		assert.Regexp(t, c.says, p.String(), c.name)
		assert.Equal(t, starts, p.started(), c.name)
		mustDeploy(t, p.http, "Hello", source(t, says("Hello", "hello")))
		tr.served(t, 10)
		assert.Empty(t, children(t, p.cmd.Process.Pid), c.name)
	}
	// And when there is a good one, it takes over.
	in.install(in.builds[1])
	starts := p.started()
	p.hangUp(t)
	p.hangUp(t) // two at once are no other than one
	p.upgraded(t, starts)
	assert.True(t, p.runs(t, in.builds[1]))
	tr.served(t, 10)
	for _, f := range tr.end() {
		t.Error(f)
	}
	assert.Equal(t, "hello", func() string { _, body := fetch(t, http.MethodGet, r.URL, ""); return body }())
}

// A program that says nothing is waited for within a limit, and calls go on meanwhile.
func TestAProxyDoesNotWaitForAProgramThatHangs(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	in.script(`case "$*" in *-version) echo "proxy v0.0.0"; exit;; esac; exec sleep 1000`)
	p.hangUp(t)
	eventually(t, func() bool { return strings.Contains(p.String(), "it does not become ready in time") }, "the old program gives up")
	assert.Empty(t, children(t, p.cmd.Process.Pid))
	status, _ := fetch(t, http.MethodGet, "http://"+p.http+"/readyz", "")
	assert.Equal(t, http.StatusOK, status)
}

// The old program serves what it has begun, within -drain, while the new one serves the
// rest; connections that wait for nothing are closed without a fault.
func TestTunnelsAndIdleConnectionsOfAProxyThatIsUpgraded(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	in := newInstallation(t)
	p := in.start("-agents", a.addr, "-drain", "7s")
	r := mustDeploy(t, p.http, "Busy", source(t, obeys("Busy", "busy")))
	long := begin(t, r.URL+"/wait?for=3s")
	idle, err := net.Dial("tcp", p.http)
	require.NoError(t, err)
	defer idle.Close()
	_, err = fmt.Fprint(idle, "GET /functions/busy HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	in1 := bufio.NewReader(idle)
	rsp, err := http.ReadResponse(in1, nil)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, rsp.Body)
	require.NoError(t, err)
	require.False(t, rsp.Close)
	tunnel, err := net.Dial("tcp", p.http)
	require.NoError(t, err)
	defer tunnel.Close()
	_, err = fmt.Fprint(tunnel, "GET /functions/busy/socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	require.NoError(t, err)
	heard := bufio.NewReader(tunnel)
	rsp, err = http.ReadResponse(heard, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, rsp.StatusCode)

	in.install(in.builds[1])
	starts := p.started()
	p.hangUp(t)
	eventually(t, func() bool { return strings.Contains(p.String(), "another process serves") }, "a stand-in serves")
	answers(t, "busy", r.URL)
	// A connection from before gets its answer, and is told that it was the last.
	second, err := net.Dial("tcp", p.http)
	require.NoError(t, err)
	defer second.Close()
	_, err = fmt.Fprint(idle, "POST /functions/busy/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi")
	require.NoError(t, err)
	rsp, err = http.ReadResponse(in1, nil)
	require.NoError(t, err)
	body, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	assert.Equal(t, "hi", string(body))
	assert.True(t, rsp.Close)
	body, err = io.ReadAll(long.Body)
	require.NoError(t, err)
	assert.Equal(t, "busy", string(body))
	_, err = fmt.Fprint(tunnel, "still here\n")
	require.NoError(t, err)
	said, err := heard.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "still here\n", said)
	p.upgraded(t, starts)
	_, err = heard.ReadString('\n')
	assert.Error(t, err, "the tunnel has an end")
	assert.Equal(t, "busy", func() string { _, body := fetch(t, http.MethodGet, r.URL, ""); return body }())
}

// Whoever stops a proxy in the middle of an upgrade stops all of it.
func TestAProxyThatIsStoppedDuringItsUpgradeLeavesNothing(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		in := newInstallation(t)
		p := in.start("-agents", a.addr)
		r := mustDeploy(t, p.http, "Busy", source(t, obeys("Busy", "busy")))
		var stopped atomic.Bool
		var calls sync.WaitGroup
		calls.Go(func() { // keeps the old program from ending
			_, _, _ = tryFetch(http.MethodGet, r.URL+"/wait?for=20s", "")
			assert.True(t, stopped.Load(), "the call is cut by the end")
		})
		in.install(in.builds[1])
		p.hangUp(t)
		eventually(t, func() bool { return strings.Contains(p.String(), "another process serves") }, "a stand-in serves")
		pids := children(t, p.cmd.Process.Pid)
		require.Len(t, pids, 1)
		stopped.Store(true)
		require.NoError(t, p.cmd.Process.Signal(signal))
		<-p.done
		eventually(t, func() bool {
			pid, err := strconv.Atoi(pids[0])
			return err == nil && !running(pid)
		}, "the stand-in ends")
		calls.Wait()
		refused(t, p.http)
		again := startProxy(t, p.dir, "-agents", a.addr)
		assert.True(t, slices.ContainsFunc(rows(t, http.MethodGet, "http://"+again.http+"/details", ""), func(r row) bool { return r.Name == "Busy" }))
		again.end()
	}
}
