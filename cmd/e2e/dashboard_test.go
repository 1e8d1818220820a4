//go:build linux

package e2e

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// browserNeeded is the variable that makes a missing browser a failure: .ci/run sets it.
const browserNeeded = "BROWSER_TESTS"

// screenshots is the variable that names a folder for pictures of pages.
const screenshots = "SCREENSHOTS"

// axeSum is the SHA-256 of axe-core, as testdata/axe-core/README.md says.
const axeSum = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"

func axe(t *testing.T) string {
	t.Helper()
	f, err := os.Open("testdata/axe-core/axe.min.js.gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	data, err := io.ReadAll(z)
	require.NoError(t, err)
	sum := sha256.Sum256(data)
	require.Equal(t, axeSum, hex.EncodeToString(sum[:]))
	return string(data)
}

// tab is a tab of a browser that looks at a dashboard.
type tab struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // the tab itself
	base string
	axe  string

	mu      sync.Mutex // guards the fields below
	foreign []string   // what was asked of elsewhere
	blocked []string   // what the policy of a page kept from being loaded or run
	dialogs int        // that were accepted
}

// openTab starts a browser.
func openTab(t *testing.T, base string) *tab {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil && path == "" {
			path = found
		}
	}
	if path == "" {
		require.Empty(t, os.Getenv(browserNeeded), "there is no browser: apt-get install chromium")
		t.Skip("no browser is installed: apt-get install chromium")
	}
	temp, err := os.MkdirTemp("", "b") //nolint:usetesting // a short name: the browser has a socket there
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(temp) })
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()), chromedp.Env("TMPDIR="+temp),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("ignore-certificate-errors", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, closeTab := chromedp.NewContext(ctx)
	t.Cleanup(closeTab)
	b := &tab{t: t, ctx: ctx, base: base, axe: axe(t)}
	require.NoError(t, chromedp.Listen(ctx, b.hear))
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	require.NoError(t, err)
	return b
}

func (b *tab) hear(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		if at := ev.Request.URL; !strings.HasPrefix(at, b.base) && !strings.HasPrefix(at, "data:") && at != "about:blank" {
			b.foreign = append(b.foreign, at)
		}
	case *log.EventEntryAdded:
		if strings.Contains(ev.Entry.Text, "Content Security Policy") {
			b.blocked = append(b.blocked, ev.Entry.Text)
		}
	case *page.EventJavascriptDialogOpening:
		b.dialogs++
		go func() {
			_, _ = chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: true})
		}()
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, steps...))
}

// open opens a page and waits until it is live, if it is to be.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.base+path), chromedp.WaitReady("footer"))
	b.shows(`!document.body.dataset.live || document.getElementById("live").textContent === "live"`, path+" is live")
}

// eval returns what an expression is in the page.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, expression)
	return v
}

// shows waits until an expression is true. While a page is being replaced there is none.
func (b *tab) shows(expression, what string) {
	b.t.Helper()
	// Less patient than for machines: it has been built and started.
	is := assert.Eventually(b.t, func() bool {
		is, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		return err == nil && is
	}, time.Minute, 50*time.Millisecond, what)
	if !is {
		b.picture("failed")
		require.FailNow(b.t, "the page says", "%s\n%s", eval[string](b, `location.href`), eval[string](b, `document.body.innerText`))
	}
}

// text waits until an element has a text in it.
func (b *tab) text(selector, text string) {
	b.t.Helper()
	b.shows(fmt.Sprintf(`(document.querySelector(%q)?.textContent ?? "").includes(%q)`, selector, text), selector+" says "+text)
}

// theme makes the page light or dark.
func (b *tab) theme(name string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
	require.NoError(b.t, err)
}

