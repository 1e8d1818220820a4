package dashboard_test

import (
	"bufio"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// weightLimit bounds all that a browser is sent of files, before compression, in bytes.
const weightLimit = 120_000

func TestWhatIsSentIsLight(t *testing.T) {
	total := 0
	require.NoError(t, fs.WalkDir(os.DirFS("static"), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		total += int(info.Size())
		return err
	}))
	s := newSite(t)
	s.deploy("Hello")
	for _, path := range []string{"/ui/", "/ui/functions/Hello", "/ui/topology", "/ui/functions/Hello/edit"} {
		_, page := s.browser(false).get(path)
		t.Logf("%s: %d B, with style and script %d B", path, len(page), total+len(page))
		assert.Less(t, total+len(page), weightLimit)
		assert.NotRegexp(t, `(?i)\son\w+=|style=|<style|javascript:|(src|action)="http|<link[^>]+http`, page, "nothing inline, nothing from elsewhere")
	}
}

func TestWhoNeedsNoTokenSeesAllWithoutSigningIn(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	b := s.browser(false)
	rsp, page := b.get("/ui")
	assert.Equal(t, "/ui/", rsp.Request.URL.Path)
	assert.Equal(t, http.StatusOK, rsp.StatusCode)
	assert.Contains(t, page, `<a href="/ui/functions/Hello">Hello</a>`)
	assert.Contains(t, page, "Deployed")
	assert.NotContains(t, page, "Sign out")
	h := rsp.Header
	assert.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'")
	assert.NotContains(t, h.Get("Content-Security-Policy"), "unsafe")
	assert.Equal(t, []string{"no-store", "nosniff", "DENY", "noopener-allow-popups"},
		[]string{h.Get("Cache-Control"), h.Get("X-Content-Type-Options"), h.Get("X-Frame-Options"), h.Get("Cross-Origin-Opener-Policy")})
	_, page = b.get("/ui/functions/hello")
	assert.Contains(t, page, "<h1>Hello</h1>", "in any case")
	rsp, page = b.get("/ui/functions/Missing")
	assert.Equal(t, http.StatusNotFound, rsp.StatusCode)
	assert.Contains(t, page, "there is no function")
	rsp, _ = b.get("/ui/nothing")
	assert.Equal(t, http.StatusNotFound, rsp.StatusCode)
}

func TestSigningIn(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	b := s.browser(true)
	rsp, page := b.get("/ui/functions/Hello")
	assert.Equal(t, "/ui/signin?next=%2Fui%2Ffunctions%2FHello", rsp.Request.URL.RequestURI())
	assert.Contains(t, page, "Token")
	assert.NotContains(t, page, "Functions</a>", "there is nothing to see yet")

	for _, wrong := range []string{"", "ryo_wrong", "password"} {
		rsp, page = b.signIn(wrong)
		assert.Equal(t, http.StatusUnprocessableEntity, rsp.StatusCode, wrong)
		assert.Contains(t, page, `role="alert"`)
		assert.Empty(t, rsp.Header.Values("Set-Cookie"))
	}
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	token := s.token(wire.ScopeDeploy)
	rsp, _ = b.signIn(token)
	require.Equal(t, http.StatusSeeOther, rsp.StatusCode)
	require.Len(t, rsp.Cookies(), 1)
	c := rsp.Cookies()[0]
	at, err := url.Parse(s.base)
	require.NoError(t, err)
	assert.Equal(t, "ryo_ui_"+at.Port(), c.Name, "browsers do not tell ports apart")
	assert.Equal(t, []any{"/ui/", true, false, http.SameSiteStrictMode, ""}, []any{c.Path, c.HttpOnly, c.Secure, c.SameSite, c.Domain})
	b.http.CheckRedirect = nil

	_, page = b.get("/ui/functions/Hello")
	assert.Contains(t, page, "<h1>Hello</h1>")
	assert.Contains(t, page, "(people)")
	require.NotEmpty(t, csrfOf(page))
	rsp, _ = b.post("/ui/", "/ui/signout", nil)
	assert.Equal(t, "/ui/signin", rsp.Request.URL.Path)
	rsp, _ = b.get("/ui/")
	assert.Equal(t, "/ui/signin", rsp.Request.URL.Path)

	// A token that is revoked holds no longer.
	b.signIn(token)
	list, err := s.tokens.Tokens(t.Context())
	require.NoError(t, err)
	_, err = s.tokens.RevokeToken(t.Context(), list[0].GetId())
	require.NoError(t, err)
	rsp, _ = b.get("/ui/")
	assert.Equal(t, "/ui/signin", rsp.Request.URL.Path)
}

func TestANextPageIsOneOfTheDashboard(t *testing.T) {
	s := newSite(t)
	b := s.browser(true)
	b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, next := range []string{"https://evil.example/ui/", "//evil.example/ui/", `/ui/\evil.example`, "/functions/evil", "javascript:alert(1)", "/"} {
		rsp, _ := b.do("POST", "/ui/signin", url.Values{"token": {s.token(wire.ScopeRead)}, "next": {next}}.Encode())
		assert.Equal(t, "/ui/", rsp.Header.Get("Location"), next)
	}
}

