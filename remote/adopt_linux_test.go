package remote

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/process"
	"github.com/Ishan27g/ryo-faas/transport"
)

// program is an agent in a process of its own.
type program struct {
	*transport.Client
	cmd  *exec.Cmd
	addr string
	dir  string
	// started has the address of each program that begins to serve in the process.
	started <-chan string
	said    *lines
	wait    func() error
}

// launch starts the program on a folder, on the port of the one before it, if that is
// given. Nothing of it runs on when the test ends.
func launch(t *testing.T, dir, addr string, flags ...string) *program {
	t.Helper()
	return launchFrom(t, os.Args[0], dir, addr, flags...)
}

// launchFrom is launch of the program in a file.
func launchFrom(t *testing.T, file, dir, addr string, flags ...string) *program {
	t.Helper()
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	if addr == "" {
		addr = "localhost:0"
	}
	cmd := exec.Command(file, append([]string{
		"-port", addr, "-dir", dir, "-ports", testPorts(t), "-cache", filepath.Join(cache, "ryo-faas-test"),
	}, flags...)...)
	cmd.Env = append(os.Environ(), beAgent+"=1")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	said := new(lines)
	cmd.Stderr = said
	require.NoError(t, cmd.Start())
	started := make(chan string, 8)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(started)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := regexp.MustCompile(`^HTTP started on (.*)$`).FindStringSubmatch(lines.Text()); m != nil {
				started <- m[1]
			}
		}
	})
	p := &program{cmd: cmd, dir: filepath.Join(dir, "agent"), started: started, said: said, wait: sync.OnceValue(func() error {
		reading.Wait()
		return cmd.Wait()
	})}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = p.wait()
		// A process that it was just starting is none of the function's yet, and has the
		// folder's lock until it is: the next agent waits for that, too.
		assert.Eventually(t, func() bool {
			held, err := state.Open(p.dir)
			return err == nil && held.Close() == nil
		}, patience, time.Millisecond)
		_, err := process.Leftovers(context.Background(), dir)
		assert.NoError(t, err)
		if pid := holderOf(t, p.dir); pid != 0 {
			assert.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
		}
		if t.Failed() {
			t.Log(said.String())
		}
	})
	p.addr = <-started
	require.NotEmpty(t, p.addr, said.String())
	p.Client = transport.NewAgent(transport.HTTP, p.addr)
	t.Cleanup(func() { p.Close() })
	return p
}

// lines is what an agent says, which is written and read at the same time.
type lines struct {
	mu   sync.Mutex // guards the fields below
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (p *program) give(t *testing.T, fn *proto.FunctionJson) *proto.FunctionJsonRsp {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	fn.Wait = true
	rows, err := p.Deploy(ctx, fn)
	require.NoError(t, err)
	require.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
	return rows[0]
}

func (p *program) row(t *testing.T, name string) *proto.FunctionJsonRsp {
	t.Helper()
	rows, err := p.Details(t.Context())
	require.NoError(t, err)
	for _, row := range rows {
		if row.GetName() == name {
			return row
		}
	}
	return nil
}

func (p *program) end(t *testing.T, sig os.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(sig))
	err := p.wait()
	if sig != syscall.SIGKILL {
		require.NoError(t, err)
	}
}

// holderSocket is the path of the socket of a folder's holder, "" if there is none.
func holderSocket(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "holder-*.sock"))
	require.NoError(t, err)
	return strings.Join(found, " ")
}

// holderOf is the process that holds the sockets of a folder's agent, 0 for none.
func holderOf(t *testing.T, dir string) int {
	t.Helper()
	folder, err := os.Open(dir) // the path of the socket may be too long for an address
	require.NoError(t, err)
	defer folder.Close()
	conn, err := net.Dial("unixpacket", fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), filepath.Base(holderSocket(t, dir))))
	if err != nil {
		return 0
	}
	defer conn.Close()
	answer := make([]byte, 32)
	_, _ = conn.Write([]byte("?"))
	n, _ := conn.Read(answer)
	var pid int
	_, _ = fmt.Sscanf(string(answer[:n]), "+%d", &pid)
	return pid
}

