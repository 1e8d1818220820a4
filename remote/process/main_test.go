package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

const patience = testkit.Patience

// childPath is the compiled testdata/child.
var childPath string

func TestMain(m *testing.M) {
	guarded := testkit.Guarded(withChild{m})
	if code, holder := HolderMain(os.Args); holder {
		os.Exit(code)
	}
	if code, first := InitMain(os.Args, os.Stderr, map[string]string{"FIRST": "no"}); first {
		os.Exit(code)
	}
	if code, is := role(os.Args); is {
		os.Exit(code)
	}
	goleak.VerifyTestMain(guarded)
}

// withChild runs the tests with childPath.
type withChild struct{ *testing.M }

func (w withChild) Run() int {
	dir, err := os.MkdirTemp("", "process")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	childPath = filepath.Join(dir, "child")
	build := exec.Command("go", "build", "-o", childPath, "./testdata/child")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as functions are built: threads of C need more memory
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Errorf("%w\n%s", err, out))
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // plain users run it
		panic(err)
	}
	return w.M.Run()
}

// stage is where processes of one function are started.
type stage struct {
	t   *testing.T
	dir string
	Spec
}

func newStage(t *testing.T) *stage {
	t.Helper()
	dir := t.TempDir()
	sockets, err := Listen("127.0.0.1:0", filepath.Join(dir, "fn.sock"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sockets.Close()) })
	output, err := os.OpenFile(filepath.Join(dir, "output"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, output.Close()) })
	return &stage{t: t, dir: dir, Spec: Spec{Path: childPath, Dir: dir, Mount: "/fn", Sockets: sockets, Stdout: output, Stderr: output}}
}

// start starts the child with a part to play; it is killed at the test's end.
func (s *stage) start(part string) *Process {
	s.t.Helper()
	spec := s.Spec
	spec.Env = append([]string{"CHILD=" + part, "PATH=" + os.Getenv("PATH")}, spec.Env...)
	p, err := Start(spec)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { p.Stop(context.Background(), 0) })
	return p
}

// ready starts a child that serves and waits until it does.
func (s *stage) ready() *Process {
	s.t.Helper()
	p := s.start("serve")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(s.t, p.Ready(ctx))
	return p
}

// printed is what the processes have printed so far.
func (s *stage) printed() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "output"))
	require.NoError(s.t, err)
	return string(text)
}

// said waits until what is printed matches a Sscanf format and returns the number in it.
func (s *stage) said(format string) int {
	s.t.Helper()
	var number int
	require.Eventually(s.t, func() bool {
		n, _ := fmt.Sscanf(s.printed(), format, &number)
		return n == 1
	}, patience, 5*time.Millisecond)
	return number
}

func within(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		require.Fail(t, "it did not end")
	}
}
