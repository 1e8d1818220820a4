package proxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/events"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

// called is the events that functions were called with.
type called struct {
	mu     sync.Mutex
	events []string
}

func (c *called) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, fmt.Sprintf("%s %s %s %s %s", r.Method, r.Header.Get("Ce-Type"), r.Header.Get("Ce-Id"), r.Header.Get("Content-Type"), body))
}

func (c *called) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.events)
}

// triggered starts a proxy with a store, and an agent whose functions note their calls.
func triggered(t *testing.T, hooks ...events.Hook) (*running, *node, *called) {
	t.Helper()
	c := &called{}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	n := newNode(t)
	n.service = srv.URL
	return start(t, Config{Agents: []string{n.addr}, Store: storetest.New(), Hooks: hooks}), n, c
}

// errorBy returns the error of two results.
func errorBy[T any](_ T, err error) error { return err }

func TestFunctionsAreCalledByTheirSchedules(t *testing.T) {
	p, n, c := triggered(t)
	fn := source(t, "Hello", n.addr)
	fn.Schedule, fn.Timezone = "@every 1s", "Europe/Berlin"
	deploys(t, p, fn)
	require.Eventually(t, func() bool { return len(c.list()) >= 2 }, patience, 10*time.Millisecond)
	assert.Regexp(t, `^POST ryofaas\.schedule\.run hello@\d{8}T\d{6}Z application/json \{\}$`, c.list()[0])

	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		cli := p.dial(t, kind)
		is, err := cli.PauseSchedule(t.Context(), "Hello")
		require.NoError(t, err)
		assert.True(t, is.GetPaused())
		ran, err := cli.RunSchedule(t.Context(), "hello")
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			list, err := cli.Schedules(t.Context(), "Hello")
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.NotEmpty(t, list[0].GetRuns())
			run := list[0].GetRuns()[0]
			return run.GetCall() == ran.GetCall() && run.GetState() == "done" && run.GetAsked()
		}, patience, 10*time.Millisecond)
		is, err = cli.ResumeSchedule(t.Context(), "Hello")
		require.NoError(t, err)
		assert.Equal(t, "@every 1s", is.GetSchedule())
		assert.NotEmpty(t, is.GetNext())
		list, err := cli.Schedules(t.Context(), "")
		require.NoError(t, err)
		assert.Len(t, list, 1)
		for _, err := range []error{
			errorBy(cli.PauseSchedule(t.Context(), "Nobody")), errorBy(cli.ResumeSchedule(t.Context(), "Nobody")),
			errorBy(cli.RunSchedule(t.Context(), "Nobody")), errorBy(cli.Schedules(t.Context(), "Nobody")),
		} {
			require.ErrorIs(t, err, proto.ErrNotFound)
		}
		require.ErrorIs(t, errorBy(cli.RunSchedule(t.Context(), "")), proto.ErrInvalid)
	}

	row, err := p.Stop(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, "Stopped", row.GetStatus())
	require.Eventually(t, func() bool {
		list, err := p.Schedules(t.Context(), "Hello")
		require.NoError(t, err)
		return list[0].GetError() == "the function is stopped"
	}, patience, 10*time.Millisecond)
	_, err = p.Remove(t.Context(), "Hello")
	require.NoError(t, err)
	require.ErrorIs(t, errorBy(p.Schedules(t.Context(), "Hello")), proto.ErrNotFound)
}

func TestTheNewerVersionsSettingsHold(t *testing.T) {
	row := func(name, agent string, version uint32) *proto.FunctionJsonRsp {
		return &proto.FunctionJsonRsp{Name: name, AtAgent: agent, Version: version}
	}
	got := newest([]*proto.FunctionJsonRsp{row("A", "one", 1), row("A", "two", 2), row("A", "three", 2), row("B", "one", 0)})
	require.Len(t, got, 1)
	assert.Equal(t, "two", got[0].GetAtAgent())
}

