package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/queue"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

func TestUrlsOfDeployHooksMayBeInFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hooks")
	require.NoError(t, os.WriteFile(file, []byte("https://a.example/1\n\nhttps://b.example/2\n"), 0o600))
	getenv := func(name string) string { return map[string]string{"HOOK": "https://c.example/3"}[name] }
	urls, err := parseDeployHooks([]string{"file:" + file, "env:HOOK", "https://a.example/1"}, getenv)
	require.NoError(t, err)
	assert.Equal(t, []string{"https://a.example/1", "https://b.example/2", "https://c.example/3"}, urls)
	for _, wrong := range []string{"env:NONE", "file:" + file + "x", "file:"} {
		_, err := parseDeployHooks([]string{wrong}, getenv)
		assert.ErrorContains(t, err, "-deploy-hooks", wrong)
	}
	var many []string
	for i := range maxDeployHooks + 1 {
		many = append(many, fmt.Sprintf("https://a.example/%d", i))
	}
	_, err = parseDeployHooks(many, getenv)
	assert.Error(t, err)
}

func TestAWrongUrlOfADeployHookIsNotRepeated(t *testing.T) {
	p := &Proxy{}
	p.cfg.DeployHooks = []string{"https://example.com/x", "ftp://example.com/s3cret"}
	p.queue = queue.New(queue.Config{Store: storetest.New()})
	err := p.checkDeployHooks()
	require.ErrorIs(t, err, proto.ErrInvalid)
	assert.Contains(t, err.Error(), "url 2")
	assert.NotContains(t, err.Error(), "s3cret")
	p.cfg.DeployHooks = []string{"http://10.1.2.3/s3cret"}
	err = p.checkDeployHooks()
	require.ErrorIs(t, err, proto.ErrForbidden)
	assert.NotContains(t, err.Error(), "s3cret")
	assert.Contains(t, proto.AsError(err).Hint, "-allow-callbacks")
}

// hook is a deploy hook that notes what it is told, in order, each id once.
func hook(t *testing.T) (cfg Config, next func() told) {
	t.Helper()
	got := make(chan told, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var n told
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil {
			t.Error(err)
		}
		got <- n
	}))
	t.Cleanup(srv.Close)
	seen := map[string]bool{}
	return Config{DeployHooks: []string{srv.URL}, Callbacks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, func() told {
		t.Helper()
		for {
			select {
			case n := <-got:
				if !seen[n.ID] {
					seen[n.ID] = true
					return n
				}
			case <-time.After(patience):
				require.Fail(t, "no notice has come")
			}
		}
	}
}

// A deploy that another one replaces, or a stop, is told as such, by which.
func TestDeployHooksAreToldOfReplacedDeploys(t *testing.T) {
	nodes := newNodes(t, 2)
	cfg, next := hook(t)
	cfg.Store = storetest.New()
	p := start(t, cfg)
	deploys(t, p, answers(t, "one", nodes...))
	assert.Equal(t, "Deployed", next().Data.Status)
	for what, replace := range map[string]func() error{
		"deploy": func() error { _, err := p.Deploy(t.Context(), answers(t, "three", nodes...)); return err },
		"stop":   func() error { _, err := p.Stop(t.Context(), "Hello"); return err },
	} {
		reached, release := make(chan struct{}), make(chan struct{})
		var deploys atomic.Int32
		nodes[1].deploying = func(*proto.FunctionJson) error {
			if deploys.Add(1) == 1 {
				close(reached)
				<-release
			}
			return nil
		}
		ended := make(chan error, 1)
		fn := answers(t, "two", nodes...)
		fn.Note = "slow"
		go func() {
			_, err := p.Deploy(t.Context(), fn)
			ended <- err
		}()
		<-reached
		require.NoError(t, replace(), what)
		close(release)
		require.NoError(t, <-ended)
		first, second := next(), next()
		assert.Equal(t, []string{"deploy", "Hello", "Replaced", "slow"}, []string{first.Data.Action, first.Data.Function, first.Data.Status, first.Data.Note}, what)
		assert.Zero(t, first.Data.Version, "it does not serve")
		assert.Equal(t, []string{what, second.ID}, []string{second.Data.Action, first.Data.ReplacedBy})
	}
	nodes[1].deploying = nil
}

// What a proxy that was killed had stored and not told, the next one tells.
func TestWhatDeployHooksWereNotToldTheNextProxyTells(t *testing.T) {
	nodes, s := newNodes(t, 1), storetest.New()
	p := start(t, Config{Store: s}) // it tells nobody
	deploys(t, p, answers(t, "one", nodes...))
	ctx := t.Context()
	untold := []wish.Notice{noticeOf("c_lost", change{Action: "remove", Function: "Hello", Status: "Stopped"})}
	c, _, err := p.writing(ctx, "Hello")
	require.NoError(t, err)
	_, _, err = p.end(ctx, c, wish.Removed, nil, untold) // and here it is killed
	require.NoError(t, err)
	_, err = p.wishes.Edit(ctx, "hello", func(w *wish.Wish) error { w.Time, w.At = w.Time.Add(-tellAgainAfter), nil; return nil })
	require.NoError(t, err)
	p.stop()

	cfg, next := hook(t)
	cfg.Store = s
	p = start(t, cfg)
	n := next()
	assert.Equal(t, []string{"c_lost", "remove"}, []string{n.ID, n.Data.Action})
	eventually(t, func() bool {
		w, _, err := p.wishes.Read(ctx, "hello")
		return err == nil && (w == nil || len(w.Untold) == 0)
	}, "the wish notes that it is told")
}

