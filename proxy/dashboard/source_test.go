package dashboard_test

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// twoVersions deploys Hello twice, with another answer, another file and another timeout.
func (s *site) twoVersions() {
	s.t.Helper()
	s.deploy("Hello", func(fn *proto.FunctionJson) { fn.Secrets = map[string]string{"KEY": "never-shown"} })
	s.deploy("Hello", func(fn *proto.FunctionJson) {
		fn.Dir, fn.Timeout, fn.Keep = testkit.Source(s.t, testkit.Says("Hello", "I am another")), "7s", []string{"secrets"}
		require.NoError(s.t, os.WriteFile(fn.GetDir()+"/more.go", []byte("package fn\n\nconst more = \"<b>\"\n"), 0o600))
	})
}

func TestTheSourceOfVersionsAndWhatTheyChange(t *testing.T) {
	s := newSite(t)
	s.twoVersions()
	b := s.browser(true)
	b.signIn(s.token(wire.ScopeDeploy))
	_, page := b.get("/ui/functions/Hello/versions")
	assert.Contains(t, page, `href="/ui/functions/Hello/source?version=2&amp;against=1"`)
	_, page = b.get("/ui/functions/Hello/source?version=1")
	assert.Contains(t, page, "I am Hello")
	assert.NotContains(t, page, "more.go")
	_, page = b.get("/ui/functions/Hello/source?file=more.go")
	assert.Contains(t, page, `const more = &#34;&lt;b&gt;&#34;`, "of the one that serves, as text")
	assert.Contains(t, page, `href="/ui/functions/Hello/edit?file=more.go"`)

	_, page = b.get("/ui/functions/Hello/source?version=2&against=1")
	assert.Contains(t, page, "<dt>timeout</dt>")
	assert.Contains(t, page, "2 files")
	assert.Contains(t, page, `more.go</b> added <ins>+3</ins>`)
	assert.Regexp(t, `class="del" data-n="\d+">-.*I am Hello`, page)
	assert.Regexp(t, `class="ins" data-n="\d+">&#43;.*I am another`, page)
	assert.NotContains(t, page, "never-shown")

	for _, query := range []string{"version=9", "version=2&against=9"} {
		rsp, _ := b.get("/ui/functions/Hello/source?" + query)
		assert.Equal(t, http.StatusNotFound, rsp.StatusCode, query)
	}
	rsp, _ := b.get("/ui/functions/Hello/source?version=x")
	assert.Equal(t, http.StatusBadRequest, rsp.StatusCode)
}

func TestSourcesAreForWhoMayDeploy(t *testing.T) {
	s := newSite(t)
	s.twoVersions()
	b := s.browser(true)
	b.signIn(s.token(wire.ScopeRead))
	_, page := b.get("/ui/functions/Hello/versions")
	assert.NotContains(t, page, "/source")
	for _, path := range []string{"source", "source?version=2&against=1", "edit"} {
		rsp, page := b.get("/ui/functions/Hello/" + path)
		assert.Equal(t, http.StatusForbidden, rsp.StatusCode, path)
		assert.Contains(t, page, "scope deploy", path)
		assert.NotContains(t, page, "I am", path)
	}
}

func TestASourceThatIsGoneIsSaidToBe(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	list, err := s.api.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	pkg, err := s.fake.Store().Get(list[0].GetPackage())
	require.NoError(t, err)
	require.NoError(t, os.Remove(pkg.Path))
	b := s.browser(false)
	for _, path := range []string{"source", "edit"} {
		rsp, page := b.get("/ui/functions/Hello/" + path)
		assert.Equal(t, http.StatusOK, rsp.StatusCode)
		assert.Contains(t, page, "not stored any more", path)
	}
}

// edit opens the editor and sends it back with another text.
func (b *browser) edit(text string, more ...string) (*http.Response, string) {
	b.t.Helper()
	_, page := b.get("/ui/functions/Hello/edit")
	fields := url.Values{"text": {text}}
	for _, name := range []string{"csrf", "base", "last", "file"} {
		fields.Set(name, hidden(page, name))
	}
	for i := 0; i < len(more); i += 2 {
		fields.Set(more[i], more[i+1])
	}
	return b.do(http.MethodPost, "/ui/functions/Hello/edit", fields.Encode())
}

