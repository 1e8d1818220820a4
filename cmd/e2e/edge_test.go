package e2e

import (
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// giveWith deploys a function that obeys, with settings, and returns its row.
func giveWith(t *testing.T, a agent, at, name string, settings map[string]any) row {
	t.Helper()
	settings["name"], settings["dir"], settings["toAgent"] = name, source(t, obeys(name, "open")), a.addr
	body, err := json.Marshal([]map[string]any{settings})
	require.NoError(t, err)
	r := rows(t, http.MethodPost, "http://"+at+"/deploy?wait=true", string(body))[0]
	require.Equal(t, "Deployed", r.Status, r.Error)
	return r
}

// What settings refuse at the published port does not wake a function, and what they let
// through is answered as ever.
func TestSettingsAtTheEdge(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-functions", "127.0.0.1:0", "-trusted-proxies", "127.0.0.1")
	functions := p.said(`Functions started on (\S+)`)

	giveWith(t, a, p.http, "Guarded", map[string]any{
		"auth": "public", "idle": "10ms", "body": "1KiB", "rate": "1/h burst 3", "allowIPs": []string{"192.0.2.0/24", "2001:db8::/32"},
	})
	// A gateway that is believed tells who calls.
	call := func(client, path string, body io.Reader) (int, string, http.Header) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+functions+"/functions/guarded"+path, body)
		require.NoError(t, err)
		req.Header.Set("X-Forwarded-For", client)
		tr := &http.Transport{DisableKeepAlives: true}
		rsp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		defer rsp.Body.Close()
		text, err := io.ReadAll(rsp.Body)
		require.NoError(t, err)
		return rsp.StatusCode, string(text), rsp.Header
	}
	asleep := func() bool {
		r, ok := find(rows(t, http.MethodGet, "http://"+p.http+"/details", ""), "Guarded")
		return ok && r.Instances == 0
	}
	eventually(t, asleep, "the function is idle")

	large := strings.Repeat("x", 1<<10+1)
	status, body, _ := call("198.51.100.7", "/", nil)
	assert.Equal(t, http.StatusForbidden, status)
	assert.Equal(t, "forbidden", errorOf(t, body).Code)
	status, body, _ = call("192.0.2.1", "/echo", strings.NewReader(large))
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	assert.Equal(t, "too_large", errorOf(t, body).Code)
	for range 2 { // of three: what was too large counts
		status, _, _ = call("192.0.2.2", "/echo", strings.NewReader(large))
		assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	}
	assert.True(t, asleep(), "nothing of this woke it")

	status, body, _ = call("192.0.2.2", "/echo", strings.NewReader("hello"))
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "hello", body)
	status, body, header := call("192.0.2.2", "/echo", strings.NewReader("hello"))
	assert.Equal(t, http.StatusTooManyRequests, status)
	assert.Equal(t, "too_many", errorOf(t, body).Code)
	assert.NotEmpty(t, header.Get("Retry-After"))
	status, body, _ = call("2001:db8::1", "/echo", io.MultiReader(strings.NewReader(large))) // of no known length
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	assert.Equal(t, "too_large", errorOf(t, body).Code)

	status, metrics := fetch(t, http.MethodGet, "http://"+p.http+"/metrics", "")
	require.Equal(t, http.StatusOK, status)
	for _, reason := range []string{"address", "rate", "body"} {
		assert.Regexp(t, `ryo_calls_total\{component="caller",function="Guarded",reason="`+reason+`",status="4xx",version="[^"]*"\} [1-9]`, metrics)
	}
}

func TestAnswersAreCompressed(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	p := startProxy(t, "")
	giveWith(t, a, p.http, "Squeezed", map[string]any{"compress": true})
	ask := func(method, path, accept, body string) *http.Response {
		req := request(t, method, p.http, "/functions/squeezed"+path, body)
		req.Header.Set("Content-Type", "text/plain")
		req.Header.Set("Accept-Encoding", accept)
		tr := &http.Transport{DisableCompression: true, DisableKeepAlives: true}
		rsp, err := tr.RoundTrip(req)
		require.NoError(t, err)
		t.Cleanup(func() { rsp.Body.Close() })
		return rsp
	}
	text := strings.Repeat("many words make light work\n", 1000)
	rsp := ask(http.MethodPost, "/echo", "gzip", text)
	require.Equal(t, "gzip", rsp.Header.Get("Content-Encoding"))
	assert.Equal(t, "Accept-Encoding", rsp.Header.Get("Vary"))
	plain, err := gzip.NewReader(rsp.Body)
	require.NoError(t, err)
	got, err := io.ReadAll(plain)
	require.NoError(t, err)
	assert.Equal(t, text, string(got))

	rsp = ask(http.MethodPost, "/echo", "", text)
	assert.Empty(t, rsp.Header.Get("Content-Encoding"))
	got, err = io.ReadAll(rsp.Body)
	require.NoError(t, err)
	assert.Equal(t, text, string(got))

	rsp = ask(http.MethodGet, "/events?every=1h", "gzip", "")
	require.Equal(t, "gzip", rsp.Header.Get("Content-Encoding"))
	plain, err = gzip.NewReader(rsp.Body)
	require.NoError(t, err)
	first := make([]byte, len("data: 0\n\n"))
	_, err = io.ReadFull(plain, first)
	require.NoError(t, err, "it comes before the last")
	assert.Equal(t, "data: 0\n\n", string(first))
}

