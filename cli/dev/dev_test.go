package dev

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

// patience is for a first build on a machine under load; nothing waits for it when
// all is well.
const patience = 2 * time.Minute

func TestMain(m *testing.M) { goleak.VerifyTestMain(testkit.Guarded(m)) }

// files is a source tree: path → content.
type files map[string]string

// bench is a session with all that it has reported.
type bench struct {
	t    *testing.T
	dir  string // of files
	base string // of the functions' addresses
	fn   *proto.FunctionJson

	stop func() error

	mu      sync.Mutex // guards the fields below
	printed bytes.Buffer
	said    bytes.Buffer
	calls   []Call
}

// serve runs a session for the package in a folder of a tree.
func (f files) serve(t *testing.T, pkg string, set func(*proto.FunctionJson)) *bench {
	t.Helper()
	return f.serveWith(t, pkg, set, func(*Config) {})
}

// serveWith is serve with a configuration of its own.
func (f files) serveWith(t *testing.T, pkg string, set func(*proto.FunctionJson), configure func(*Config)) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	b := &bench{t: t, dir: t.TempDir()}
	t.Setenv("TMPDIR", t.TempDir()) // where nothing may be left
	for name, text := range f {
		b.save(name, text)
	}
	b.fn = &proto.FunctionJson{Dir: filepath.Join(b.dir, pkg)}
	if set != nil {
		set(b.fn)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b.base = "http://" + l.Addr().String() + "/functions/"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	cfg := Config{
		Function: b.fn, Shown: "the folder", Listener: l, Host: l.Addr().String(), Output: b.locked(&b.printed),
		Say: func(text string) { fmt.Fprintln(b.locked(&b.said), text) },
		Called: func(c Call) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.calls = append(b.calls, c)
		},
		Report: func(trouble *Trouble) string {
			text := "error: " + trouble.Error() + "\n"
			_, _ = io.WriteString(b.locked(&b.said), text)
			return text
		},
	}
	configure(&cfg)
	go func() { ended <- Run(ctx, cfg) }()
	b.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		require.NoError(t, b.stop())
		left, err := os.ReadDir(os.TempDir())
		require.NoError(t, err)
		assert.Empty(t, left)
	})
	return b
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (b *bench) locked(w io.Writer) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return w.Write(p)
	})
}

// words are what was said, and printed, so far.
func (b *bench) words() (said, printed string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.said.String(), b.printed.String()
}

// says waits until something was said.
func (b *bench) says(words string) {
	b.t.Helper()
	require.EventuallyWithT(b.t, func(c *assert.CollectT) {
		said, _ := b.words()
		assert.Contains(c, said, words)
	}, patience, 5*time.Millisecond)
}