// hidden returns what a field of a page has that nobody sees.
func hidden(page, name string) string {
	_, rest, _ := strings.Cut(page, `name="`+name+`" value="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

func TestAFunctionIsEditedInPlace(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello", func(fn *proto.FunctionJson) {
		fn.Timeout = "7s"
		require.NoError(t, os.WriteFile(fn.GetDir()+"/page.txt", []byte("kept"), 0o600))
	})
	b := s.browser(true)
	b.signIn(s.token(wire.ScopeDeploy))
	_, page := b.get("/ui/functions/Hello/edit")
	assert.Contains(t, page, "I am Hello")

	rsp, page := b.edit(strings.ReplaceAll(testkit.Says("Hello", "edited"), "\n", "\r\n"), "note", "by hand")
	assert.Equal(t, "done=edit", rsp.Request.URL.Query().Encode()[:9], page)
	assert.Contains(t, page, "Deployed.")
	assert.Contains(t, page, "edited")
	versions, err := s.api.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	assert.EqualValues(t, 2, versions[0].GetVersion())
	assert.Equal(t, []string{"7s", "by hand"}, []string{versions[0].GetSettings().GetTimeout(), versions[0].GetNote()})
	_, page = b.get("/ui/functions/Hello/source?version=2&against=1")
	assert.Contains(t, page, "Source: 1 file,", "all else is as it was")
	assert.Contains(t, page, "Settings are the same.")
}

func TestWhatIsWrongWithAnEditIsSaidAtItsLine(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	b := s.browser(false)
	rsp, page := b.edit("package fn\n\nfunc (\n")
	assert.Equal(t, http.StatusUnprocessableEntity, rsp.StatusCode, page)
	assert.Contains(t, page, `data-line="3"`)
	assert.Contains(t, page, "<code>func (</code>")
	assert.Contains(t, page, "func (\n</textarea>", "what was typed stays")
	rsp, page = b.do(http.MethodPost, "/ui/functions/Hello/edit", url.Values{
		"csrf": {csrfOf(page)}, "base": {hidden(page, "base")}, "last": {hidden(page, "last")}, "file": {hidden(page, "file")}, "text": {testkit.Says("Hello", "mended")},
	}.Encode())
	assert.Equal(t, http.StatusOK, rsp.StatusCode, page)
	assert.Contains(t, page, "Deployed.", "what was refused is no deploy of others")
}

func TestAnEditDoesNotUndoWhatOthersDeployed(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	b := s.browser(false)
	_, opened := b.get("/ui/functions/Hello/edit")
	s.deploy("Hello", func(fn *proto.FunctionJson) {
		fn.Dir, fn.Note = testkit.Source(t, testkit.Says("Hello", "theirs")), "from elsewhere"
	})
	mine := testkit.Says("Hello", "mine")
	rsp, page := b.edit(mine, "base", hidden(opened, "base"), "last", hidden(opened, "last"))
	assert.Equal(t, http.StatusConflict, rsp.StatusCode)
	assert.Contains(t, page, "v2 serves by now")
	assert.Contains(t, page, "from elsewhere")
	assert.Regexp(t, `class="del"[^>]*>-.*theirs`, page)
	assert.Regexp(t, `class="ins"[^>]*>&#43;.*mine`, page)
	versions, err := s.api.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Len(t, versions, 2, "nothing was deployed")

	rsp, page = b.edit(mine, "base", hidden(page, "base"), "last", hidden(page, "last"))
	assert.Equal(t, http.StatusOK, rsp.StatusCode)
	assert.Contains(t, page, "Deployed.", "who has seen it may")
}

// Who deploys between the look at what serves and the deploy of an edit is not overtaken.
func TestAnEditDoesNotOvertakeADeployOfTheSameMoment(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	b := s.browser(false)
	_, opened := b.get("/ui/functions/Hello/edit")
	theirs := func() {
		s.deploy("Hello", func(fn *proto.FunctionJson) { fn.Dir = testkit.Source(t, testkit.Says("Hello", "theirs")) })
	}
	s.before.Store(&theirs)
	rsp, page := b.edit(testkit.Says("Hello", "mine"), "base", hidden(opened, "base"), "last", hidden(opened, "last"))
	assert.Equal(t, http.StatusConflict, rsp.StatusCode)
	assert.Contains(t, page, "v2 serves by now")
	assert.Regexp(t, `class="del"[^>]*>-.*theirs`, page)
	versions, err := s.api.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Len(t, versions, 2, "theirs alone")
}

func TestAnEditOfAFileThatOthersRemovedIsNotDeployed(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	b := s.browser(false)
	_, opened := b.get("/ui/functions/Hello/edit")
	s.deploy("Hello", func(fn *proto.FunctionJson) {
		require.NoError(t, os.Rename(fn.GetDir()+"/fn.go", fn.GetDir()+"/other.go"))
	})
	rsp, page := b.edit("package fn // mine\n", "base", hidden(opened, "base"), "last", hidden(opened, "last"), "file", hidden(opened, "file"))
	assert.Equal(t, http.StatusConflict, rsp.StatusCode)
	assert.Contains(t, page, "they have no file fn.go any more")
	assert.Contains(t, page, "package fn // mine", "what was typed stays")
	assert.NotContains(t, page, `<button class="main"`)
}

func TestAnEditNeedsItsForm(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello")
	b := s.browser(false)
	rsp, _ := b.edit("package fn\n", "csrf", "of nobody")
	assert.Equal(t, http.StatusForbidden, rsp.StatusCode)
	rsp, _ = b.edit("package fn\n", "file", "../../etc/passwd")
	assert.Equal(t, http.StatusNotFound, rsp.StatusCode)
}
