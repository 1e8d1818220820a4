package e2e

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// An agent that is the first process of a container reaps orphans, and drains its
// functions before it exits, since they cannot outlive it.
func TestAgentAsTheFirstProcessOfAContainer(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root makes a container by this alone")
	}
	dir := t.TempDir()
	// The kernel does not show it the processes outside, so it serves none of them.
	plain := command(context.Background(), "agent", "-insecure", "-source-root", "/", "-port", "127.0.0.1:0", "-dir", dir, "-cache", cache(t))
	cmd := exec.Command("sh", append([]string{"-c", `mount --make-rprivate / && mount -t proc proc /proc && exec "$0" "$@"`}, plain.Args...)...)
	cmd.Env = append(plain.Env, "RYO_STOP_FUNCTIONS=false")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	s := launch(t, cmd)
	addr := "localhost:" + s.said(`HTTP started on \S*:(\d+)`)
	r := mustDeploy(t, addr, "Hello", source(t, obeys("Hello", "hi")))

	rsp, err := http.Get(r.URL + "/wait?for=500ms")
	require.NoError(t, err)
	defer rsp.Body.Close()
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	answer, err := io.ReadAll(rsp.Body)
	require.NoError(t, err, "%s", s)
	assert.Equal(t, "hi", string(answer))
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatal("it did not end")
	}
	assert.Zero(t, cmd.ProcessState.ExitCode(), "%s", s)
}
