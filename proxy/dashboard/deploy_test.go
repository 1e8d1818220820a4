package dashboard_test

import (
	"archive/zip"
	"bytes"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func zipped(t *testing.T, files map[string]string) string {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for name, content := range files {
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return out.String()
}

// drop sends the form of the page that deploys.
func (b *browser) drop(csrf, file, content string, fields ...string) (*http.Response, string) {
	b.t.Helper()
	var out bytes.Buffer
	form := multipart.NewWriter(&out)
	for i, fields := 0, append([]string{"csrf", csrf}, fields...); i < len(fields); i += 2 {
		require.NoError(b.t, form.WriteField(fields[i], fields[i+1]))
	}
	w, err := form.CreateFormFile("file", file)
	require.NoError(b.t, err)
	_, err = w.Write([]byte(content))
	require.NoError(b.t, err)
	require.NoError(b.t, form.Close())
	return b.do(http.MethodPost, "/ui/deploy", out.String(), "Content-Type", form.FormDataContentType())
}

func TestWhatIsDroppedIsDeployed(t *testing.T) {
	s := newSite(t)
	b := s.browser(true)
	b.signIn(s.token(wire.ScopeDeploy))
	_, page := b.get("/ui/deploy")
	csrf := csrfOf(page)
	hello := testkit.Says("Hello", "Hello!")
	for _, c := range []struct{ what, file, content, name, source, want, says string }{
		{"a zip", "hello.zip", zipped(t, map[string]string{"hello.go": hello}), "", "", "Hello", ""},
		{"a zip of a folder", "hello.zip", zipped(t, map[string]string{"hello/hello.go": hello, "hello/go.mod": "module example.com/hello\n\ngo 1.26\n", "__MACOSX/hello/._hello.go": "x", "hello/.DS_Store": "x"}), "", "", "Hello", ""},
		{"a file", "other.go", testkit.Says("Other", "Other"), "", "", "Other", ""},
		{"what was written", "", "", "", testkit.Says("Written", "Written"), "Written", ""},
		{"one of several", "two.go", hello + "\nfunc Second(w http.ResponseWriter, r *http.Request) {}\n", "Second", "", "Second", ""},
		{"several", "two.go", hello + "\nfunc Second(w http.ResponseWriter, r *http.Request) {}\n", "", "", "", "Hello, Second"},
		{"none", "none.go", "package none\n", "", "", "", "no function"},
		{"no Go", "none.go", "package none\nfunc {", "", "", "", "none.go"},
		{"no zip", "none.zip", "none", "", "", "", "cannot be read"},
		{"neither", "none.txt", "none", "", "", "", "neither a zip nor a Go file"},
		{"nothing", "", "", "", "", "", "nothing to deploy"},
		{"no name", "hello.go", hello, "a b", "", "", "a b"},
		{"a way out", "out.zip", zipped(t, map[string]string{"hello.go": hello, "../../etc/x.go": "package x"}), "Hello", "", "", "x.go"},
	} {
		rsp, page := b.drop(csrf, c.file, c.content, "name", c.name, "source", c.source)
		if c.want == "" {
			assert.Equal(t, "/ui/deploy", rsp.Request.URL.Path, c.what)
			assert.Contains(t, page, `role="alert"`, c.what)
			assert.Contains(t, page, c.says, c.what)
			continue
		}
		require.Equal(t, "/ui/functions/"+c.want+"?done=deploy", rsp.Request.URL.RequestURI(), "%s: %s", c.what, page)
		next(t, b.stream("/ui/functions/"+c.want), "Deployed")
	}
	entries, err := s.record.Last(20)
	require.NoError(t, err)
	var who string
	for _, e := range entries {
		if e.GetCall() == "Deploy" && e.GetResult() == "ok" {
			who = e.GetWho()
		}
	}
	assert.Contains(t, who, "(people)")

	rsp, _ := b.drop("of nobody", "hello.go", hello)
	assert.Equal(t, http.StatusForbidden, rsp.StatusCode)
	reader := s.browser(true)
	reader.signIn(s.token(wire.ScopeRead))
	_, page = reader.get("/ui/")
	assert.NotContains(t, page, "/ui/deploy")
	rsp, _ = reader.drop(csrfOf(page), "hello.go", hello)
	assert.Equal(t, http.StatusForbidden, rsp.StatusCode)
}

func TestWhatIsDroppedHasALimit(t *testing.T) {
	s := newSite(t)
	b := s.browser(false)
	_, page := b.get("/ui/deploy")
	rsp, page := b.drop(csrfOf(page), "hello.go", strings.Repeat("x", 34<<20))
	assert.Equal(t, http.StatusRequestEntityTooLarge, rsp.StatusCode)
	assert.Contains(t, page, "more than 33 MiB")
}

// A deploy by the page keeps what a definition said, as proxyCli deploy does.
func TestADropKeepsSettings(t *testing.T) {
	s := newSite(t)
	s.deploy("Hello", func(fn *proto.FunctionJson) { fn.Timeout, fn.Env = "7s", map[string]string{"A": "b"} })
	b := s.browser(false)
	_, page := b.get("/ui/deploy")
	b.drop(csrfOf(page), "hello.go", testkit.Says("Hello", "again"))
	next(t, b.stream("/ui/functions/Hello"), "v2")
	versions, err := s.api.Versions(t.Context(), "Hello")
	require.NoError(t, err)
	assert.Equal(t, "7s", versions[0].GetSettings().GetTimeout())
	assert.Equal(t, map[string]string{"A": "b"}, versions[0].GetSettings().GetEnv())
	_, page = b.get("/ui/functions/Hello/versions")
	assert.Contains(t, page, "1 since v1", "the source alone has changed")
}