// judge looks for what keeps people from using the page, in both themes, and at 390 px for
// what does not fit.
func (b *tab) judge(name string) {
	b.t.Helper()
	b.picture(name + "-light-1280")
	eval[bool](b, b.axe+";true")
	// The theme changes colours alone.
	for _, run := range []struct{ theme, options string }{{"light", `{resultTypes: ["violations"]}`}, {"dark", `{resultTypes: ["violations"], runOnly: ["color-contrast"]}`}} {
		b.theme(run.theme)
		found := eval[string](b, `axe.run(document, `+run.options+`).then((r) => JSON.stringify(r.violations.map((v) => ({id: v.id, help: v.help, nodes: v.nodes.map((n) => n.html + " " + n.failureSummary)}))))`)
		var violations []struct {
			ID, Help string
			Nodes    []string
		}
		require.NoError(b.t, json.Unmarshal([]byte(found), &violations))
		for _, v := range violations {
			assert.Fail(b.t, v.Help, "%s, %s: %s\n%s", name, run.theme, v.ID, strings.Join(v.Nodes, "\n"))
		}
	}
	b.do(chromedp.EmulateViewport(390, 844))
	b.picture(name + "-dark-390")
	assert.LessOrEqual(b.t, eval[int](b, `document.documentElement.scrollWidth`), 390, "%s is wider than a telephone", name)
	b.do(chromedp.EmulateViewport(1280, 800))
	b.theme("light")
}

// picture writes a picture of the page, if somebody wants it.
func (b *tab) picture(name string) {
	b.t.Helper()
	folder := os.Getenv(screenshots)
	if folder == "" {
		return
	}
	data, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	require.NoError(b.t, os.MkdirAll(folder, 0o755))
	require.NoError(b.t, os.WriteFile(filepath.Join(folder, name+".png"), data, 0o644))
}

// greets is a function that prints, with the id of the call, and answers with a text; at
// /fail it fails.
func greets(name, text string) string {
	return fmt.Sprintf(`package fn

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func %[1]s(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/fail" {
		http.Error(w, "failed", http.StatusInternalServerError)
		return
	}
	json.NewEncoder(os.Stdout).Encode(map[string]string{"message": "printed by %[1]s, " + r.URL.RawQuery, "execution_id": r.Header.Get("Function-Execution-Id")})
	fmt.Fprint(w, %[2]q)
}
`, name, text)
}

// The dashboard in a real browser, which comes through a gateway, over TLS: without a token it
// gets nothing. All is one session, since a browser and builds take long.
func TestDashboard(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes long: not with -short")
	}
	t.Parallel()
	cert := testkit.NewAuthority(t).Issue(t, "localhost")
	pems := folder(t, tree{"cert.pem": string(cert.Cert), "key.pem": string(cert.Key)})
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr, "-tls-cert", filepath.Join(pems, "cert.pem"), "-tls-key", filepath.Join(pems, "key.pem"))
	backend, err := url.Parse("https://" + p.http)
	require.NoError(t, err)
	through := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // as many gateways do
	t.Cleanup(through.CloseIdleConnections)
	gateway := httptest.NewTLSServer(&httputil.ReverseProxy{Transport: through, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(backend)
		r.Out.Host = r.In.Host
		r.Out.Header.Set("Via", "1.1 gateway")
	}})
	t.Cleanup(gateway.Close)
	b := openTab(t, gateway.URL)
	b.do(chromedp.EmulateViewport(1280, 800))
	b.theme("light")

	body, err := json.Marshal([]map[string]any{{
		"name": "Hello", "dir": source(t, greets("Hello", "one")), "env": map[string]string{"COLOUR": "blue"}, "secrets": map[string]string{"KEY": neverShown},
		"retries": 0, "schedule": "@every 10h",
	}})
	require.NoError(t, err)
	require.Equal(t, "Deployed", rows(t, "POST", "http://"+p.http+"/deploy?wait=true", string(body))[0].Status)
	b.redeploys(p, "Hello", "dir", source(t, greets("Hello", "two")))
	deploy(t, p.http, "Broken", source(t, "package fn\n\nimport \"net/http\"\n\nfunc Broken(w http.ResponseWriter, r *http.Request) { undefined() }\n"))
	made := proxyCli(t, "", "-proxy", p.rpc, "token", "create", "-name", "people", "-scope", "read,invoke,deploy,admin")
	require.Zero(t, made.code, made.stderr)

	b.signsIn(strings.TrimSpace(made.stdout))
	b.dropsAFolder()
	b.callsAndSaves()
	b.readsTheLog(p)
	b.edits(p)
	b.rollsBack(p)
	b.shiftsACanary(p)
	b.pausesAndResumes(p)
	b.looksAfterDeadCalls(p)
	b.looksAfterASchedule()
	b.drainsAndLetsJoin()
	b.everyPage()
	b.open("/ui/")
	b.do(chromedp.Click(".who button"))
	b.text("h1", "Sign in")

	b.mu.Lock()
	defer b.mu.Unlock()
	assert.Empty(t, b.foreign, "nothing is loaded from elsewhere")
	assert.Empty(t, b.blocked, "nothing is kept back by the pages' policy")
	assert.Equal(t, 4, b.dialogs, "a rollback, a pause, a purge and a drain were asked for twice")
}