// That a function keeps crashing is told once, by whichever proxy, and that it serves again.
func TestDeployHooksAreToldOfCrashLoops(t *testing.T) {
	nodes, s := newNodes(t, 1), storetest.New()
	cfg, next := hook(t)
	cfg.Store, cfg.Dir = s, t.TempDir()
	p := start(t, cfg)
	deploys(t, p, answers(t, "one", nodes...))
	assert.Equal(t, "deploy", next().Data.Action)
	show := func(as func(*proto.FunctionJsonRsp)) {
		nodes[0].stop()
		nodes[0].shown = as
		nodes[0].start(t)
	}
	var crashed time.Time
	crash := func(row *proto.FunctionJsonRsp) {
		row.Status, row.Reason, row.Error, row.Restarts = "Failed", proto.ReasonCrash, "the process exited: exit status 2", 3
		row.Since = crashed.Format(time.RFC3339)
		row.Retry = time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	}
	crashed = time.Now().UTC()
	show(crash)
	n := next()
	assert.Equal(t, "ryo.function.crash", n.Type)
	assert.Equal(t, change{
		Action: "crash", Function: "Hello", Status: "Failed", Version: 1, Agents: []string{nodes[0].addr}, Who: "agent " + nodes[0].addr,
		Reason: "crash", Error: "the process exited: exit status 2", Restarts: 3,
	}, n.Data)
	eventually(t, func() bool { w, _, err := p.wishes.Read(t.Context(), "hello"); return err == nil && w.At[0].Crashing }, "it is noted")

	p.stop()
	p = start(t, cfg) // it tells nothing again
	show(func(row *proto.FunctionJsonRsp) { row.Since = time.Now().Add(-steady).UTC().Format(time.RFC3339) })
	n = next()
	assert.Equal(t, []string{"ryo.function.recover", "Deployed"}, []string{n.Type, n.Data.Status})
	crashed = crashed.Add(time.Hour)
	show(crash)
	assert.Equal(t, "crash", next().Data.Action)
}

func TestWhatIsACrashLoop(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) string { return now.Add(-ago).UTC().Format(time.RFC3339) }
	for _, c := range []struct {
		row  *proto.FunctionJsonRsp
		want string
	}{
		{&proto.FunctionJsonRsp{Status: "Failed", Reason: "crash", Retry: at(0)}, "crash"},
		{&proto.FunctionJsonRsp{Status: "Failed", Reason: "crash"}, ""}, // it is started at once
		{&proto.FunctionJsonRsp{Status: "Failed", Reason: "build", Retry: at(0)}, ""},
		{&proto.FunctionJsonRsp{Status: "Deployed", Since: at(2 * steady)}, "recover"},
		{&proto.FunctionJsonRsp{Status: "Deployed", Since: at(steady / 2)}, ""},
		{&proto.FunctionJsonRsp{Status: "Deployed", Since: at(2 * steady), Reason: "behind"}, ""},
		{&proto.FunctionJsonRsp{Status: "Stopped", Since: at(2 * steady)}, ""},
	} {
		assert.Equal(t, c.want, crashing(c.row, now), "%s %s", c.row.GetStatus(), c.row.GetReason())
	}
	assert.Empty(t, crashing(nil, now))
}

// What became of notices is counted, by the receiver's host.
func TestNoticesAreCounted(t *testing.T) {
	nodes := newNodes(t, 1)
	cfg, next := hook(t)
	cfg.Store = storetest.New()
	gone := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }))
	defer gone.Close()
	cfg.DeployHooks = append(cfg.DeployHooks, gone.URL+"/s3cret")
	p := start(t, cfg)
	deploys(t, p, answers(t, "one", nodes...))
	next()
	eventually(t, func() bool {
		res, err := client(t).Get("http://" + p.http + "/metrics")
		require.NoError(t, err)
		text := bodyOf(t, res)
		assert.NotContains(t, text, "s3cret")
		host := strings.TrimPrefix(gone.URL, "http://")
		return strings.Contains(text, `ryo_deploy_hook_attempts_total{receiver="`+strings.TrimPrefix(cfg.DeployHooks[0], "http://")+`",result="ok"} 1`) &&
			strings.Contains(text, `ryo_deploy_hook_attempts_total{receiver="`+host+`",result="dead"} 1`) &&
			strings.Contains(text, `ryo_deploy_hook_waiting{receiver="`+host+`"} 0`)
	}, "counts")
}
