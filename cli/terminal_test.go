package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// at says that the standard streams of a run are terminals, except some.
func (c *console) at(addr string, pipes ...any) *console {
	c.isTerminal = func(stream any) bool {
		for _, p := range pipes {
			if p == stream {
				return false
			}
		}
		return true
	}
	c.proxy = addr
	return c
}

func TestTerminalsWaitByDefault(t *testing.T) {
	_, addr := openStage(t)
	dir := t.TempDir()
	source := "package f\n\nimport \"net/http\"\n\nfunc F(w http.ResponseWriter, r *http.Request) {}\n"
	change := func() { // else there is nothing to wait for
		source += "\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "f.go"), []byte(source), 0o600))
	}
	change()
	def := filepath.Join(dir, "d.json")
	require.NoError(t, os.WriteFile(def, []byte(`{"deploy": [{"packageDir": ".", "name": "F"}]}`), 0o600))
	t.Setenv("RYO_PROXY", addr)
	t.Setenv("CI", "")
	t.Setenv("NO_COLOR", "1")

	for _, args := range [][]string{{"deploy", dir}, {"def", def}, {"def", "-wait", def}} {
		c := newConsole(true)
		require.Equal(t, exitOK, c.run(t.Context(), args), c.stderr.String())
		assert.Contains(t, c.stdout.String(), `status:"Deployed"`)
		assert.Contains(t, c.stderr.String(), eraseLine+"checking F  0.")
		last := c.stderr.Bytes()[bytes.LastIndex(c.stderr.Bytes(), []byte(eraseLine))+len(eraseLine):]
		assert.Regexp(t, `^F: .*version 1 .*(  |\n  )try: proxyCli invoke F\n$`, string(last), "no progress is left behind")
		assert.NotContains(t, c.stdout.String(), "\x1b")
	}
	for _, flag := range []string{"-no-wait", "-wait=false"} {
		change()
		c := newConsole(true)
		require.Equal(t, exitOK, c.run(t.Context(), []string{"deploy", flag, dir}))
		assert.Contains(t, c.stdout.String(), `status:"Deploying"`)
	}
	change()
	c := newConsole(true)
	c.at(addr, c.app.stdout)
	require.Equal(t, exitOK, c.run(t.Context(), []string{"deploy", dir}))
	assert.Contains(t, c.stdout.String(), `status:"Deploying"`, "stdout goes to a script")
}

func TestCheckPrintsColumnsOnATerminal(t *testing.T) {
	dir := t.TempDir()
	const source = "package p\n\nimport \"net/http\"\n\nfunc F(w http.ResponseWriter, r *http.Request) {}\n\nfunc LongerName(w http.ResponseWriter, r *http.Request) {}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p.go"), []byte(source), 0o600))
	for terminal, want := range map[bool]string{true: `^F           http  \S+p\.go:5\nLongerName  http  \S+p\.go:7\n$`, false: `^F\thttp\t\S+p\.go:5\nLongerName\thttp\t\S+p\.go:7\n$`} {
		c := newConsole(terminal)
		assert.Equal(t, exitOK, c.run(t.Context(), []string{"check", dir}), c.stderr.String())
		assert.Regexp(t, want, c.stdout.String())
	}
}

func TestInvokeNeverReadsATerminal(t *testing.T) {
	c := newConsole(true)
	c.stdin = unreadable{t}
	assert.Equal(t, exitUsage, c.run(t.Context(), []string{"invoke", "F", "-d", "@-"}))
	assert.Contains(t, c.stderr.String(), "-d @- reads the standard input, which is a terminal")
}

// unreadable is a terminal at which nobody types.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("stdin was read")
	return 0, os.ErrClosed
}

func TestInterruptWhileStdinIsSilent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	silent, typist := io.Pipe()
	defer func() { _ = typist.Close() }()
	c := newConsole(true)
	c.stdin = reader(func(p []byte) (int, error) {
		cancel()
		return silent.Read(p)
	})
	assert.Equal(t, exitInterrupted, c.run(ctx, []string{"def", "-"}))
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }
