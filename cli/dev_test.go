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

	"github.com/Ishan27g/ryo-faas/cli/dev"
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
	path := url[strings.Index(url, "/functions/"):]
	called := func(status string) *regexp.Regexp { // a call's line, at the end
		return regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d  GET     ` + status + `  +[\d.]+(µs|ms|s)  ` + path + `\n\z`)
	}
	require.Eventually(t, func() bool { return called("200").MatchString(said()) }, firstBuild, 5*time.Millisecond)

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
	require.Eventually(t, func() bool { return called("500").MatchString(said()[before:]) }, firstBuild, 5*time.Millisecond)
	all := said()

	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	assert.Equal(t, exitInterrupted, cmd.ProcessState.ExitCode())
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left)
	printed, err := os.ReadFile(stdout.Name())
	require.NoError(t, err)
	assert.Equal(t, "called\n", string(printed))
	assert.Equal(t, all, said())
}

func TestCallsOfDevAreInColumns(t *testing.T) {
	at := time.Date(2026, 5, 1, 9, 8, 7, 0, time.UTC)
	for want, c := range map[string]dev.Call{
		"09:08:07  GET     200     1.2ms  /functions/f?q=1":                   {Method: "GET", Target: "/functions/f?q=1", Status: 200, Took: 1234 * time.Microsecond},
		"09:08:07  DELETE  404     350µs  /functions/f":                       {Method: "DELETE", Target: "/functions/f", Status: 404, Took: 350 * time.Microsecond},
		"09:08:07  GET     ---      1m2s  /functions/f  (the caller left)":    {Method: "GET", Target: "/functions/f", Took: 62 * time.Second, CutOff: true},
		"09:08:07  GET     200     123ms  /functions/f  (cut off)":            {Method: "GET", Target: "/functions/f", Status: 200, Took: 123 * time.Millisecond, CutOff: true},
		"09:08:07  GET     200      1.5s  /functions/\uFFFD[31mf":             {Method: "GET", Target: "/functions/\x1b[31mf", Status: 200, Took: 1499 * time.Millisecond},
		"09:08:07  GET     200        0s  /functions/aaaaaaaaaaaaaaaaaaaaaa…": {Method: "GET", Target: "/functions/" + strings.Repeat("a", 99), Status: 200},
	} {
		c.Began = at
		assert.Equal(t, want, callLine(c, unpainted, 67))
	}
	paint := func(colour, text string) string { return colour + text + reset }
	assert.Equal(t, faint+"09:08:07"+reset+"  GET     "+red+"503"+reset+"        0s  /", callLine(dev.Call{Began: at, Method: "GET", Target: "/", Status: 503}, paint, 0))
}
