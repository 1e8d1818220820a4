package dev

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pages is a function whose answers have the headers that the query says. Below /slow an
// answer ends when /go is called; below /cut it breaks off.
const pages = `package pages

import (
	"io"
	"net/http"
	"strconv"
)

var proceed = make(chan struct{})

func Pages(w http.ResponseWriter, r *http.Request) {
	status := 200
	for name, values := range r.URL.Query() {
		if name == "status" {
			status, _ = strconv.Atoi(values[0])
			continue
		}
		w.Header()[name] = values
	}
	body := "<!doctype html><p>" + r.Header.Get("Accept-Encoding") + r.Header.Get("If-None-Match") + "</p>"
	switch r.URL.Path {
	case "/plain":
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	case "/slow":
		io.WriteString(w, "<p>first")
		http.NewResponseController(w).Flush()
		<-proceed
	case "/go":
		close(proceed)
	case "/cut":
		io.WriteString(w, "<p>first")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(status)
	io.WriteString(w, body)
}
`

// navigation are headers of a browser that shows a page.
var navigation = map[string]string{"Sec-Fetch-Dest": "document", "Accept": "text/html,*/*", "Accept-Encoding": "gzip", "If-None-Match": `"1"`}

// visit makes a request as a browser does.
func (b *bench) visit(method, url string, headers map[string]string) *http.Response {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	b.t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	require.NoError(b.t, err)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	res, err := transport.RoundTrip(req)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

var marked = regexp.MustCompile(`\n<script src="(/-/dev/reload\.js)" data-state="([^"]+)"( data-own)?( nonce="[^"]+")? async></script>\n$`)

func TestPagesGetAScriptAndNothingElseDoes(t *testing.T) {
	b := files{"pages.go": pages}.serve(t, "", nil)
	text := func(res *http.Response) string {
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return string(body)
	}
	const htmlType = "Content-Type=text/html"
	for _, at := range []string{"pages?" + htmlType, "pages/plain?Content-Type=text/html%3B+charset%3Dutf-8", "pages?status=404&" + htmlType} {
		res := b.visit(http.MethodGet, b.base+at+"&Etag=%221%22&Cache-Control=max-age%3D60", navigation)
		body := text(res)
		assert.Regexp(t, marked, body, at)
		assert.Equal(t, "<!doctype html><p>identity</p>", marked.ReplaceAllString(body, ""), "it is asked for as a whole")
		assert.Empty(t, res.Header.Get("Etag"), at)
		assert.Equal(t, []string{"no-store"}, res.Header["Cache-Control"], at)
	}
	old := map[string]string{"Accept": "text/html"}
	assert.Regexp(t, marked, text(b.visit(http.MethodGet, b.base+"pages?"+htmlType, old)), "a browser that says less")
	const policy = "&Content-Security-Policy=script-src+'nonce-abc'+'strict-dynamic'"
	assert.Contains(t, text(b.visit(http.MethodGet, b.base+"pages?"+htmlType+policy, navigation)), ` nonce="abc" async`)

	for name, c := range map[string]struct {
		method, at string
		headers    map[string]string
	}{
		"a script's request": {"GET", "pages?" + htmlType, map[string]string{"Sec-Fetch-Dest": "empty", "Accept": "text/html"}},
		"a frame":            {"GET", "pages?" + htmlType, map[string]string{"Sec-Fetch-Dest": "iframe", "Accept": "text/html"}},
		"curl":               {"GET", "pages?" + htmlType, map[string]string{"Accept": "*/*"}},
		"a form":             {"POST", "pages?" + htmlType, navigation},
		"text":               {"GET", "pages?Content-Type=text/plain", navigation},
		"json":               {"GET", "pages?Content-Type=application/json", navigation},
		"no type":            {"GET", "pages?Content-Type=", navigation},
		"compressed":         {"GET", "pages?Content-Encoding=gzip&" + htmlType, navigation},
		"a part":             {"GET", "pages?status=206&Content-Range=bytes+0-1/30&" + htmlType, navigation},
		"a redirect":         {"GET", "pages?status=302&Location=/&" + htmlType, navigation},
		"a download":         {"GET", "pages?Content-Disposition=attachment%3Bfilename%3Dx.html&" + htmlType, navigation},
		"other characters":   {"GET", "pages?Content-Type=text/html%3Bcharset%3DUTF-16LE", navigation},
		"a strict policy":    {"GET", "pages?Content-Security-Policy=default-src+'none'&" + htmlType, navigation},
	} {
		res := b.visit(c.method, b.base+c.at+"&Etag=%221%22", c.headers)
		body := text(res)
		assert.True(t, strings.HasPrefix(body, "<!doctype html><p>") && strings.HasSuffix(body, "</p>"), "%s: %s", name, body)
		assert.Equal(t, `"1"`, res.Header.Get("Etag"), name)
	}
	b.says("pages with this Content-Security-Policy do not reload by themselves")

	res := b.visit(http.MethodGet, strings.TrimSuffix(b.base, "functions/")+"-/dev/reload.js", nil)
	assert.Equal(t, "text/javascript; charset=utf-8", res.Header.Get("Content-Type"))
	assert.Equal(t, script, text(res))

	// A page that comes in pieces does so still.
	res = b.visit(http.MethodGet, b.base+"pages/slow?"+htmlType, navigation)
	first := make([]byte, len("<p>first"))
	_, err := io.ReadFull(res.Body, first)
	require.NoError(t, err)
	assert.Equal(t, "<p>first", string(first))
	text(b.visit(http.MethodGet, b.base+"pages/go", nil))
	assert.Regexp(t, marked, text(res))
	res = b.visit(http.MethodGet, b.base+"pages/cut?"+htmlType, navigation)
	body, err := io.ReadAll(res.Body)
	require.Error(t, err)
	assert.Equal(t, "<p>first", string(body), "a page that is cut off is not completed")
}

func TestOpenPagesAreToldOfSaves(t *testing.T) {
	b := files{"hello.go": hello(`"one"`)}.serve(t, "", nil)
	b.answers("hello", "one")
	res := b.visit(http.MethodGet, strings.TrimSuffix(b.base, "functions/")+"-/dev/states", nil)
	assert.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
	events := bufio.NewScanner(res.Body)
	type event struct{ State, Trouble string }
	next := func() (e event) {
		t.Helper()
		for events.Scan() {
			if data, ok := strings.CutPrefix(events.Text(), "data: "); ok {
				require.NoError(t, json.Unmarshal([]byte(data), &e))
				return e
			}
		}
		require.Fail(t, "the stream has ended", events.Err())
		return e
	}
	first := next()
	assert.NotEmpty(t, first.State)
	assert.Empty(t, first.Trouble)

	b.save("hello.go", hello("missing"))
	broken := next()
	_, said := b.get("hello")
	assert.Contains(t, said, "undefined: missing")
	assert.Equal(t, said, broken.Trouble, "the page says what callers get")
	assert.NotEqual(t, first.State, broken.State)
	page, err := io.ReadAll(b.visit(http.MethodGet, b.base+"hello", navigation).Body)
	require.NoError(t, err)
	found := marked.FindStringSubmatch(string(page))
	require.NotNil(t, found, string(page))
	assert.Equal(t, []string{broken.State, " data-own"}, found[2:4], "dev's own page changes with each state")

	b.save("hello.go", hello(`"two"`))
	mended := next()
	assert.Empty(t, mended.Trouble)
	assert.NotContains(t, []string{first.State, broken.State}, mended.State)
	require.NoError(t, b.stop(), "no page keeps dev from ending")
}

func TestPagesStayAsTheyAreIfWanted(t *testing.T) {
	b := files{"pages.go": pages}.serveWith(t, "", nil, func(cfg *Config) { cfg.NoReload = true })
	res := b.visit(http.MethodGet, b.base+"pages?Content-Type=text/html", navigation)
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, `<!doctype html><p>gzip"1"</p>`, string(body))
	res = b.visit(http.MethodGet, strings.TrimSuffix(b.base, "functions/")+"-/dev/states", nil)
	assert.Equal(t, http.StatusNotFound, res.StatusCode)
}

