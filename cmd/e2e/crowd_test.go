//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// crowd is many connections that do no good. A process of its own has them: it can be
// another user's, and one process could not have as many descriptors.
type crowd struct {
	Does  string // idle: sends nothing; head: sends a byte of a head each second; read: reads nothing of an answer
	At    string // the address that they connect to
	Path  string // of the answers that are not read
	Count int    // connections
	Peers int    // addresses that they come from,
	Net   int    // of the network 127.Net.0.0/16
	Again int    // seconds after which a connection is made again that was closed, or not let in
}

// crowdMain is a crowd until its input ends. It says when all of it has come, and at the end
// how much of it is there.
func crowdMain(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var c crowd
	if err := json.Unmarshal([]byte(args[1]), &c); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all, come sync.WaitGroup
	var there atomic.Int64
	come.Add(c.Count)
	for i := range c.Count {
		all.Go(func() {
			pass(ctx, time.Duration(i)*200*time.Microsecond) // together they would be too fast for the kernel
			again := time.Duration(c.Again) * time.Second
			dialer := net.Dialer{Timeout: again, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(c.Net), byte(i%c.Peers>>8), byte(i%c.Peers))}}
			for first := true; ctx.Err() == nil; first = false {
				conn, err := dialer.DialContext(ctx, "tcp", c.At)
				if first {
					come.Done()
				}
				if err == nil {
					there.Add(1)
					c.stay(ctx, conn.(*net.TCPConn))
					there.Add(-1)
				}
				pass(ctx, again)
			}
		})
	}
	go func() {
		come.Wait()
		fmt.Fprintln(stdout, "all have come")
	}()
	_, _ = io.Copy(io.Discard, stdin)
	fmt.Fprintf(stdout, "%d of %d are there\n", there.Load(), c.Count)
	cancel()
	all.Wait()
	return 0
}

// pass waits for a time, unless ctx is done before.
func pass(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// stay does what a connection of the crowd does, until the other end closes it or ctx is done.
func (c crowd) stay(ctx context.Context, conn *net.TCPConn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	switch c.Does {
	case "idle":
		_, _ = conn.Read(make([]byte, 1))
	case "head":
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
		for ; err == nil; _, err = io.WriteString(conn, "x") {
			pass(ctx, time.Second)
		}
	case "read":
		_ = conn.SetReadBuffer(4 << 10)
		_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", c.Path)
		raw, err := conn.SyscallConn()
		for closed := err != nil; !closed; {
			pass(ctx, time.Second)
			err := raw.Control(func(fd uintptr) {
				look := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
				n, _ := unix.Poll(look, 0)
				closed = n > 0
			})
			closed = closed || err != nil
		}
	}
}

// gather brings a crowd, of another user's if that can be, and returns when all of it has
// come. disperse says how much of it is there, and ends it.
func gather(t *testing.T, c crowd) (disperse func() string) {
	t.Helper()
	about, err := json.Marshal(c)
	require.NoError(t, err)
	self, err := os.Open("/proc/self/exe") // another user may not reach the file's folder
	require.NoError(t, err)
	defer self.Close()
	cmd := command(context.Background(), "crowd", string(about))
	cmd.Path, cmd.ExtraFiles = "/proc/self/fd/3", []*os.File{self}
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testkit.OtherUser, Gid: testkit.OtherUser}}
	}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	disperse = sync.OnceValue(func() string {
		_ = in.Close()
		text, _ := io.ReadAll(lines)
		_ = cmd.Wait()
		return strings.TrimSpace(string(text))
	})
	t.Cleanup(func() { disperse() })
	said, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "all have come\n", said)
	return disperse
}

// visitor is a caller who means well.
type visitor struct {
	name  string
	fresh bool // each call has a connection of its own
	url   string
	says  string // a part of each answer

	client *http.Client
	took   []time.Duration
	faults []mishap
}

// visit makes calls until ctx is done.
func (v *visitor) visit(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		f := once(v.client, http.MethodGet, v.url, "")
		v.took = append(v.took, time.Since(began))
		if f.err != nil || f.status != http.StatusOK || !strings.Contains(f.body, v.says) {
			v.faults = append(v.faults, f)
		}
		pass(ctx, pause)
	}
}

// visits has callers for a time, and returns the 99th percentile of what their calls took.
func visits(t *testing.T, visitors []*visitor, during time.Duration) map[string]time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	var all sync.WaitGroup
	for _, v := range visitors {
		v.took, v.faults = nil, nil
		all.Go(func() { v.visit(ctx) })
	}
	all.Wait()
	p99 := make(map[string]time.Duration)
	for _, v := range visitors {
		slices.Sort(v.took)
		p99[v.name] = v.took[len(v.took)*99/100]
		t.Logf("%-30s %5d calls, %d failed, p50 %v, p99 %v", v.name, len(v.took), len(v.faults), v.took[len(v.took)/2].Round(10*time.Microsecond), p99[v.name].Round(10*time.Microsecond))
		if len(v.faults) > 0 {
			assert.Empty(t, v.faults[0], "%s: and %d more of %d", v.name, len(v.faults)-1, len(v.took))
		}
	}
	return p99
}

