package logs

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

const patience = testkit.Patience

// TestMain is also the main of the processes that tests start.
func TestMain(m *testing.M) {
	guarded := testkit.Guarded(m)
	part, arg, _ := strings.Cut(os.Getenv("LOGS_TEST"), ":")
	switch part {
	case "":
		goleak.VerifyTestMain(guarded)
	case "count":
		n, _ := strconv.Atoi(arg)
		out := bufio.NewWriterSize(os.Stdout, 3000) // so that writes end within lines
		for i := range n {
			fmt.Fprintf(out, "line %d %s\n", i, strings.Repeat("x", i%200))
		}
		_ = out.Flush()
	case "flood":
		most, _ := strconv.Atoi(arg)
		line := strings.Repeat(strings.Repeat("x", 99)+"\n", 10<<10)
		for written := 0; written < most; written += len(line) {
			_, _ = os.Stdout.WriteString(line)
		}
	case "store":
		s, err := Open(arg, Config{})
		if err != nil {
			panic(err)
		}
		fmt.Println("open")
		panic(s.Run(context.Background()))
	}
}

// self is this program in a part of TestMain.
func self(part string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOGS_TEST="+part, "GORACE=atexit_sleep_ms=0")
	return cmd
}

func sh(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

// store is a Store that runs until its test ends, or until stop.
type store struct {
	*Store
	t    *testing.T
	stop func()
}

func openStore(t *testing.T, dir string, cfg Config) *store {
	t.Helper()
	s, err := Open(dir, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { require.NoError(t, s.Run(ctx)) })
	stop := func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(stop)
	return &store{s, t, stop}
}

// start starts a process of a function; it is waited for at the test's end.
func (s *store) start(function string, version uint32, cmd *exec.Cmd) (pid int) {
	s.t.Helper()
	o, err := s.Output(function, version)
	require.NoError(s.t, err)
	cmd.Stdout, cmd.Stderr = o.Stdout, o.Stderr
	require.NoError(s.t, cmd.Start())
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.NoError(s.t, o.Started(cmd.Process.Pid))
	require.NoError(s.t, o.Close())
	return cmd.Process.Pid
}

// run starts a process of a function and waits until it has exited and all that it
// has printed is stored.
func (s *store) run(function string, version uint32, cmd *exec.Cmd) (pid int) {
	s.t.Helper()
	pid = s.start(function, version, cmd)
	_, err := cmd.Process.Wait()
	require.NoError(s.t, err)
	s.settled()
	return pid
}

// settled waits until all raw files are removed.
func (s *store) settled() {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return len(s.files()) == 0 }, patience, 5*time.Millisecond)
}

// files are the raw files.
func (s *store) files() []string {
	s.t.Helper()
	entries, err := os.ReadDir(s.rawDir())
	require.NoError(s.t, err)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// lines answers a request that does not follow.
func (s *store) lines(req *proto.LogsRequest) (lines []*proto.LogLine, lost uint64) {
	s.t.Helper()
	require.NoError(s.t, s.Lines(s.t.Context(), req, nil, func(batch *proto.LogLines) error {
		lines = append(lines, batch.Lines...)
		lost += batch.Lost
		return nil
	}))
	return lines, lost
}

func (s *store) texts(req *proto.LogsRequest) []string {
	s.t.Helper()
	lines, _ := s.lines(req)
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.Text
	}
	return texts
}

func (s *store) tail(function string, n int64) string {
	s.t.Helper()
	text, _, err := s.Tail(function, n)
	require.NoError(s.t, err)
	return text
}
