package cli

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// firstBuild is how long a first build may take on a machine under load.
const firstBuild = 2 * time.Minute

// Callers read what the terminal shows, and an interrupt leaves nothing behind.
func TestDevSaysTheSameToTheTerminalAndToCallers(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	dir, temp := t.TempDir(), t.TempDir()
	save := func(body string) {
		text := "package hello\n\nimport \"net/http\"\n\nfunc Hello(w http.ResponseWriter, r *http.Request) { " + body + " }\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "hello.go"), []byte(text), 0o600))
	}
	save(`println("called")`)
	stdout, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	require.NoError(t, err)
	defer stdout.Close()
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	require.NoError(t, err)
	defer stderr.Close()
	said := func() string {
		text, err := os.ReadFile(stderr.Name())
		require.NoError(t, err)
		return string(text)
	}

	cmd := exec.CommandContext(t.Context(), filepath.Join(program(t), "proxyCli"), "dev", "-listen", "localhost:0")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, stdout, stderr
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "GORACE=atexit_sleep_ms=0", "PWD="+dir)
	require.NoError(t, cmd.Start())
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	}()
	address := regexp.MustCompile(`(?m)^Hello  (http://localhost:\d+/functions/hello)$`)
	require.Eventually(t, func() bool { return address.MatchString(said()) }, firstBuild, 5*time.Millisecond)
	url := address.FindStringSubmatch(said())[1]
	get := func() (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		require.NoError(t, err)
		transport := &http.Transport{DisableKeepAlives: true}
		res, err := transport.RoundTrip(req)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(body)
	}
	status, _ := get()
	assert.Equal(t, http.StatusOK, status)

	before := len(said())
	save("missing()")
	want := "error: " + filepath.Base(dir) + " did not build\n" +
		"  hello.go:5:54: undefined: missing\n" +
		"     4 | \n" +
		"     5 | func Hello(w http.ResponseWriter, r *http.Request) { missing() }\n" +
		"       |                                                      ^\n"
	require.Eventually(t, func() bool { return strings.HasSuffix(said()[before:], want) }, firstBuild, 5*time.Millisecond)
	status, body := get()
	assert.Equal(t, http.StatusInternalServerError, status)
	assert.Equal(t, want, body)

	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left)
	printed, err := os.ReadFile(stdout.Name())
	require.NoError(t, err)
	assert.Equal(t, "called\n", string(printed))
	assert.True(t, strings.HasSuffix(said(), want), said())
}
