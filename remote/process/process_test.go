package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestReadyProcessServesOnBothSockets(t *testing.T) {
	s := newStage(t)
	p := s.ready()
	pid := strconv.Itoa(p.Pid())
	for network, addr := range map[string]string{"tcp": s.Sockets.Addr(), "unix": s.Sockets.Path()} {
		got, err := get(network, addr, "")
		require.NoError(t, err)
		assert.Equal(t, pid, got)
	}
	require.NoError(t, p.Ready(t.Context()), "asked again")
	assert.Zero(t, p.Stop(t.Context(), patience).Code)
	assert.Equal(t, "exit status 0", p.Exit().String())
	assert.Error(t, p.Ready(t.Context()))
}

// get asks the function once over a connection of its own.
func get(network, addr, query string) (string, error) {
	var dialer net.Dialer
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr)
		},
	}
	rsp, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://fn/" + query)
	if err != nil {
		return "", err
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	return string(body), err
}

func TestReadyNeverHangs(t *testing.T) {
	for part, want := range map[string]string{
		"exit:2": "the process exited before it was ready: exit status 2",
		"crash":  "the process exited before it was ready: signal: killed",
		"leave":  "the process did not answer its health check: ",
		"babble": "the process did not answer its health check: ",
		"sick":   "the process did not answer its health check: the answer is 503 Service Unavailable",
	} {
		t.Run(part, func(t *testing.T) {
			p := newStage(t).start(part)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			err := p.Ready(ctx)
			require.ErrorContains(t, err, want)
			require.ErrorIs(t, err, proto.ErrUnavailable)
			require.NoError(t, ctx.Err())
		})
	}
}

func TestReadyEndsWithItsContext(t *testing.T) {
	s := newStage(t)
	p := s.start("silent")
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("the caller cancelled")
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	require.ErrorIs(t, p.Ready(ctx), cause)
	assert.Zero(t, p.Exit(), "it goes on")
	assert.Equal(t, "signal: terminated", p.Stop(context.Background(), patience).String())
}

// A child may hold the control connection for longer than its parent lives.
func TestExitIsKnownThoughChildrenLive(t *testing.T) {
	s := newStage(t)
	p := s.start("orphan")
	require.ErrorContains(t, p.Ready(t.Context()), "exit status 0")
	within(t, p.Done())
	waitExited(t, s.said("child %d"))
}

func TestStopKillsTheWholeGroup(t *testing.T) {
	s := newStage(t)
	p := s.start("deaf")
	child := s.said("child %d")
	require.NoError(t, unix.Kill(child, 0))
	exit := p.Stop(t.Context(), 50*time.Millisecond)
	assert.Equal(t, -1, exit.Code)
	assert.Equal(t, syscall.SIGKILL, exit.Signal)
	assert.Equal(t, "signal: killed", exit.String())
	waitExited(t, child)
	assert.Equal(t, exit, p.Stop(t.Context(), time.Hour), "a second time")
}

func TestStopKillsChildrenOutsideTheGroup(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("children outside the group are found on Linux alone")
	}
	s := newStage(t)
	p := s.start("stray")
	child := s.said("child %d")
	require.NoError(t, unix.Kill(child, 0))
	p.Stop(t.Context(), patience)
	waitExited(t, child)
}

func TestStopCutsGraceShortWithItsContext(t *testing.T) {
	s := newStage(t)
	p := s.start("deaf")
	s.said("child %d")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Equal(t, syscall.SIGKILL, p.Stop(ctx, time.Hour).Signal)
}

func TestStopContinuesAStoppedProcess(t *testing.T) {
	p := newStage(t).ready()
	require.NoError(t, unix.Kill(p.Pid(), unix.SIGSTOP))
	assert.Equal(t, "exit status 0", p.Stop(t.Context(), patience).String())
}

// waitExited waits until a process has exited; its new parent may not have reaped it.
func waitExited(t *testing.T, pid int) {
	t.Helper()
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || bytes.Contains(stat, []byte(") Z "))
	}, patience, 5*time.Millisecond)
}

func TestStopDrainsBeforeKill(t *testing.T) {
	s := newStage(t)
	p := s.ready()
	type result struct {
		body string
		err  error
	}
	answers := make(chan result)
	go func() {
		body, err := get("tcp", s.Sockets.Addr(), "?sleep=100ms")
		answers <- result{body, err}
	}()
	s.said("call %d")
	exit := p.Stop(t.Context(), patience)
	r := <-answers
	require.NoError(t, r.err)
	assert.Equal(t, strconv.Itoa(p.Pid()), r.body)
	assert.Equal(t, "exit status 0", exit.String())
}

func TestDrainReturnsWhenNoCallsAreTaken(t *testing.T) {
	s := newStage(t)
	p := s.ready()
	answer := make(chan error)
	go func() {
		_, err := get("tcp", s.Sockets.Addr(), "?sleep=100ms")
		answer <- err
	}()
	s.said("call %d")
	require.NoError(t, p.Drain(t.Context()))
	require.NoError(t, s.Sockets.Close()) // the only ones that remain
	_, err := get("tcp", s.Sockets.Addr(), "")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	require.NoError(t, <-answer, "what was taken goes on")
	assert.Equal(t, "exit status 0", p.Stop(t.Context(), patience).String())
	assert.NoError(t, p.Drain(t.Context()), "it has exited")
}

