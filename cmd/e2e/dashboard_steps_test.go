//go:build linux

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What people do with the dashboard, step by step, in TestDashboard. Functions are Hello,
// Broken, and Dropped once a folder was dropped.

// neverShown is the value of a secret.
const neverShown = "never-shown"

// redeploys deploys a function again, past the browser, with what is said and else as it was.
func (b *tab) redeploys(p gateway, name string, settings ...any) {
	b.t.Helper()
	fn := map[string]any{"name": name, "keep": []string{"env", "secrets", "retries", "schedule"}}
	for i := 0; i < len(settings); i += 2 {
		fn[settings[i].(string)] = settings[i+1]
	}
	body, err := json.Marshal([]any{fn})
	require.NoError(b.t, err)
	row := rows(b.t, "POST", "http://"+p.http+"/deploy?wait=true", string(body))[0]
	require.Equal(b.t, "Deployed", row.Status, row.Error)
}

func (b *tab) signsIn(token string) {
	b.open("/ui/functions/Hello")
	assert.Equal(b.t, "/ui/signin", eval[string](b, `location.pathname`))
	b.judge("signin")
	b.do(chromedp.SendKeys("input[name=token]", "ryo_wrong"), chromedp.Click("button.main"))
	b.text("[role=alert]:not([hidden])", "token")
	b.do(chromedp.SendKeys("input[name=token]", token), chromedp.Click("button.main"))
	b.text("h1", "Hello")
	assert.Empty(b.t, eval[string](b, `document.cookie`), "scripts do not see it")
	got, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
	require.NoError(b.t, err)
	require.Len(b.t, got.Cookies, 1)
	assert.True(b.t, got.Cookies[0].Secure && got.Cookies[0].HTTPOnly, "it is sent over TLS alone")
}

// drop drops a file or folder on the field for files.
func (b *tab) drop(path string) {
	b.t.Helper()
	at := eval[[]float64](b, `(() => { const r = document.querySelector("input.drop").getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()`)
	for _, kind := range []input.DispatchDragEventType{"dragEnter", "dragOver", "drop"} {
		_, err := chromedp.Call(b.ctx, input.DispatchDragEvent, input.DispatchDragEventParams{
			Type: kind, X: at[0], Y: at[1], Data: &input.DragData{Items: []*input.DragDataItem{}, Files: []string{path}, DragOperationsMask: 1},
		})
		require.NoError(b.t, err)
	}
}

