//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// Previews serve beside the function, and go by themselves, also over the end of their proxy.
func TestPreviews(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	t.Parallel()
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr)
	dir := t.TempDir()
	write := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "fn.go"), []byte(text), 0o600))
	}
	cli := func(args ...string) result { return proxyCli(t, dir, append([]string{"-proxy", p.rpc}, args...)...) }
	url := func(r result) string {
		t.Helper()
		require.Zero(t, r.code, r.stderr)
		m := regexp.MustCompile(`url:"([^"]+)"`).FindStringSubmatch(r.stdout)
		require.NotNil(t, m, r.stdout)
		return m[1]
	}
	write(testkit.Says("Greet", "one"))
	itself := url(cli("deploy", "-wait"))
	write(testkit.Says("Greet", "two"))
	made := cli("deploy", "-wait", "-preview", "feature/login")
	preview := url(made)
	assert.Regexp(t, `^name:"Greet__feature_login_[0-9a-f]{6}"  url:"[^"]+"  status:"Deployed"  preview:"feature/login"  expires:"[^"]+"\n$`, made.stdout)
	expires, err := time.Parse(time.RFC3339, made.stdout[strings.Index(made.stdout, `expires:"`)+len(`expires:"`):][:len("2026-01-02T15:04:05Z")])
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(7*24*time.Hour), expires, time.Minute)
	answers(t, "one", itself)
	answers(t, "two", preview)

	// Nobody would remove it from an agent alone, and nothing else takes a preview's place.
	refused := proxyCli(t, dir, "-proxy", a.addr, "deploy", "-preview", "main")
	assert.NotZero(t, refused.code)
	assert.Contains(t, refused.stderr, "hint: deploy it through a proxy")
	name := regexp.MustCompile(`Greet__\w+`).FindString(made.stdout)
	status, answer := fetch(t, "POST", "http://"+p.http+"/deploy", `[{"name": "`+name+`", "target": "Greet", "dir": "`+dir+`"}]`)
	assert.Equal(t, 409, status, answer)

	short := url(cli("deploy", "-wait", "-preview", "short", "-preview-ttl", "6s"))
	answers(t, "two", short)
	write("package fn\n\nbroken\n")
	status, answer = fetch(t, "POST", "http://"+p.http+"/deploy?wait=true", `[{"name": "Greet", "preview": "broken", "previewTTL": "1s", "dir": "`+dir+`"}]`)
	assert.Equal(t, 200, status, answer)
	assert.Contains(t, answer, `"Failed"`)
	p.kill()
	p = startProxy(t, p.dir)
	names := func() string { return cli("list", "-all").stdout }
	require.Eventually(t, func() bool {
		return !strings.Contains(names(), "Greet__short") && !strings.Contains(names(), "Greet__broken")
	}, patience, 50*time.Millisecond)
	assert.Contains(t, names(), name)
	assert.Contains(t, names(), `name:"Greet" `)

	gone := cli("rm", "-preview", "feature/login")
	require.Zero(t, gone.code, gone.stderr)
	assert.Contains(t, gone.stdout, name)
	assert.NotContains(t, gone.stdout, "expires")
	again := cli("rm", "-preview", "feature/login")
	assert.Zero(t, again.code)
	assert.Empty(t, again.stdout)
	answers(t, "one", "http://"+p.http+"/functions/greet")
}