func TestTokensForOtherFunctionsDoNotReachASchedule(t *testing.T) {
	p, n, _ := triggered(t)
	fn := source(t, "Hello", n.addr)
	fn.Schedule = "@yearly"
	deploys(t, p, fn)
	token := func(functions ...string) *transport.Client {
		made, err := p.dial(t, transport.RPC).CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"deploy"}, Functions: functions})
		require.NoError(t, err)
		// By a forged header the caller comes from elsewhere, so that its token counts.
		cli := transport.NewAgent(transport.HTTP, forwarding(t, p.http), transport.WithToken(made.GetSecret()), transport.WithClearToken())
		t.Cleanup(func() { cli.Close() })
		return cli
	}
	other, right := token("Other"), token("Hello")
	require.ErrorIs(t, errorBy(other.RunSchedule(t.Context(), "Hello")), proto.ErrForbidden)
	require.ErrorIs(t, errorBy(other.PauseSchedule(t.Context(), "Hello")), proto.ErrForbidden)
	require.ErrorIs(t, errorBy(other.Schedules(t.Context(), "Hello")), proto.ErrForbidden)
	list, err := other.Schedules(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, list)
	list, err = right.Schedules(t.Context(), "")
	require.NoError(t, err)
	assert.Len(t, list, 1)
	require.NoError(t, errorBy(right.PauseSchedule(t.Context(), "Hello")))
}

// forwarding returns the address of a gateway before another address.
func forwarding(t *testing.T, addr string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+addr+r.RequestURI, r.Body)
		if err != nil {
			return
		}
		req.Header = r.Header.Clone()
		req.Header.Set("X-Forwarded-For", "192.0.2.1")
		res, err := client(t).Do(req)
		if err != nil {
			return
		}
		defer res.Body.Close()
		for name := range res.Header {
			w.Header().Set(name, res.Header.Get(name))
		}
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://")
}

func TestWithoutAStoreThereAreNoSchedules(t *testing.T) {
	p := start(t, Config{})
	require.ErrorIs(t, errorBy(p.Schedules(t.Context(), "")), proto.ErrUnsupported)
	require.ErrorIs(t, errorBy(p.RunSchedule(t.Context(), "Hello")), proto.ErrUnsupported)
	status, _ := postEvent(t, p, `{}`)
	assert.Equal(t, http.StatusNotFound, status)

	agent := transporttest.NewFake(t)
	addr := transporttest.Serve(t, agent, server.Config{Store: agent.Store()})
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		cli := transport.NewAgent(kind, addr)
		for _, err := range []error{
			errorBy(cli.Schedules(t.Context(), "")), errorBy(cli.RunSchedule(t.Context(), "F")), errorBy(cli.PauseSchedule(t.Context(), "F")), errorBy(cli.ResumeSchedule(t.Context(), "F")),
		} {
			require.ErrorIs(t, err, proto.ErrUnsupported)
			assert.NotEmpty(t, proto.AsError(err).Hint)
		}
		require.NoError(t, cli.Close())
	}
}

// postEvent sends an event in JSON.
func postEvent(t *testing.T, p *running, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.http+"/events", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/cloudevents+json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client(t).Do(req)
	require.NoError(t, err)
	return res.StatusCode, bodyOf(t, res)
}