func TestOnlySignedCallsReachAWebhook(t *testing.T) {
	t.Parallel()
	const secret, variable = "c2VjcmV0LXRoYXQtbm9ib2R5LXNlZXM=", "WEBHOOK_SECRET"
	a := startAgent(t, "", "")
	p := startProxy(t, "")
	settings := map[string]any{"webhook": "github:" + variable, "secrets": map[string]string{variable: secret}, "body": "1KiB"}
	r := giveWith(t, a, p.http, "Hooked", settings)
	send := func(url, signature, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/echo", strings.NewReader(body))
		require.NoError(t, err)
		if signature != "" {
			req.Header.Set("X-Hub-Signature-256", signature)
		}
		rsp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		require.NoError(t, err)
		defer rsp.Body.Close()
		text, err := io.ReadAll(rsp.Body)
		require.NoError(t, err)
		return rsp.StatusCode, string(text)
	}
	sign := func(body string) string {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(body))
		return "sha256=" + hex.EncodeToString(mac.Sum(nil))
	}
	for _, url := range []string{"http://" + p.http + "/functions/hooked", r.Proxy + "/hooked"} {
		status, answer := send(url, sign("hello"), "hello")
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "hello", answer)
		for _, signature := range []string{"", sign("other"), "sha256=00"} {
			status, answer = send(url, signature, "hello")
			assert.Equal(t, http.StatusUnauthorized, status)
			e := errorOf(t, answer)
			assert.Equal(t, "unauthenticated", e.Code)
			assert.Contains(t, e.Message, "X-Hub-Signature-256")
		}
		large := strings.Repeat("x", 1<<10+1)
		status, _ = send(url, sign(large), large)
		assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	}
	for _, path := range []string{"/details", "/versions?name=Hooked", "/log?entrypoint=Hooked"} {
		_, answer := fetch(t, http.MethodGet, "http://"+p.http+path, "")
		assert.NotContains(t, answer, secret, path)
	}
	assert.NotContains(t, a.String()+p.String(), secret)

	for _, c := range []struct {
		given map[string]any
		says  string
	}{
		{map[string]any{}, "there is no secret " + variable},
		{map[string]any{"env": map[string]string{variable: secret}}, variable + " is in env"},
	} {
		c.given["name"], c.given["dir"], c.given["toAgent"], c.given["webhook"] = "Hooked", source(t, obeys("Hooked", "open")), a.addr, "github:"+variable
		body, err := json.Marshal([]map[string]any{c.given})
		require.NoError(t, err)
		_, answer := fetch(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))
		assert.Contains(t, answer, c.says, fmt.Sprint(c.given))
	}
	status, _ := send("http://"+p.http+"/functions/hooked", sign("hello"), "hello")
	assert.Equal(t, http.StatusOK, status, "what was refused changed nothing")

	// A bare deploy keeps the setting and its secret.
	cli := proxyCli(t, t.TempDir(), "-proxy", p.rpc, "deploy", "-wait", "-name", "Hooked", "-rate", "1000/s burst 1", source(t, obeys("Hooked", "new")))
	require.Zero(t, cli.code, cli.stderr)
	assert.NotContains(t, cli.stdout+cli.stderr, secret)
	status, _ = send("http://"+p.http+"/functions/hooked", sign("hello"), "hello")
	assert.Equal(t, http.StatusOK, status)
	status, _ = send("http://"+p.http+"/functions/hooked", "", "hello")
	assert.Equal(t, http.StatusUnauthorized, status)
	// Without the secret there is nothing to check by.
	cli = proxyCli(t, t.TempDir(), "-proxy", p.rpc, "deploy", "-wait", "-name", "Hooked", "-webhook", "stripe:OTHER", source(t, obeys("Hooked", "new")))
	assert.NotZero(t, cli.code)
	assert.Contains(t, cli.stderr, "there is no secret OTHER")
	assert.Contains(t, cli.stderr, "-secret OTHER=env:OTHER")
}
