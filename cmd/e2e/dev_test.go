//go:build linux

package e2e

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A page in a browser shows each save by itself, and the error of one that does not build.
func TestAnOpenPageShowsSaves(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes long: not with -short")
	}
	t.Parallel()
	dir := t.TempDir()
	save := func(expression string) {
		text := "package fn\n\nimport (\n\t\"io\"\n\t\"net/http\"\n)\n\nfunc Page(w http.ResponseWriter, r *http.Request) {\n" +
			"\tw.Header().Set(\"Content-Security-Policy\", \"default-src 'self'\")\n" +
			"\tw.Header().Set(\"Content-Type\", \"text/html\")\n\tio.WriteString(w, \"<!doctype html><h1>\"+" + expression + "+\"</h1>\")\n}\n"
		require.NoError(t, os.WriteFile(filepath.Join(dir, "fn.go"), []byte(text), 0o600))
	}
	save(`"one"`)
	cmd := command(context.Background(), "proxyCli", "dev", "-listen", "localhost:0", dir)
	s := &server{t: t, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = s, s
	require.NoError(t, cmd.Start())
	go func() {
		defer close(s.done)
		_ = cmd.Wait()
	}()
	t.Cleanup(s.end)
	address := regexp.MustCompile(`(?m)^Page  (http://\S+)(/functions/page)$`)
	require.Eventually(t, func() bool { return address.MatchString(s.String()) }, patience, 5*time.Millisecond)
	at := address.FindStringSubmatch(s.String())
	b := openTab(t, at[1])
	b.do(chromedp.Navigate(at[1] + at[2]))
	b.text("h1", "one")
	save(`"two"`)
	b.text("h1", "two")
	save("missing")
	b.text("[role=alert]", "undefined: missing")
	b.picture("dev-error")
	b.text("h1", "two")
	save(`"three"`)
	b.text("h1", "three")
	b.shows(`!document.querySelector("[role=alert]")`, "the error is gone")
	save("missing")
	b.text("[role=alert]", "undefined: missing")
	b.do(chromedp.Navigate(at[1] + at[2]))
	b.text("pre", "undefined: missing")
	save(`"four"`)
	b.text("h1", "four")
	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Empty(t, b.foreign)
	assert.Empty(t, b.blocked, "the page's policy is kept to")
}