func TestEventsReachThoseWhoSubscribe(t *testing.T) {
	p, n, c := triggered(t)
	fn := source(t, "Hello", n.addr)
	fn.Subscribe = []string{"orders.*"}
	deploys(t, p, fn)
	const event = `{"specversion":"1.0","id":"1","source":"/shop","type":"orders.placed","data":[1]}`
	status, body := postEvent(t, p, event)
	require.Equal(t, http.StatusAccepted, status, body)
	var answer struct {
		Events []struct {
			Calls []struct{ Function, ID string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Len(t, answer.Events[0].Calls, 1)
	assert.Equal(t, "Hello", answer.Events[0].Calls[0].Function)
	require.Eventually(t, func() bool { return len(c.list()) == 1 }, patience, 10*time.Millisecond)
	assert.Equal(t, "POST orders.placed 1 application/json [1]", c.list()[0])

	status, again := postEvent(t, p, event)
	require.Equal(t, http.StatusAccepted, status)
	assert.JSONEq(t, body, again)
	large := strings.Repeat("x", 128<<10-2)
	status, body = postEvent(t, p, strings.NewReplacer(`"1"`, `"2"`, `[1]`, `"`+large+`"`).Replace(event))
	require.Equal(t, http.StatusAccepted, status, body)
	require.Eventually(t, func() bool { return len(c.list()) == 2 }, patience, 10*time.Millisecond)
	assert.Contains(t, c.list()[1], large)

	res, err := client(t).Get("http://" + p.http + "/events")
	require.NoError(t, err)
	assert.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
	bodyOf(t, res)
}

// A sender of webhooks has no token, wherever it is: it signs them.
func TestSignedWebhooksReachThoseWhoSubscribe(t *testing.T) {
	p, n, c := triggered(t, events.Hook{Name: "code", Form: "github", Secret: []byte("key")})
	fn := source(t, "Hello", n.addr)
	fn.Subscribe = []string{"code.*"}
	deploys(t, p, fn)
	send := func(path, signed string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.http+path, strings.NewReader("[1]"))
		require.NoError(t, err)
		mac := hmac.New(sha256.New, []byte("key"))
		_, _ = mac.Write([]byte(signed))
		for name, value := range map[string]string{
			"X-Forwarded-For": "192.0.2.1", "X-GitHub-Event": "push", "X-GitHub-Delivery": "1", "Content-Type": "application/json",
			"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil)),
		} {
			req.Header.Set(name, value)
		}
		res, err := client(t).Do(req)
		require.NoError(t, err)
		bodyOf(t, res)
		return res.StatusCode
	}
	assert.Equal(t, http.StatusUnauthorized, send("/hooks/code", "[2]"))
	assert.Equal(t, http.StatusNotFound, send("/hooks/other", "[1]"))
	assert.Equal(t, http.StatusAccepted, send("/hooks/code", "[1]"))
	require.Eventually(t, func() bool { return len(c.list()) == 1 }, patience, 10*time.Millisecond)
	assert.Equal(t, "POST code.push 1 application/json [1]", c.list()[0])
}

func TestTheSecretsOfWebhooksAreReferences(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("s3cret\n"), 0o600))
	env := func(name string) string { return map[string]string{"KEY": "other"}[name] }
	all, err := parseHooks([]string{"a=github:file:" + file, "b=stripe:env:KEY"}, env)
	require.NoError(t, err)
	assert.Equal(t, []events.Hook{{Name: "a", Form: "github", Secret: []byte("s3cret")}, {Name: "b", Form: "stripe", Secret: []byte("other")}}, all)
	for _, bad := range [][]string{
		{"a=github:env:KEY", "a=stripe:env:KEY"}, {"a=github:env:GONE"}, {"a=github:file:" + file + "x"}, {"a=github:file:" + filepath.Dir(file)}, {"a=github:s3cret"}, {"a=github:env:"},
	} {
		_, err := parseHooks(bad, env)
		require.Error(t, err, bad)
		assert.NotContains(t, err.Error(), "s3cret")
	}
	require.NoError(t, os.WriteFile(file, make([]byte, maxHookSecret+1), 0o600))
	_, err = parseHooks([]string{"a=github:file:" + file}, env)
	require.ErrorContains(t, err, "more than")
}

func TestEventsTakeTheScopeInvoke(t *testing.T) {
	p, _, _ := triggered(t)
	const event = `{"specversion":"1.0","id":"1","source":"/shop","type":"orders.placed"}`
	from := []string{"X-Forwarded-For", "192.0.2.1"} // elsewhere, so that a token is needed
	status, body := postEvent(t, p, event, from...)
	assert.Equal(t, http.StatusUnauthorized, status, body)
	for want, req := range map[int]*proto.TokenRequest{
		http.StatusAccepted:  {Scopes: []string{"invoke"}},
		http.StatusForbidden: {Scopes: []string{"deploy"}},
	} {
		made, err := p.dial(t, transport.RPC).CreateToken(t.Context(), req)
		require.NoError(t, err)
		status, body := postEvent(t, p, event, append(from, "Authorization", "Bearer "+made.GetSecret())...)
		assert.Equal(t, want, status, body)
	}
	made, err := p.dial(t, transport.RPC).CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"invoke"}, Functions: []string{"Hello"}})
	require.NoError(t, err)
	status, body = postEvent(t, p, event, append(from, "Authorization", "Bearer "+made.GetSecret())...)
	assert.Equal(t, http.StatusForbidden, status, body)
}