// save writes a file as editors do: a new one in the place of the old one.
func (b *bench) save(name, text string) {
	b.t.Helper()
	file := filepath.Join(b.dir, name)
	require.NoError(b.t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(b.t, os.WriteFile(file+"~", []byte(text), 0o600))
	require.NoError(b.t, os.Rename(file+"~", file))
}

// get calls below the functions' addresses.
func (b *bench) get(path string) (status int, body string) {
	b.t.Helper()
	status, body, err := b.try(b.t.Context(), path)
	require.NoError(b.t, err)
	return status, body
}

func (b *bench) try(ctx context.Context, path string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+path, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// answers calls and expects an answer with status 200.
func (b *bench) answers(path, want string) {
	b.t.Helper()
	status, body := b.get(path)
	assert.Equal(b.t, http.StatusOK, status)
	assert.Equal(b.t, want, body)
}

// hello is a function that answers with an expression.
func hello(expression string) string {
	return "package hello\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n)\n\nvar _ = os.Exit\n\n" +
		"func Hello(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, " + expression + ") }\n"
}

func TestSavesAreServed(t *testing.T) {
	b := files{"hello.go": hello(`"one ", r.URL.RequestURI(), os.Getenv("GREETING"), os.Getenv("USER")`)}.serve(t, "", func(fn *proto.FunctionJson) {
		fn.Env = map[string]string{"GREETING": " hi"}
	})
	b.answers("hello", "one / hi")
	b.answers("HELLO/a%2Fb//c?q=1", "one /a%2Fb//c?q=1 hi")
	for _, word := range []string{"two", "three"} {
		b.save("hello.go", hello(`"`+word+`"`))
		// The call may arrive before the news of the save.
		require.Eventually(t, func() bool { _, body := b.get("hello"); return body == word }, patience, time.Millisecond)
	}
	b.says("hello.go: serving after ")
	status, body := b.get("other")
	assert.Equal(t, http.StatusNotFound, status)
	assert.Contains(t, body, "Hello  "+b.base+"hello\n")
}

func TestTroubleIsAnsweredUntilItIsMended(t *testing.T) {
	b := files{"hello.go": hello(`"well"`)}.serve(t, "", nil)
	b.answers("hello", "well")
	for text, want := range map[string]string{
		hello("missing"):                                "hello.go:11:68: undefined: missing",
		"package hello\n\nfunc Hello(":                  "hello.go:3:12: syntax error: expected ')'",
		strings.Replace(hello("1"), "*http", "http", 1): "hello.go:11:37: parameter 2 of Hello is net/http.Request, want *net/http.Request (missing *)",
	} {
		b.save("hello.go", text)
		b.says(want)
		status, body := b.get("hello")
		assert.Equal(t, http.StatusInternalServerError, status)
		assert.Contains(t, body, want)
	}
	b.save("hello.go", hello(`"mended"`))
	b.says("hello.go: serving after ")
	b.answers("hello", "mended")
}

func TestWhatIsBrokenAtTheStartWaitsForASave(t *testing.T) {
	broken := files{"f.go": "package f\n\nfunc F("}
	b := broken.serve(t, "", nil)
	b.says("nothing serves yet: save a correction, and it is called at " + b.base + "NAME (Ctrl-C to stop)\n")
	named := broken.serve(t, "", func(fn *proto.FunctionJson) { fn.Name = "HelloWorld" })
	named.says(" at " + named.base + "helloworld (")
	b.save("f.go", "package f\n\nfunc F()")
	b.says("no function")
	said, _ := b.words()
	assert.Equal(t, 1, strings.Count(said, "nothing serves yet"), said)
}

func TestBrowsersGetAPage(t *testing.T) {
	w := &recorder{header: http.Header{}}
	s := &session{}
	s.answer(w, &http.Request{Method: http.MethodPost, Header: http.Header{"Accept": {"text/html,*/*"}}}, state{}, http.StatusInternalServerError, "undefined: <b>\n")
	assert.Equal(t, http.StatusInternalServerError, w.status)
	assert.Equal(t, "text/html; charset=utf-8", w.header.Get("Content-Type"))
	assert.Contains(t, w.String(), "<pre>undefined: &lt;b&gt;</pre>")
}

type recorder struct {
	bytes.Buffer
	header http.Header
	status int
}

func (r *recorder) Header() http.Header    { return r.header }
func (r *recorder) WriteHeader(status int) { r.status = status }

func TestAProcessThatEndsIsSaidAndStartedByTheNextCall(t *testing.T) {
	b := files{
		"hello.go": hello(`"alive"`),
		"die.go":   "package hello\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc Die(http.ResponseWriter, *http.Request) { fmt.Print(\"last words\"); os.Exit(7) }\n",
	}.serve(t, "", nil)
	for range 2 {
		status, _ := b.get("die")
		assert.Equal(t, http.StatusBadGateway, status)
	}
	b.answers("hello", "alive")
	// The second call may have waited for the process, which exits as soon as it gets
	// it.
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		said, _ := b.words()
		assert.Regexp(c, `Die exited: exit status 7\n(Die exited: exit status 7|error: Die did not start\n.*exit status 7)`, said)
	}, patience, 5*time.Millisecond)
	require.NoError(t, b.stop())
	_, printed := b.words()
	assert.Equal(t, "Die: last words\nDie: last words\n", printed)
}

func TestAProcessThatDoesNotStartIsSaid(t *testing.T) {
	b := files{"hello.go": hello(`1`) + "\nfunc init() { panic(\"early\") }\n"}.serve(t, "", nil)
	status, body := b.get("hello")
	assert.Equal(t, http.StatusInternalServerError, status)
	assert.Contains(t, body, "Hello did not start\nthe process exited before it was ready: exit status 2\npanic: early\n")
	b.save("hello.go", hello(`"well"`))
	b.says("serving after")
	b.answers("hello", "well")
}