// A page of a function at the same origin has no way to what the dashboard shows.
func TestPagesOfFunctionsDoNotReachTheDashboard(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes long: not with -short")
	}
	t.Parallel()
	cert := testkit.NewAuthority(t).Issue(t, "localhost")
	pems := folder(t, tree{"cert.pem": string(cert.Cert), "key.pem": string(cert.Key)})
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr, "-tls-cert", filepath.Join(pems, "cert.pem"), "-tls-key", filepath.Join(pems, "key.pem"))
	mustDeploy(t, p.http, "Evil", source(t, evil))
	b := openTab(t, "https://"+p.http)
	for _, coop := range []string{"", "same-origin", "noopener-allow-popups"} {
		b.open("/functions/evil?coop=" + coop)
		assert.Equal(t, 403, eval[int](b, `fetch("/ui/").then((r) => r.status)`), "scripts get no page")
		assert.Equal(t, 403, eval[int](b, `fetch("/details").then((r) => r.status)`), "nor anything of the proxy")
		assert.Equal(t, 403, eval[int](b, `fetch("/stop", {method: "POST", body: '{"name": "Evil"}'}).then((r) => r.status)`))
		assert.Equal(t, 200, eval[int](b, `fetch("/functions/evil").then((r) => r.status)`))
		assert.Equal(t, "no frame", eval[string](b, `new Promise((done) => { const f = document.querySelector("iframe"); f.onload = () => { let text = ""; try { text = f.contentDocument?.querySelector("h1")?.textContent ?? "" } catch {} done(text === "Functions" ? "a frame" : "no frame") }; f.src = "/ui/" })`))
		assert.Equal(t, "no window", eval[string](b, `new Promise((done) => { const w = open("/ui/"); setTimeout(() => { let text = ""; try { text = w?.document.querySelector("h1")?.textContent ?? "" } catch {} done(text ? "a window: " + text : "no window") }, 700) })`), "with the policy %q of its own", coop)
	}
	worker := func(scope string) string {
		return eval[string](b, `navigator.serviceWorker.register("/functions/evil/worker.js", {scope: "`+scope+`"}).then((r) => r.unregister(), (e) => e.name).then(String)`)
	}
	assert.Equal(t, "true", worker("/functions/evil/"))
	assert.Equal(t, "SecurityError", worker("/"), "it comes between a browser and nothing else")

	// By the connection of HTTP/2 that the page came over.
	assert.Equal(t, "2 ryo", eval[string](b, `new Promise((done) => { const s = new WebSocket("wss://" + location.host + "/functions/evil/socket"); s.onmessage = (e) => done(e.data); s.onerror = () => done("no websocket") })`))
}

// evil has a page, a worker that would rule over all of its host, and a websocket that says how
// it was asked for.
const evil = `package fn

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
)

func Evil(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/socket":
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", base64.StdEncoding.EncodeToString(sum[:]))
		via := r.Header.Get("Via")
		fmt.Fprintf(conn, "\x81%c%s", len(via), via)
		conn.Read(make([]byte, 1))
	case "/worker.js":
		w.Header().Set("Content-Type", "text/javascript")
		w.Header().Set("Service-Worker-Allowed", "/")
	default:
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cross-Origin-Opener-Policy", r.URL.Query().Get("coop"))
		w.Write([]byte("<h1>Evil</h1><iframe></iframe><footer></footer>"))
	}
}
`