// The cookie is the dashboard's alone: it gives no right elsewhere, functions do not get it,
// and theirs are none here.
func TestTheCookieCountsHereAlone(t *testing.T) {
	var got []string
	s := newSite(t, server.Mount{Path: "/functions/", Scope: wire.ScopeInvoke, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := server.Admit(r, "Evil", true); err != nil {
			wire.WriteError(w, err)
			return
		}
		got = append(got, r.Header.Get("Cookie"))
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "of the function", Path: "/"})
	})})
	s.deploy("Hello")
	b := s.browser(true)
	b.signIn(s.token(wire.ScopeRead))
	rsp, _ := b.get("/functions/evil")
	assert.Equal(t, http.StatusOK, rsp.StatusCode)
	assert.Equal(t, []string{""}, got)
	rsp, page := b.get("/ui/")
	assert.Equal(t, http.StatusOK, rsp.StatusCode, page)
	rsp, _ = b.get("/details")
	assert.Equal(t, http.StatusUnauthorized, rsp.StatusCode)

	other := s.browser(true)
	rsp, _ = other.get("/ui/", "Cookie", "session="+s.token(wire.ScopeRead))
	assert.Equal(t, "/ui/signin", rsp.Request.URL.Path)
}

// A page of a function, at the same origin, has the cookie sent with its requests.
func TestScriptsOfOthersGetNothing(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	for name, gateway := range map[string]bool{"without a token": false, "with one": true} {
		b := s.browser(gateway)
		if gateway {
			b.signIn(s.token(wire.ScopeDeploy))
		}
		_, page := b.get("/ui/")
		csrf := csrfOf(page)
		for _, c := range []struct{ what, method, path, form, site, dest string }{
			{"fetch of a page", "GET", "/ui/", "", "same-origin", "empty"},
			{"a frame", "GET", "/ui/", "", "same-origin", "iframe"},
			{"an image", "GET", "/ui/", "", "cross-site", "image"},
			{"a fetch from another site", "GET", "/ui/", "", "cross-site", "empty"},
			{"the stream without the text", "GET", "/ui/events?page=functions", "", "same-origin", "empty"},
			{"the stream of another site", "GET", "/ui/events?page=functions&csrf=" + csrf, "", "cross-site", "script"},
			{"a form without the text", "POST", "/ui/functions/Hello/do/stop", "a=b", "same-origin", "document"},
			{"a form with another text", "POST", "/ui/functions/Hello/do/stop", "csrf=" + strings.Repeat("A", 43), "same-origin", "document"},
			{"a form of another site", "POST", "/ui/functions/Hello/do/stop", "csrf=" + csrf, "cross-site", "document"},
			{"a form of another port", "POST", "/ui/functions/Hello/do/stop", "csrf=" + csrf, "same-site", "document"},
			{"a sign-in of another site", "POST", "/ui/signin", "token=x", "cross-site", "document"},
			{"fetch of a form", "POST", "/ui/functions/Hello/do/stop", "csrf=" + csrf, "same-origin", "empty"},
		} {
			rsp, body := b.do(c.method, c.path, c.form, "Sec-Fetch-Site", c.site, "Sec-Fetch-Dest", c.dest)
			assert.Equal(t, http.StatusForbidden, rsp.StatusCode, "%s, %s: %s", name, c.what, body)
			assert.NotContains(t, body, csrf, c.what)
		}
		rsp, _ := b.do("POST", "/ui/functions/Hello/do/stop", "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--x--\r\n", "Content-Type", "multipart/form-data; boundary=x")
		assert.Equal(t, http.StatusForbidden, rsp.StatusCode, "whatever the form's kind")
		rsp, _ = b.do("POST", "/ui/functions/Hello/do/stop", "csrf="+csrf, "Sec-Fetch-Site", "", "Origin", "http://evil.example")
		assert.Equal(t, http.StatusForbidden, rsp.StatusCode, "an old browser says its origin")
	}
	rows, err := s.api.Details(t.Context())
	require.NoError(t, err)
	assert.Len(t, rows, 1, "nothing has changed")
}