func TestFunctionsSurviveTheirAgent(t *testing.T) {
	dir := t.TempDir()
	a := launch(t, dir, "")
	fn := &proto.FunctionJson{Name: "Hello", Instances: 2, Dir: source(t, says("Hello", "hi")+"\nfunc init() { fmt.Println(\"started once more\") }\n")}
	a.give(t, fn)
	fn.Auth = proto.AuthPublic
	hello := a.give(t, fn) // the same processes, as those of another version
	assert.EqualValues(t, 2, hello.GetVersion())
	idle := a.give(t, idler(t))
	a.give(t, &proto.FunctionJson{Name: "Canary", Dir: source(t, says("Canary", "one"))})
	a.give(t, &proto.FunctionJson{Name: "Canary", Dir: source(t, says("Canary", "two")), Canary: 20})
	_, err := a.Rollback(t.Context(), "Canary", 1) // drops the canary
	require.NoError(t, err)
	canary := a.give(t, &proto.FunctionJson{Name: "Canary", Dir: source(t, says("Canary", "two")), Canary: 20})
	require.Eventually(t, func() bool { return asleep(a.row(t, "Idle")) }, patience, 5*time.Millisecond)
	holder := holderOf(t, a.dir)
	require.NotZero(t, holder)

	end := load(t, 4, func() []string {
		return []string{hello.GetUrl(), canary.GetUrl(), canary.GetServing()[1].GetProxy() + "/canary"}
	}, "hi", "one", "two")
	for _, sig := range []os.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGINT} {
		a.end(t, sig)
		assertSays(t, "hi", hello.GetUrl())
		a = launch(t, dir, a.addr)
		now := a.row(t, "Hello")
		assert.Equal(t, string(proto.Deployed), now.GetStatus())
		assert.Equal(t, hello.GetPid(), now.GetPid())
		assert.EqualValues(t, 2, now.GetInstances())
		assert.Equal(t, hello.GetUrl(), now.GetUrl())
		assert.Equal(t, hello.GetSocket(), now.GetSocket())
		now = a.row(t, "Canary")
		require.Len(t, now.GetServing(), 2)
		assert.Equal(t, canary.GetServing()[0].GetPid(), now.GetServing()[0].GetPid())
		assert.Equal(t, canary.GetServing()[1].GetPid(), now.GetServing()[1].GetPid())
		assert.EqualValues(t, 20, now.GetServing()[1].GetWeight())
		assert.True(t, asleep(a.row(t, "Idle")))
		assert.Equal(t, holder, holderOf(t, a.dir))
	}
	assertSays(t, "here", idle.GetUrl())
	calls, failed := end()
	assert.Zero(t, failed, "of %d", calls)
	logs, err := a.Log(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(logs.GetLogs(), "started once more"), logs.GetLogs())

	// An adopted process is like any other.
	require.NoError(t, syscall.Kill(int(hello.GetPid()), syscall.SIGKILL))
	require.Eventually(t, func() bool {
		now := a.row(t, "Hello")
		return now.GetRestarts() == 1 && now.GetInstances() == 2
	}, patience, 5*time.Millisecond)
	crashes, err := a.Crashes(t.Context(), "Hello")
	require.NoError(t, err)
	require.Len(t, crashes, 1)
	assert.Equal(t, hello.GetPid(), crashes[0].GetPid())

	// With -stop-functions all of it stops.
	a.end(t, syscall.SIGTERM)
	a = launch(t, dir, a.addr, "-stop-functions")
	pid := a.row(t, "Hello").GetPid()
	require.True(t, alive(pid))
	a.end(t, syscall.SIGTERM)
	assert.False(t, alive(pid))
	assert.Zero(t, holderOf(t, a.dir))
	_, err = get(hello.GetUrl())
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestAnAgentThatIsStoppedWhileItStartsLetsFunctionsGoOn(t *testing.T) {
	dir := t.TempDir()
	a := launch(t, dir, "")
	hello := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "hi"))})
	a.end(t, syscall.SIGTERM)

	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	next, err := New(Config{Dir: a.dir, Ports: testPorts(t), Cache: filepath.Join(cache, "ryo-faas-test")})
	require.NoError(t, err)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, next.Run(stopped))
	assertSays(t, "hi", hello.GetUrl())

	a = launch(t, dir, a.addr)
	assert.Equal(t, hello.GetPid(), a.row(t, "Hello").GetPid())
}

func TestAnAgentIsReplacedInPlace(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "agent")
	install := func(from string) {
		t.Helper()
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file+".new", data, 0o700))
		require.NoError(t, os.Rename(file+".new", file))
	}
	install(os.Args[0])
	a := launchFrom(t, file, dir, "", "-stop-functions") // which does not mean a replacement
	hello := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "hi"))})
	end := load(t, 3, func() []string { return []string{hello.GetUrl()} }, "hi")
	managed := load(t, 2, func() []string { return []string{"http://" + a.addr + "/healthz"} }, "{\"status\":\"ok\"}\n")
	for range 3 {
		require.NoError(t, a.cmd.Process.Signal(syscall.SIGHUP))
		require.NotEmpty(t, <-a.started)
		now := a.row(t, "Hello")
		assert.Equal(t, hello.GetPid(), now.GetPid())
		assert.Equal(t, string(proto.Deployed), now.GetStatus())
	}
	// A program that is no agent does not get the place.
	broken := filepath.Join(dir, "broken")
	require.NoError(t, os.WriteFile(broken, []byte("\x7fELF and then a full disk"), 0o700))
	install(broken)
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool { return strings.Contains(a.said.String(), "this agent stays") }, patience, time.Millisecond)
	assert.Equal(t, hello.GetPid(), a.row(t, "Hello").GetPid())
	install(os.Args[0])
	require.NoError(t, a.cmd.Process.Signal(syscall.SIGHUP))
	require.NotEmpty(t, <-a.started)

	calls, failed := end()
	assert.Zero(t, failed, "of %d", calls)
	calls, failed = managed()
	assert.Zero(t, failed, "of %d calls of the agent", calls)

	// How a process of the program before exited is known, too.
	require.NoError(t, syscall.Kill(int(hello.GetPid()), syscall.SIGSEGV))
	require.Eventually(t, func() bool { return a.row(t, "Hello").GetRestarts() == 1 }, patience, 5*time.Millisecond)
	crashes, err := a.Crashes(t.Context(), "Hello")
	require.NoError(t, err)
	assert.NotEqual(t, "exit status unknown", crashes[0].GetCause())
	assert.NoFileExists(t, fmt.Sprintf("/proc/%d", hello.GetPid()), "it is reaped")
}

func TestAStrangerIsNeverSignalled(t *testing.T) {
	dir := t.TempDir()
	a := launch(t, dir, "")
	hello := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "hi"))})
	a.end(t, syscall.SIGKILL)

	stranger := exec.Command("sleep", "1000")
	stranger.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	require.NoError(t, stranger.Start())
	ended := make(chan error, 1)
	go func() { ended <- stranger.Wait() }()
	defer func() { _, _ = stranger.Process.Kill(), <-ended }()
	file := filepath.Join(a.dir, "functions", "hello", "run.json")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var was inventory
	require.NoError(t, json.Unmarshal(data, &was))
	was.Services[0].Processes[0].Pid = stranger.Process.Pid
	was.Ending = append(was.Ending, process.Identity{Pid: stranger.Process.Pid})
	data, err = json.Marshal(was)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, data, 0o600))

	a = launch(t, dir, a.addr, "-stop-functions")
	require.Eventually(t, func() bool { return a.row(t, "Hello").GetInstances() == 1 }, patience, 5*time.Millisecond)
	now := a.row(t, "Hello")
	assert.NotEqual(t, hello.GetPid(), now.GetPid())
	assert.Equal(t, hello.GetUrl(), now.GetUrl())
	assert.False(t, alive(hello.GetPid()), "what was left is ended")
	assertSays(t, "hi", now.GetUrl())
	_, err = a.Stop(t.Context(), "Hello")
	require.NoError(t, err)
	a.end(t, syscall.SIGTERM)
	select {
	case err := <-ended:
		assert.Fail(t, "the stranger has ended", err)
	default:
	}
}

func TestAHolderThatDiesIsReplaced(t *testing.T) {
	dir := t.TempDir()
	a := launch(t, dir, "")
	hello := a.give(t, &proto.FunctionJson{Name: "Hello", Dir: source(t, says("Hello", "hi"))})
	holder := holderOf(t, a.dir)
	require.NotZero(t, holder)
	require.NoError(t, syscall.Kill(holder, syscall.SIGKILL))
	require.Eventually(t, func() bool { now := holderOf(t, a.dir); return now != 0 && now != holder }, patience, 5*time.Millisecond)
	file := filepath.Join(a.dir, "functions", "hello", "run.json")
	require.FileExists(t, file)
	require.Eventually(t, func() bool {
		h, err := process.OpenHolder(t.Context(), holderSocket(t, a.dir), a.dir)
		require.NoError(t, err)
		defer h.Close()
		all, err := h.All()
		require.NoError(t, err)
		for _, files := range all {
			for _, file := range files {
				file.Close()
			}
		}
		return len(all) == 2
	}, patience, 5*time.Millisecond)
	a.end(t, syscall.SIGKILL)
	a = launch(t, dir, a.addr, "-stop-functions")
	assert.Equal(t, hello.GetPid(), a.row(t, "Hello").GetPid())
	a.end(t, syscall.SIGTERM)
}
