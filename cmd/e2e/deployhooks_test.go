package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// notice is what a deploy hook was told.
type notice struct {
	header http.Header
	body   []byte
	failed bool // it was answered with 500
	Event  struct {
		SpecVersion, ID, Source, Type, Subject, Time string
		Data                                         struct {
			Action, Function, Status, Who, Note, Preview, Reason, Error string
			Version                                                     uint32
			Agents                                                      []string
		}
	}
}

// signed verifies a notice as the receiver of a Standard Webhook does.
func (n notice) signed(t *testing.T, secret string) {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	require.NoError(t, err)
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(n.header.Get("Webhook-Id") + "." + n.header.Get("Webhook-Timestamp") + "."))
	_, _ = mac.Write(n.body)
	assert.Equal(t, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)), n.header.Get("Webhook-Signature"))
	assert.Equal(t, n.Event.ID, n.header.Get("Webhook-Id"))
}

// Deploy hooks are told what became of functions, signed, until they take it, also after their
// proxy was killed, and at allowed addresses alone.
func TestDeployHooks(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	t.Parallel()
	var works atomic.Bool
	notices := make(chan notice, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := notice{header: r.Header}
		n.body, _ = io.ReadAll(r.Body)
		_ = json.Unmarshal(n.body, &n.Event)
		if n.failed = !works.Load(); n.failed {
			w.WriteHeader(http.StatusInternalServerError)
		}
		notices <- n
	}))
	defer receiver.Close()
	next := func() notice {
		t.Helper()
		select {
		case n := <-notices:
			return n
		case <-time.After(patience):
			require.Fail(t, "no notice has come")
			return notice{}
		}
	}

	refused := command(context.Background(), "proxy", "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", t.TempDir(), "-deploy-hooks", receiver.URL)
	said, err := refused.CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(said), "-allow-callbacks")

	file := filepath.Join(t.TempDir(), "hooks")
	require.NoError(t, os.WriteFile(file, []byte(receiver.URL+"/secret-path\n"), 0o600))
	flags := []string{"-deploy-hooks", "file:" + file, "-allow-callbacks", "127.0.0.1"}
	a := startAgent(t, "", "")
	p := startProxy(t, "", append(flags, "-agents", a.addr)...)
	dir := t.TempDir()
	cli := func(args ...string) result { return proxyCli(t, dir, append([]string{"-proxy", p.rpc}, args...)...) }
	write := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "fn.go"), []byte(text), 0o600))
	}
	write(testkit.Says("Greet", "one"))
	r := cli("deploy", "-wait", "-note", "the first") // though nobody takes the notice
	require.Zero(t, r.code, r.stderr)
	first := next()
	p.kill()
	works.Store(true)
	p = startProxy(t, p.dir, flags...)
	again := next()
	for again.failed { // before the proxy was killed
		again = next()
	}
	secret := strings.TrimSpace(cli("calls", "secret").stdout)
	again.signed(t, secret)
	assert.Equal(t, first.Event, again.Event)
	assert.Equal(t, "application/cloudevents+json", again.header.Get("Content-Type"))
	e := again.Event
	assert.Equal(t, []string{"1.0", "ryo.function.deploy", "Greet"}, []string{e.SpecVersion, e.Type, e.Subject})
	assert.Equal(t, []string{"deploy", "Greet", "Deployed", "the first"}, []string{e.Data.Action, e.Data.Function, e.Data.Status, e.Data.Note})
	assert.NotEmpty(t, e.Data.Who)
	assert.Equal(t, uint32(1), e.Data.Version)
	assert.Len(t, e.Data.Agents, 1)

	write("package fn\n\nimport \"net/http\"\n\nfunc Greet(w http.ResponseWriter, r *http.Request) { missing() }\n")
	assert.Equal(t, 3, cli("deploy", "-wait").code)
	write(testkit.Says("Greet", "two"))
	for _, args := range [][]string{{"deploy", "-wait"}, {"rollback", "Greet"}, {"pause", "Greet"}, {"resume", "Greet"}, {"stop", "Greet"}, {"deploy", "-wait", "-preview", "main"}, {"rm", "Greet"}} {
		r := cli(args...)
		require.Zero(t, r.code, r.stderr)
	}
	ids := map[string]bool{e.ID: true}
	for _, want := range []struct {
		action, function, status, reason, preview string
		version                                   uint32
	}{
		{"deploy", "Greet", "Failed", "build", "", 0}, {"deploy", "Greet", "Deployed", "", "", 3}, {"rollback", "Greet", "Deployed", "", "", 1},
		{"pause", "Greet", "Deployed", "", "", 1}, {"resume", "Greet", "Deployed", "", "", 1},
		{"stop", "Greet", "Stopped", "", "", 1}, {"deploy", "Greet__main", "Deployed", "", "main", 1}, {"remove", "Greet", "Stopped", "", "", 1},
	} {
		n := next()
		for ids[n.Event.ID] { // a notice may come twice, by the same id
			n = next()
		}
		ids[n.Event.ID] = true
		n.signed(t, secret)
		d := n.Event.Data
		assert.Equal(t, want.action+" "+want.function+" "+want.status+" "+want.reason+" "+want.preview, d.Action+" "+d.Function+" "+d.Status+" "+d.Reason+" "+d.Preview)
		if want.status == "Failed" {
			assert.Contains(t, d.Error, "undefined: missing")
		} else if want.version != 3 {
			assert.Equal(t, want.version, d.Version, want.action)
		}
	}
	// A function that keeps crashing is told by itself.
	write("package fn\n\nimport (\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc Greet(w http.ResponseWriter, r *http.Request) { os.Exit(3) }\n")
	r = cli("deploy", "-wait")
	require.Zero(t, r.code, r.stderr)
	var told notice
	require.Eventually(t, func() bool {
		_, _, _ = tryFetch(http.MethodGet, "http://"+p.http+"/functions/greet", "")
		select {
		case told = <-notices:
		default:
		}
		return told.Event.Data.Action == "crash"
	}, patience, 100*time.Millisecond)
	assert.Equal(t, []string{"Greet", "Failed", "crash"}, []string{told.Event.Subject, told.Event.Data.Status, told.Event.Data.Reason})
	assert.Contains(t, told.Event.Data.Error, "exit status 3")
	assert.NotContains(t, p.String(), "secret-path")
}