func TestPolicies(t *testing.T) {
	for header, want := range map[string]string{
		"":                   "yes",
		"img-src 'none'":     "yes",
		"default-src 'self'": "yes",
		"default-src *":      "yes",
		"DEFAULT-SRC 'SELF'": "yes",
		"script-src 'self'":  "yes",
		"default-src 'none'; script-src 'self'; connect-src 'self'": "yes",
		"default-src 'none'; script-src 'self'":                     "no",
		"default-src 'none'":                                        "no",
		"script-src example.com":                                    "no",
		"script-src 'self'; script-src 'none'":                      "yes",
		"script-src-elem 'none'; script-src 'self'":                 "no",
		"script-src 'self' 'strict-dynamic'":                        "no",
		"script-src 'nonce-r4nd' 'strict-dynamic'":                  "r4nd",
		"script-src 'self', script-src 'nonce-a'":                   "a",
		"script-src 'nonce-a', script-src 'nonce-b'":                "no",
		"connect-src 'none'":                                        "no",
		"sandbox":                                                   "no",
		"sandbox allow-scripts allow-same-origin":                   "yes",
	} {
		nonce, ok := admitted([]string{header})
		got := map[bool]string{true: "yes", false: "no"}[ok]
		if nonce != "" {
			got = nonce
		}
		assert.Equal(t, want, got, header)
	}
}

func TestEachCallIsTold(t *testing.T) {
	b := files{
		"hello.go": hello(`"one"`),
		"cut.go":   strings.NewReplacer("func Hello", "func Cut", "{ fmt", "{ w.WriteHeader(202); fmt.Fprint(w, \"x\"); w.(http.Flusher).Flush(); panic(http.ErrAbortHandler); fmt").Replace(hello(`"one"`)),
	}.serve(t, "", nil)
	b.answers("hello/a%2Fb?c", "one")
	_, _ = b.get("nothing")
	res := b.visit(http.MethodPost, b.base+"cut", nil)
	_, err := io.ReadAll(res.Body)
	require.Error(t, err)
	b.save("hello.go", hello("missing"))
	b.says("undefined: missing")
	_, _ = b.get("hello")
	require.NoError(t, b.stop())
	type told struct {
		method, target string
		status         int
		cutOff         bool
	}
	var got []told
	for _, c := range b.calls {
		got = append(got, told{c.Method, c.Target, c.Status, c.CutOff})
		assert.Positive(t, c.Took)
		assert.False(t, c.Began.IsZero())
	}
	assert.Equal(t, []told{
		{"GET", "/functions/hello/a%2Fb?c", 200, false}, {"GET", "/functions/nothing", 404, false},
		{"POST", "/functions/cut", 202, true}, {"GET", "/functions/hello", 500, false},
	}, got)
}