// The package lies below the module's root; its sibling, the module's go.mod and a
// folder that does not exist yet enter the build.
func TestWhatThePackageImportsIsWatched(t *testing.T) {
	app := func(imports, expression string) string {
		return "package hello\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n" + imports + ")\n\n" +
			"func Hello(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, " + expression + ") }\n"
	}
	b := files{
		"app/go.mod":            "module example.com/app\n\ngo 1.24\n\nrequire example.com/lib v0.0.0\n\nreplace example.com/lib => ../lib\n",
		"app/fn/hello/hello.go": app("\t\"example.com/app/word\"\n\t\"example.com/lib\"\n", "word.W + lib.L"),
		"app/word/word.go":      "package word\n\nimport _ \"embed\"\n\n//go:embed w.txt\nvar W string\n",
		"app/word/w.txt":        "one",
		"lib/go.mod":            "module example.com/lib\n\ngo 1.24\n",
		"lib/lib.go":            "package lib\n\nconst L = \"A\"\n",
	}.serve(t, "app/fn/hello", func(fn *proto.FunctionJson) { fn.Name = "Hello" })
	b.answers("hello", "oneA")
	b.save("app/word/w.txt", "two")
	b.says("w.txt: serving")
	b.answers("hello", "twoA")
	b.save("lib/lib.go", "package lib\n\nconst L = \"B\"\n")
	b.says("lib.go: serving")
	b.answers("hello", "twoB")
	b.save("app/fn/hello/hello.go", app("\t\"example.com/app/new\"\n", "new.N"))
	b.says("app/new is missing")
	b.save("app/new/deep/x.go", "package deep\n\nconst N = \"new\"\n")
	b.save("app/new/new.go", "package new\n\nimport \"example.com/app/new/deep\"\n\nconst N = deep.N\n")
	require.Eventually(t, func() bool { _, body := b.get("hello"); return body == "new" }, patience, 5*time.Millisecond)
}

func TestNoCallIsLostBetweenVersions(t *testing.T) {
	// Longer than a build, so that calls of one version finish while the next one
	// serves.
	version := func(n int) string {
		text := strings.Replace(hello(fmt.Sprintf(`"version %d"`, n)), "{ fmt", "{ time.Sleep(time.Second); fmt", 1)
		return strings.Replace(text, `"os"`, "\"os\"\n\t\"time\"", 1)
	}
	b := files{"hello.go": version(0)}.serve(t, "", nil)
	b.answers("hello", "version 0")
	var callers sync.WaitGroup
	var calls atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 16 {
		callers.Go(func() {
			for ctx.Err() == nil {
				status, body, err := b.try(ctx, "hello")
				if ctx.Err() != nil {
					return
				}
				calls.Add(1)
				assert.NoError(t, err)
				assert.Equal(t, http.StatusOK, status, body)
			}
		})
	}
	for n := range 2 {
		b.save("hello.go", version(n+1))
		want := fmt.Sprintf("version %d", n+1)
		require.Eventually(t, func() bool { _, body := b.get("hello"); return body == want }, patience, time.Millisecond)
	}
	cancel()
	callers.Wait()
	assert.Positive(t, calls.Load())
}

func TestABurstOfSavesIsBuiltOnce(t *testing.T) {
	b := files{"hello.go": hello(`"one"`)}.serve(t, "", nil)
	b.answers("hello", "one")
	for n := range 20 {
		b.save("hello.go", hello(fmt.Sprintf(`"%d"`, n)))
		b.save(fmt.Sprintf("n%d.go", n), "package hello\n")
	}
	require.Eventually(t, func() bool { _, body := b.get("hello"); return body == "19" }, patience, time.Millisecond)
	b.save("hello.go", hello(`"19"`)) // changes nothing
	b.answers("hello", "19")
	said, _ := b.words()
	assert.Equal(t, 1, strings.Count(said, ": serving after"), said)
}

func TestFunctionsComeAndGo(t *testing.T) {
	b := files{"hello.go": hello(`"one"`)}.serve(t, "", nil)
	b.answers("hello", "one")
	b.save("second.go", strings.NewReplacer("func Hello", "func Second", `"one"`, `"two"`).Replace(hello(`"one"`)))
	b.says("Second  " + b.base + "second\n")
	b.answers("second", "two")
	require.NoError(t, os.Remove(filepath.Join(b.dir, "second.go")))
	require.Eventually(t, func() bool { status, _ := b.get("second"); return status == http.StatusNotFound }, patience, time.Millisecond)
	b.answers("hello", "one")
}

func TestAGoCommandIsNeeded(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := findGo(t.Context(), t.TempDir())
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.NotEmpty(t, proto.AsError(err).Hint)
}