// Crowds of connections that do no good, to every port: whoever means well is served
// meanwhile, and what the crowds cost is bounded and given back.
func TestLifeInACrowd(t *testing.T) {
	soaked(t)
	a := startAgent(t, "", "")
	files := often(1256, 20_000)
	places := files / 2 // see docs/limits.md
	p := startWith(t, files, "-agents", a.addr, "-functions", "127.0.0.1:0")
	public := p.said(`Functions started on (\S+)`)
	for name, text := range map[string]string{"Hello": says("Hello", "hello"), "Flood": floods} {
		r := proxyCli(t, source(t, text), "-proxy", p.rpc, "deploy", "-wait", "-auth", "public", "-name", name, ".")
		require.Zero(t, r.code, r.stderr)
	}
	visitors := []*visitor{
		{name: "published, kept", url: "http://" + public + "/functions/hello", says: "hello"},
		{name: "published, new", url: "http://" + public + "/functions/hello", says: "hello", fresh: true},
		{name: "proxy, new", url: "http://" + p.http + "/functions/hello", says: "hello", fresh: true},
		{name: "proxy's details, new", url: "http://" + p.http + "/details", says: "Hello", fresh: true},
		{name: "agent's details, new", url: "http://" + a.addr + "/details", says: "Hello", fresh: true},
	}
	for _, v := range visitors {
		v.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: v.fresh}, Timeout: patience}
		t.Cleanup(v.client.CloseIdleConnections)
	}
	during := time.Duration(often(3, 30)) * time.Second
	quiet := visits(t, visitors, during)

	programs := map[string]int{"agent": a.cmd.Process.Pid, "proxy": p.cmd.Process.Pid}
	open, before := map[string]int{}, map[string]int{}
	for name, pid := range programs {
		require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0), "which resets the peak")
		open[name], before[name] = descriptors(t, pid), memory(t, pid)
	}
	crowds := []crowd{
		{Does: "read", At: public, Path: "/functions/flood", Count: often(40, 1000), Peers: 10, Net: 3},
		{Does: "head", At: public, Count: often(80, 1000), Peers: 10, Net: 2},
	}
	for i := range often(1, 4) {
		crowds = append(crowds, crowd{Does: "idle", At: public, Count: often(800, 5000), Peers: often(10, 50), Net: 10 + i})
	}
	if os.Geteuid() == 0 { // so that they are another user's, which has no right there
		for i, at := range []string{p.http, p.rpc, a.addr} {
			crowds = append(crowds, crowd{Does: []string{"idle", "head", "idle"}[i], At: at, Count: often(200, 1000), Peers: 10, Net: 20 + i})
		}
	}
	var disperse []func() string
	for _, c := range crowds {
		c.Again = often(3, 10) // seldom enough that it is no flood: the kernel would drop what nobody has accepted
		disperse = append(disperse, gather(t, c))
	}
	during *= 2
	crowded := visits(t, visitors, during)
	for i, c := range crowds {
		t.Logf("%s at %s: %s", c.Does, c.At, disperse[i]())
	}
	for name, took := range crowded {
		assert.Less(t, took, max(2*time.Second, 20*quiet[name]), name) // other tests run at the same time
	}
	for name, pid := range programs {
		now, most := memory(t, pid), peak(t, pid)
		t.Logf("%s: %d MiB before, %d at most, %d now", name, before[name]>>20, most>>20, now>>20)
		if !testkit.Race { // it takes several times as much
			assert.Less(t, most-before[name], 16<<20+places*48<<10, "%s has grown", name)
		}
		eventually(t, func() bool { return descriptors(t, pid) <= open[name]+8 }, "%s keeps descriptors: %d before", name, open[name])
	}
	visits(t, visitors, time.Second)
}

// startWith starts a proxy that may have as many descriptors, or as many as there are.
func startWith(t *testing.T, files int, args ...string) gateway {
	t.Helper()
	var most unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &most))
	cmd := command(context.Background(), "proxy", append([]string{"-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", t.TempDir()}, args...)...)
	cmd.Args = slices.Concat([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, min(uint64(files), most.Max)), cmd.Path}, cmd.Args[1:])
	cmd.Dir = t.TempDir()
	var err error
	cmd.Path, err = exec.LookPath("sh")
	require.NoError(t, err)
	s := launch(t, cmd)
	return gateway{s, "localhost:" + s.said(`HTTP started on \S*:(\d+)`), "localhost:" + s.said(`GRPC server started on \S*:(\d+)`), ""}
}

// floods is a function whose answer never ends.
const floods = `package fn

import "net/http"

func Flood(w http.ResponseWriter, r *http.Request) {
	for part := make([]byte, 64<<10); ; {
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}
`