func TestWhoMayOnlyReadSeesNoButtonsAndIsRefused(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	s.deploy("Hello", func(fn *proto.FunctionJson) { fn.Timeout = "5s" })
	b := s.browser(true)
	b.signIn(s.token(wire.ScopeRead))
	pages := []string{"", "/test", "/logs", "/versions", "/settings", "/crashes", "/calls", "/schedule"}
	for _, tab := range pages {
		rsp, page := b.get("/ui/functions/Hello" + tab)
		assert.Equal(t, http.StatusOK, rsp.StatusCode, tab)
		assert.NotContains(t, page, "/do/", tab)
		assert.NotContains(t, page, "/Hello/test\" class=\"fields\"", tab)
	}
	for _, verb := range []string{"rollback", "canary", "pause", "resume", "stop", "remove", "redrive", "purge", "run", "unschedule", "reschedule"} {
		rsp, page := b.post("/ui/", "/ui/functions/Hello/do/"+verb, url.Values{"to": {"1"}, "percent": {"5"}})
		assert.Equal(t, http.StatusForbidden, rsp.StatusCode, verb)
		assert.Contains(t, page, "has the scope read", verb)
	}
	_, picture := b.get("/ui/topology")
	assert.Contains(t, picture, "<title>Hello: Deployed, v2, 1 process</title>")
	assert.NotContains(t, picture, "/ui/agents")
	rsp, page := b.post("/ui/", "/ui/functions/Hello/test", url.Values{"method": {"GET"}, "path": {"/"}})
	assert.Equal(t, http.StatusForbidden, rsp.StatusCode)
	assert.Contains(t, page, "scope invoke")

	deployer := s.browser(true)
	deployer.signIn(s.token(wire.ScopeDeploy))
	_, page = deployer.get("/ui/functions/Hello/versions")
	assert.Contains(t, page, "/do/rollback")
	rsp, page = deployer.post("/ui/functions/Hello/versions", "/ui/functions/Hello/do/rollback", url.Values{"to": {"1"}})
	assert.Equal(t, "/ui/functions/Hello/versions?done=rollback", rsp.Request.URL.RequestURI())
	assert.Contains(t, page, "Rolled back.")
	entries, err := s.record.Last(1)
	require.NoError(t, err)
	assert.Equal(t, "Rollback ok", entries[0].GetCall()+" "+entries[0].GetResult())
	assert.Contains(t, entries[0].GetWho(), "(people)", "the record names who did it")
}

// Who may see some functions alone sees those.
func TestATokenForOneFunctionShowsNoOther(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	s.deploy("Hidden")
	made, err := s.tokens.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"read", "deploy"}, Functions: []string{"Hello"}})
	require.NoError(t, err)
	b := s.browser(true)
	b.signIn(made.GetSecret())
	_, page := b.get("/ui/")
	assert.Contains(t, page, "/ui/functions/Hello")
	assert.NotContains(t, page, "Hidden")
	rsp, _ := b.get("/ui/functions/Hidden")
	assert.Equal(t, http.StatusNotFound, rsp.StatusCode)
	rsp, _ = b.post("/ui/", "/ui/functions/Hidden/do/stop", nil)
	assert.Equal(t, http.StatusForbidden, rsp.StatusCode)
}

// stream opens the event stream that a page asks for.
func (b *browser) stream(page string) *bufio.Scanner {
	b.t.Helper()
	_, body := b.get(page)
	_, live, found := strings.Cut(body, `data-live="`)
	require.True(b.t, found)
	live, _, _ = strings.Cut(live, `"`)
	live = strings.ReplaceAll(live, "&amp;", "&")
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.base+"/ui/events?"+live+"&csrf="+url.QueryEscape(csrfOf(body)), http.NoBody)
	require.NoError(b.t, err)
	for name, value := range b.headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Sec-Fetch-Dest", "empty")
	rsp, err := b.http.Do(req)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { rsp.Body.Close() })
	if rsp.StatusCode != http.StatusOK {
		data, _ := io.ReadAll(rsp.Body)
		b.t.Fatalf("%d: %s", rsp.StatusCode, data)
	}
	return wire.NewEventScanner(rsp.Body)
}

// next returns the next event that contains a text.
func next(t *testing.T, lines *bufio.Scanner, text string) string {
	t.Helper()
	for range 200 {
		_, data, err := wire.ReadEvent(lines)
		require.NoError(t, err)
		if strings.Contains(string(data), text) {
			return string(data)
		}
	}
	t.Fatalf("%s does not come", text)
	return ""
}

func TestPagesAreLive(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	b := s.browser(true)
	b.signIn(s.token(wire.ScopeDeploy))
	lines := b.stream("/ui/")
	next(t, lines, "/ui/functions/Hello")
	s.deploy("Later")
	next(t, lines, "/ui/functions/Later")

	one := b.stream("/ui/functions/Hello")
	next(t, one, "Deployed")
	_, err := s.api.Pause(t.Context(), "Hello")
	require.NoError(t, err)
	next(t, one, "Paused")
}

func TestOneCallerHasSoManyStreams(t *testing.T) {
	s := newSite(t)
	b := s.browser(true)
	b.signIn(s.token(wire.ScopeRead))
	for range 12 {
		b.stream("/ui/")
	}
	_, page := b.get("/ui/")
	rsp, _ := b.get("/ui/events?page=functions&csrf=" + csrfOf(page))
	assert.Equal(t, http.StatusTooManyRequests, rsp.StatusCode)
	other := s.browser(true)
	other.signIn(s.token(wire.ScopeRead))
	next(t, other.stream("/ui/"), "functions")
}