func (b *tab) dropsAFolder() {
	dir := filepath.Join(b.t.TempDir(), "dropped")
	for name, text := range map[string]string{
		"dropped.go": greets("Dropped", "from a drop, "+strings.Repeat("é", 3)), "page.txt": "page", "dropped_test.go": "package fn\n", ".git/config": "x", "prod.env": neverShown,
		".ryoignore": "*.tmp\ndata/\n", "x.tmp": "x", "data/x.csv": "x", "node_modules/m/index.js": "x", "deploy.json": "{}",
	} {
		require.NoError(b.t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(b.t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	b.open("/ui/deploy")
	for name, give := range map[string]func(){
		"chosen":  func() { b.do(chromedp.SetUploadFiles("#chosen", []string{dir})) },
		"dropped": func() { b.drop(dir) },
	} {
		b.do(chromedp.SetJavascriptAttribute("#taken", "textContent", ""))
		give()
		b.text("#taken", "dropped: 2 files, ")
		b.text("#taken", "Left out: .git/, .ryoignore, data/, deploy.json, dropped_test.go, node_modules/, prod.env, x.tmp.")
		assert.Equal(b.t, "dropped.zip", eval[string](b, `document.querySelector("input.drop").files[0].name`), name)
	}
	b.judge("deploy-folder")
	b.do(chromedp.Click("button.main"))
	b.text("h1", "Dropped")
	b.text("#head", "Deployed")
	b.open("/ui/functions/Dropped/source?file=page.txt")
	b.text(".files", "dropped.go")
	b.text("pre.code", "page")
	assert.NotContains(b.t, eval[string](b, `document.querySelector(".files").textContent`), "test")
}

func (b *tab) callsAndSaves() {
	b.open("/ui/functions/Dropped/test")
	b.fills("input[name=path]", "/x?asked")
	b.do(chromedp.SendKeys("#saved input", "asks"), chromedp.Click("#saved .filter button"))
	b.text("#saved [role=status]", "asks is saved.")
	b.do(chromedp.Click("button.main"))
	b.text(".answer pre", "from a drop, ééé")
	b.text(".answer .log", "printed by Dropped, asked")
	b.judge("answer")
	b.open("/ui/functions/Dropped/test")
	b.do(chromedp.Click("#saved li button"))
	assert.Equal(b.t, "/x?asked", eval[string](b, `document.querySelector("input[name=path]").value`))
	b.fills("textarea[name=body]", strings.Repeat("x", 40<<10))
	b.do(chromedp.Click("#saved .filter button"))
	b.text("#saved [role=status]", "too large")
	b.fills("textarea[name=body]", "")
	for i := range 20 {
		b.fills("#saved input", fmt.Sprint("request ", i))
		b.do(chromedp.Click("#saved .filter button"))
	}
	b.text("#saved [role=status]", "20 are saved already")
	assert.Equal(b.t, 20, eval[int](b, `document.querySelectorAll("#saved li").length`))
	b.picture("saved")
	b.do(chromedp.Click("#saved li button:last-child"))
	b.text("#saved [role=status]", "asks is removed.")
	b.open("/ui/functions/Hello/test")
	assert.Equal(b.t, 0, eval[int](b, `document.querySelectorAll("#saved li").length`), "they are the function's")
}

func (b *tab) readsTheLog(p gateway) {
	b.open("/ui/functions/Dropped/logs")
	status, _ := fetch(b.t, "GET", "http://"+p.http+"/functions/dropped?later", "")
	require.Equal(b.t, 200, status)
	b.text("#log", "printed by Dropped, later")
}

// fills puts a text into a field.
func (b *tab) fills(selector, text string) {
	b.t.Helper()
	quoted, err := json.Marshal(text)
	require.NoError(b.t, err)
	eval[bool](b, fmt.Sprintf(`(() => { const field = document.querySelector(%q); field.value = %s; return field.dispatchEvent(new Event("input", {bubbles: true})) })()`, selector, quoted))
}

func (b *tab) edits(p gateway) {
	b.open("/ui/functions/Dropped/source")
	b.do(chromedp.Click("main a.button"))
	b.text("label[for=text]", "dropped.go of v1")
	b.do(chromedp.Focus("#text"), chromedp.KeyEvent(kb.Tab))
	assert.NotEqual(b.t, "text", eval[string](b, `document.activeElement.id`), "the Tab key leads out")
	b.do(chromedp.Click("#tabs input"), chromedp.Focus("#text"), chromedp.KeyEvent(kb.Tab))
	b.shows(`document.activeElement.id === "text" && document.activeElement.value.includes("\t\t") `, "or indents, for who wants that")
	b.do(chromedp.KeyEvent(kb.Escape), chromedp.KeyEvent(kb.Tab))
	assert.NotEqual(b.t, "text", eval[string](b, `document.activeElement.id`), "Escape ends that")

	good := greets("Dropped", "edited")
	b.fills("#text", strings.Replace(good, "\tfmt.Fprint(", "\tfmt.Fprit(", 1))
	line := strings.Count(good[:strings.Index(good, "\tfmt.Fprint(")], "\n") + 1
	b.do(chromedp.Focus("#text"), chromedp.KeyEvent("s", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	b.text(".problems", fmt.Sprintf("Line %d: undefined: fmt.Fprit", line))
	b.text(".gutter .bad", fmt.Sprint(line))
	b.do(chromedp.Click(".problems a"))
	assert.Contains(b.t, eval[string](b, `(() => { const t = document.getElementById("text"); return t.value.slice(t.selectionStart, t.selectionEnd) })()`), "fmt.Fprit(")
	b.judge("edit-problem")
	b.fills("#text", good)
	b.do(chromedp.Click("button.main"))
	b.text(".note.good", "Deployed.")
	answers(b.t, "edited", "http://"+p.http+"/functions/dropped")

	b.redeploys(p, "Dropped", "dir", folder(b.t, tree{"dropped.go": greets("Dropped", "theirs"), "page.txt": "page"}), "note", "meanwhile")
	b.fills("#text", strings.Replace(good, "edited", "mine", 1))
	b.do(chromedp.Click("button.main"))
	b.text(".note.warn", "v4 serves by now")
	b.text("pre.code", "theirs")
	answers(b.t, "theirs", "http://"+p.http+"/functions/dropped")
	b.judge("edit-conflict")
	b.do(chromedp.Click(".note.warn a"))
	b.text("label[for=text]", "of v4")
	assert.Contains(b.t, eval[string](b, `document.getElementById("text").value`), "theirs")
}

func (b *tab) rollsBack(p gateway) {
	b.open("/ui/functions/Hello/versions")
	b.judge("versions")
	b.do(chromedp.Click("summary"), chromedp.Click("td details a"))
	b.text("pre.code .ins", "two")
	b.text("pre.code .del", "one")
	assert.NotContains(b.t, eval[string](b, `document.body.textContent`), neverShown)
	b.judge("diff")
	b.open("/ui/functions/Hello/versions")
	b.do(chromedp.Click("form[action$=rollback] button"))
	b.text(".note.good", "Rolled back.")
	b.text("tr.serves", "v1")
	answers(b.t, "one", "http://"+p.http+"/functions/hello")
}

func (b *tab) shiftsACanary(p gateway) {
	dir := source(b.t, greets("Hello", "one"))
	b.redeploys(p, "Hello", "dir", dir, "env", map[string]string{"COLOUR": "red"}, "canary", 20)
	b.open("/ui/functions/Hello/versions")
	b.text("section.card", "it gets 20 %")
	b.do(chromedp.Focus("#slider"), chromedp.KeyEvent(kb.ArrowRight))
	assert.Equal(b.t, "21", eval[string](b, `document.getElementById("percent").value`), "the slider by its keys")
	b.fills("#percent", "30")
	assert.Equal(b.t, "30", eval[string](b, `document.getElementById("slider").value`))
	b.judge("canary")
	b.do(chromedp.Click(".slider button"))
	b.text("section.card", "it gets 30 %")
	b.do(chromedp.Click("section.card form:nth-of-type(2) button"))
	b.text(".note.good", "The canary serves all calls.")
	b.text("tr.serves", "v3")
	b.redeploys(p, "Hello", "dir", dir, "env", map[string]string{"COLOUR": "green"}, "canary", 20)
	b.open("/ui/functions/Hello/versions")
	b.do(chromedp.Click("section.card .danger"))
	b.text(".note.good", "The canary is dropped.")
	b.text("tr.serves", "v3")
}

func (b *tab) pausesAndResumes(p gateway) {
	b.open("/ui/functions/Hello")
	b.do(chromedp.Click("form[action$=pause] button"))
	b.text(".note.good", "Paused")
	status, _ := fetch(b.t, "GET", "http://"+p.http+"/functions/hello", "")
	assert.Equal(b.t, 503, status)
	b.text("#head", "Paused")
	b.do(chromedp.Click("form[action$=resume] button"))
	b.text(".note.good", "Resumed.")
	comesToAnswer(b.t, "one", "http://"+p.http+"/functions/hello")
}

func (b *tab) looksAfterDeadCalls(p gateway) {
	id := acceptLater(b.t, "http://"+p.http+"/async/hello/fail", "")
	dead := func() {
		eventually(b.t, func() bool { return seeLater(b.t, p, id, "").State == "dead" }, "the call is dead")
	}
	dead()
	b.open("/ui/functions/Hello/calls")
	b.text("tbody", "dead")
	b.judge("dead")
	b.do(chromedp.Click("form[action$=redrive] button"))
	b.text(".note.good", "Dead calls are back in the queue.")
	dead()
	b.open("/ui/functions/Hello/calls")
	b.do(chromedp.Click("form[action$=purge] button"))
	b.text(".note.good", "Dead calls are removed.")
	b.text("tbody", "There is none.")
}

func (b *tab) looksAfterASchedule() {
	b.open("/ui/functions/Hello/schedule")
	for _, step := range []struct{ button, done string }{{"run", "A run has begun."}, {"unschedule", "The schedule is paused."}, {"reschedule", "The schedule goes on."}} {
		b.do(chromedp.Click("form[action$=" + step.button + "] button"))
		b.text(".note.good", step.done)
	}
	b.text("tbody", "by hand")
}

// presses clicks a button of a part that is live: it may be replaced by its like between the
// look and the click.
func (b *tab) presses(selector string) {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return chromedp.Do(b.ctx, chromedp.Click(selector)) == nil }, time.Minute, 20*time.Millisecond, selector)
}

func (b *tab) drainsAndLetsJoin() {
	b.open("/ui/agents")
	b.presses("form[action$=drain] button")
	b.text(".note.good", "The agent drains")
	b.text("#agents", "Draining")
	b.open("/ui/topology")
	b.text("svg.wide", "Draining")
	b.judge("topology-draining")
	b.open("/ui/agents")
	b.presses("form[action$=resume] button")
	b.text(".note.good", "The agent gets functions again.")
	b.text("#agents", "Connected")
	b.do(chromedp.Click("form[action$=join] button"))
	b.text("section.card pre", "agent -join ")
	b.judge("join")
	b.open("/ui/topology")
	eval[bool](b, `document.querySelector('svg.wide a[href="/ui/functions/Broken"]').dispatchEvent(new MouseEvent("click", {bubbles: true}))`)
	b.text("h1", "Broken")
}

// everyPage looks at the pages that no step has judged, as they are when nothing is done.
func (b *tab) everyPage() {
	b.open("/ui/")
	b.shows(`performance.getEntriesByName("first-contentful-paint").length > 0`, "it is painted")
	b.t.Logf("first paint after %.0f ms", eval[float64](b, `performance.getEntriesByName("first-contentful-paint")[0].startTime`))
	for _, at := range []string{
		"/ui/", "/ui/functions/Hello", "/ui/functions/Broken", "/ui/functions/Dropped/logs", "/ui/functions/Hello/source", "/ui/functions/Hello/settings",
		"/ui/functions/Hello/crashes", "/ui/functions/Hello/schedule", "/ui/functions/Broken/edit", "/ui/audit", "/ui/docs/", "/ui/docs/settings", "/ui/api", "/ui/nothing",
	} {
		b.open(at)
		assert.NotContains(b.t, eval[string](b, `document.body.textContent`), neverShown, "no value of a secret")
		b.judge(strings.ReplaceAll(cmp.Or(strings.Trim(strings.TrimPrefix(at, "/ui"), "/"), "functions"), "/", "-"))
	}
}