func TestDrainEndsWithItsContext(t *testing.T) {
	s := newStage(t)
	p := s.start("deaf")
	s.said("child %d") // it ignores SIGTERM by now
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Drain(ctx), context.DeadlineExceeded)
	p.Stop(t.Context(), 0)
}

func TestGenerationsShareSocketsWithoutALostCall(t *testing.T) {
	s := newStage(t)
	old := s.ready()
	var callers sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for network, addr := range map[string]string{"tcp": s.Sockets.Addr(), "unix": s.Sockets.Path()} {
		callers.Go(func() {
			for ctx.Err() == nil {
				_, err := get(network, addr, "")
				assert.NoError(t, err)
			}
		})
	}
	for range 5 {
		next := s.ready()
		assert.Equal(t, "exit status 0", old.Stop(t.Context(), patience).String())
		old = next
	}
	cancel()
	callers.Wait()
}

func (s *stage) port() string {
	_, port, err := net.SplitHostPort(s.Sockets.Addr())
	require.NoError(s.t, err)
	return port
}

func TestProcessGetsWhatItIsMeantToGet(t *testing.T) {
	inherited, err := unix.Open("/etc/hostname", unix.O_RDONLY, 0) // as from a careless parent: not close-on-exec
	require.NoError(t, err)
	defer unix.Close(inherited)
	s := newStage(t)
	s.Env = []string{"A=1", "A=2", "RYO_MOUNT=/evil", "EMPTY="}
	s.Drain = 3 * time.Second
	s.Memory = 1 << 30
	s.Procs = 1.2
	s.Function, s.Nonce, s.Concurrency = "HelloWorld", "abc", 7
	p := s.start("report")
	within(t, p.Done())
	assert.Equal(t, strings.Join([]string{
		"dir " + s.dir,
		"args [" + childPath + "]",
		"env A=2", "env CHILD=report", "env EMPTY=", "env GOMAXPROCS=2", "env GOMEMLIMIT=966367638", "env PATH=" + os.Getenv("PATH"),
		"env PORT=" + s.port(),
		"env RYO_CONCURRENCY=7", "env RYO_DRAIN=3s", "env RYO_FUNCTION=HelloWorld", "env RYO_LISTEN=2", "env RYO_MOUNT=/fn", "env RYO_NONCE=abc",
		"fd 0 /dev/null", "fd 1 " + s.dir + "/output", "fd 2 " + s.dir + "/output", "fd 3 socket:", "fd 4 socket:", "fd 5 socket:",
		"standard error", "leads true", "",
	}, "\n"), s.printed())
}

func TestMemoryLimitEndsAHog(t *testing.T) {
	s := newStage(t)
	s.Memory = 64 << 20
	p := s.start("hog")
	within(t, p.Done())
	output := s.printed()
	cause, is := OutOfMemory(p.Exit(), s.Memory, output)
	assert.True(t, is, output)
	assert.Regexp(t, `^exit status 2: out of memory \(limit 64 MiB(, peak \d+ MiB)?\)$`, cause, "no peak when this program has had more")
}

func TestSmallestMemoryLimitServes(t *testing.T) {
	s := newStage(t)
	s.Memory = proto.MinMemory
	s.ready()
	for range 100 {
		_, err := get("tcp", s.Sockets.Addr(), "")
		require.NoError(t, err)
	}
}

func TestStartFailsCleanly(t *testing.T) {
	s := newStage(t)
	before := descriptors(t)
	spec := s.Spec
	spec.Path = s.dir + "/missing"
	_, err := Start(spec)
	require.ErrorIs(t, err, os.ErrNotExist)

	spec = s.Spec
	spec.Dir = s.dir + "/missing"
	_, err = Start(spec)
	require.ErrorIs(t, err, os.ErrNotExist)

	sockets, err := Listen("127.0.0.1:0", "")
	require.NoError(t, err)
	require.NoError(t, sockets.Close())
	spec = s.Spec
	spec.Sockets = sockets
	_, err = Start(spec)
	require.ErrorContains(t, err, "its sockets are closed")
	assert.Equal(t, before, descriptors(t))
}

func TestThousandCyclesLeaveNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	s := newStage(t)
	s.start("exit:0").Stop(t.Context(), patience)
	before := descriptors(t)
	for i := range 1000 {
		p := s.start("exit:" + strconv.Itoa(i%7))
		within(t, p.Done())
		require.Equal(t, i%7, p.Exit().Code)
	}
	require.Eventually(t, func() bool { return descriptors(t) <= before }, patience, 5*time.Millisecond)
}

// descriptors counts what this process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestExitString(t *testing.T) {
	for want, exit := range map[string]Exit{
		"exit status 0":   {},
		"exit status 2":   {Code: 2},
		"signal: killed":  {Code: -1, Signal: syscall.SIGKILL},
		"signal: aborted": {Code: -1, Signal: syscall.SIGABRT},

		"exit status unknown": {Code: -1, Unknown: true},
	} {
		assert.Equal(t, want, exit.String())
	}
}

func BenchmarkStartToReady(b *testing.B) {
	dir := b.TempDir()
	sockets, err := Listen("127.0.0.1:0", "")
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, sockets.Close()) })
	for b.Loop() {
		p, err := Start(Spec{Path: childPath, Dir: dir, Mount: "/fn", Env: []string{"CHILD=serve"}, Sockets: sockets})
		require.NoError(b, err)
		require.NoError(b, p.Ready(b.Context()))
		p.Stop(b.Context(), 0)
	}
}
