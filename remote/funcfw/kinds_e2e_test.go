package funcfw_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// call is a request with a body and what came back.
func (p *process) call(t *testing.T, method, path, body string, headers ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.base+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := p.client.Do(req)
	require.NoError(t, err, p.output)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, resp.Header, string(text)
}

// prints waits for what a process has printed to arrive here.
func (p *process) prints(t *testing.T, text string) {
	t.Helper()
	assert.Eventually(t, func() bool { return strings.Contains(p.output.String(), text) }, patience, time.Millisecond, text)
}

const typed = `package p

import (
	"context"
	"errors"
	"fmt"
)

type In struct {
	A, B string
	N    int
}

type out struct {
	In
	Alive bool
}

func F(ctx context.Context, in *In) (out, error) {
	switch in.A {
	case "fail":
		return out{}, errors.New("100% <b>wrong</b>")
	case "panic":
		panic("no")
	}
	return out{*in, ctx.Err() == nil}, nil
}

func Nothing(in map[string]int) error { fmt.Println("got", in["n"]); return nil }
`

func TestTypedProgram(t *testing.T) {
	p := start(t, mustBuild(t, files{"fn.go": typed}, ".", "F"), "F", "RYO_BODY=1000")

	t.Run("from JSON to JSON", func(t *testing.T) {
		status, header, body := p.call(t, http.MethodPost, "/any/path", `{"A": "100%d <i>&</i>", "n": 7, "Other": null}`)
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "application/json", header.Get("Content-Type"))
		assert.Equal(t, `{"A":"100%d <i>&</i>","B":"","N":7,"Alive":true}`+"\n", body) //nolint:testifylint // byte for byte
	})
	t.Run("errors and panics", func(t *testing.T) {
		status, header, body := p.call(t, http.MethodPost, "", `{"A": "fail"}`)
		assert.Equal(t, http.StatusInternalServerError, status)
		assert.Equal(t, "application/json", header.Get("Content-Type"))
		assert.Equal(t, `{"error":{"code":"internal","message":"the function has failed; its log says why"}}`+"\n", body) //nolint:testifylint // byte for byte
		p.prints(t, "Function error: 100% <b>wrong</b>\n")

		status, header, body = p.call(t, http.MethodPost, "", `{"A": "panic"}`)
		assert.Equal(t, http.StatusInternalServerError, status)
		assert.Equal(t, "crash", header.Get("X-Google-Status"))
		assert.NotContains(t, body, "panic message")
	})
	t.Run("bad JSON is refused by its place", func(t *testing.T) {
		status, _, body := p.call(t, http.MethodPost, "", "{\n  \"A\": oops}")
		assert.Equal(t, http.StatusBadRequest, status)
		assert.JSONEq(t, `{"error": {"code": "invalid", "message": "line 2, column 8: invalid character 'o' looking for beginning of value"}}`, body)
	})
	t.Run("large bodies are refused", func(t *testing.T) {
		large := `{"A": "` + strings.Repeat("x", 1000) + `"}`
		for _, body := range []io.Reader{strings.NewReader(large), io.MultiReader(strings.NewReader(large))} { // with and without a length
			resp, err := p.client.Post(p.base, "application/json", body)
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
			assert.JSONEq(t, `{"error": {"code": "too_large", "message": "the body is larger than 1000 bytes"}}`, string(text))
		}
	})
	t.Run("no caller sees another's fields", func(t *testing.T) {
		const callers, workers = 10_000, 64
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}, Timeout: patience}
		defer client.CloseIdleConnections()
		work := make(chan int)
		var group sync.WaitGroup
		for range workers {
			group.Go(func() {
				for i := range work {
					// Each leaves out what its neighbour gives.
					field := [3]string{`"A":"%d"`, `"B":"%d"`, `"N":%d`}[i%3]
					want := [3]string{`{"A":"%d","B":"","N":0,"Alive":true}`, `{"A":"","B":"%d","N":0,"Alive":true}`, `{"A":"","B":"","N":%d,"Alive":true}`}[i%3]
					resp, err := client.Post(p.base, "", strings.NewReader("{"+fmt.Sprintf(field, i)+"}"))
					if !assert.NoError(t, err) {
						continue
					}
					body, err := io.ReadAll(resp.Body)
					assert.NoError(t, err)
					assert.NoError(t, resp.Body.Close())
					assert.Equal(t, fmt.Sprintf(want, i)+"\n", string(body))
				}
			})
		}
		for i := range callers {
			work <- i
		}
		close(work)
		group.Wait()
	})
}

func TestTypedFormsAndSettings(t *testing.T) {
	p := start(t, mustBuild(t, files{"fn.go": strings.Replace(typed, "package p", "package main", 1)}, ".", "Nothing"), "Nothing")
	status, _, body := p.call(t, http.MethodPut, "", `{"n": 1}`)
	assert.Equal(t, http.StatusNoContent, status)
	assert.Empty(t, body)
	p.prints(t, "got 1\n")

	strict := start(t, mustBuild(t, files{"fn.go": typed}, ".", "F"), "F", "RYO_STRICT=1")
	status, _, body = strict.call(t, http.MethodPost, "", `{"A": "", "Other": 1}`)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, body, `unknown field \"Other\"`)
}

func TestEventProgram(t *testing.T) {
	p := start(t, mustBuild(t, files{"fn.go": `package p

import (
	"context"
	"errors"
	"fmt"
)

type Message struct{ Data, ID string }

func F(ctx context.Context, m Message) error {
	fmt.Printf("data %s id %s\n", m.Data, m.ID)
	if m.Data == "" {
		return errors.New("no data")
	}
	return nil
}
`}, ".", "F"), "F", "RYO_BODY=1000")

	status, _, body := p.call(t, http.MethodPost, "", `{"context": {"eventId": "1", "eventType": "google.pubsub.topic.publish", "resource": {"name": "t", "service": "pubsub.googleapis.com"}}, "data": {"data": "bg", "id": "7"}}`)
	assert.Equal(t, http.StatusOK, status, body)
	p.prints(t, "data bg id 7\n")
	status, _, body = p.call(t, http.MethodPost, "", `{"data": "plain"}`)
	assert.Equal(t, http.StatusOK, status, body)
	p.prints(t, "data plain id \n")
	status, _, body = p.call(t, http.MethodPost, "", `{}`)
	assert.Equal(t, http.StatusInternalServerError, status)
	assert.Equal(t, "Function error: no data\n", body)
	status, _, _ = p.call(t, http.MethodPost, "", `{"data": "`+strings.Repeat("x", 1000)+`"}`)
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)
}

func TestCloudEventProgram(t *testing.T) {
	src := `package p

import (
	"context"
	"errors"
	"fmt"

	cloudevents "github.com/cloudevents/sdk-go/v2"
)

func F(ctx context.Context, e cloudevents.Event) error {
	fmt.Printf("%s %s %s %v\n", e.Type(), e.ID(), e.Data(), ctx.Err())
	switch e.Type() {
	case "fail":
		return errors.New("wrong")
	case "panic":
		panic("no")
	}
	return nil
}
`
	for name, program := range map[string]string{
		"exported": mustBuild(t, files{"fn.go": src}, ".", "F"),
		"declared": mustBuild(t, files{"fn.go": strings.Replace(src, "func F(", "func init() { functions.CloudEvent(\"F\", f) }\n\nfunc f(", 1)}.declaring(), ".", "F"),
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, program, "F")
			binary := func(typ string) (int, http.Header, string) {
				return p.call(t, http.MethodPost, "", `{"n": 1}`, "Content-Type", "application/json",
					"Ce-Id", "1", "Ce-Source", "test", "Ce-Specversion", "1.0", "Ce-Type", typ)
			}
			status, _, body := binary("binary")
			assert.Equal(t, http.StatusOK, status, body)
			p.prints(t, `binary 1 {"n": 1} <nil>`)

			status, _, body = p.call(t, http.MethodPost, "", `{"specversion": "1.0", "id": "2", "source": "test", "type": "structured", "data":{"n": 2}}`,
				"Content-Type", "application/cloudevents+json")
			assert.Equal(t, http.StatusOK, status, body)
			p.prints(t, `structured 2 {"n": 2} <nil>`)

			for _, typ := range []string{"fail", "panic"} {
				status, _, _ = binary(typ)
				assert.Equal(t, http.StatusInternalServerError, status, typ)
			}
			status, _, _ = p.call(t, http.MethodPost, "", "no event", "Content-Type", "text/plain")
			assert.Equal(t, http.StatusBadRequest, status)
			status, _, _ = binary("after all that")
			assert.Equal(t, http.StatusOK, status)
		})
	}
}

// declaring adds the import of what functions are declared with.
func (f files) declaring() files {
	f["fn.go"] = strings.Replace(f["fn.go"], "import (\n", "import (\n\t\"github.com/GoogleCloudPlatform/functions-framework-go/functions\"\n", 1)
	return f
}

func TestDeclaredProgram(t *testing.T) {
	src := files{"go.mod": "module example.com/user\n\ngo 1.21\n\nrequire github.com/GoogleCloudPlatform/functions-framework-go v1.8.0\n", "fn.go": `package p

import (
	"fmt"
	"net/http"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
)

func init() {
	functions.HTTP("Hello", hello)
	functions.HTTP("Other", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "other ", os.Getenv("FUNCTION_TARGET")) })
	if os.Getenv("NEVER") != "" {
		functions.HTTP("Never", hello)
	}
	funcframework.RegisterHTTPFunction("/", hello)
}

func hello(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/early":
		panic("early")
	case "/late":
		fmt.Fprint(w, "a part of the answer")
		panic("late")
	}
	fmt.Fprint(w, "hello ", r.URL.Path)
}
`}.declaring()
	p := start(t, mustBuild(t, src, ".", "Hello"), "Hello")
	_, body := p.get(t, "/a//b")
	assert.Equal(t, "hello /a//b", body)
	status, _ := p.get(t, "/early")
	assert.Equal(t, http.StatusInternalServerError, status)
	_, err := p.client.Get(p.base + "/late")
	assert.ErrorIs(t, err, io.EOF)
	p.prints(t, "panic message: late")

	main := maps.Clone(src)
	main["fn.go"] = strings.Replace(src["fn.go"], "package p", "package main", 1)
	p = start(t, mustBuild(t, main, ".", "Other"), "Other", "FUNCTION_TARGET=Hello")
	_, body = p.get(t, "")
	assert.Equal(t, "other Hello", body)

	p = launch(t, mustBuild(t, src, ".", "Never"), "Never")
	assert.EqualError(t, p.wait(t), "exit status 1")
	p.prints(t, `the init functions have declared no function "Never"`)
}

func TestGinProgram(t *testing.T) {
	sum, err := os.ReadFile("../../go.sum")
	require.NoError(t, err)
	mod, err := os.ReadFile("../../go.mod")
	require.NoError(t, err)
	p := start(t, mustBuild(t, files{
		"go.mod": strings.Replace(string(mod), "module github.com/Ishan27g/ryo-faas", "module example.com/user", 1), "go.sum": string(sum),
		"p/fn.go": `package p

import (
	"io"
	"net/http"

	"github.com/gin-gonic/gin"
)

func F(c *gin.Context) {
	switch c.Param("path") {
	case "/teapot":
		c.JSON(http.StatusTeapot, gin.H{"html": "<b>"})
	case "/empty":
	case "/panic":
		panic("no")
	case "/stream":
		c.Stream(func(w io.Writer) bool {
			io.WriteString(w, "streamed")
			return false
		})
	default:
		c.String(http.StatusOK, "%s %s %s %s", c.Request.Method, c.Param("path"), c.Query("q"), c.Request.URL.EscapedPath())
	}
}
`}, "p", "F"), "F")
	for _, c := range [][3]string{
		{"GET", "", "GET /  /"},
		{"POST", "/a/b?q=1", "POST /a/b 1 /a/b"},
		{"PROPFIND", "/a//b/", "PROPFIND /a//b/  /a//b/"},
		{"DELETE", "/a%2Fb", "DELETE /a/b  /a%2Fb"},
	} {
		status, _, body := p.call(t, c[0], c[1], "")
		assert.Equal(t, http.StatusOK, status, c)
		assert.Equal(t, c[2], body)
	}
	status, _, body := p.call(t, "GET", "/teapot", "")
	assert.Equal(t, http.StatusTeapot, status)
	assert.True(t, json.Valid([]byte(body)))
	status, _, body = p.call(t, "GET", "/empty", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Empty(t, body)
	status, _, _ = p.call(t, "GET", "/panic", "")
	assert.Equal(t, http.StatusInternalServerError, status)
	_, _, body = p.call(t, "GET", "/stream", "")
	assert.Equal(t, "streamed", body)
	assert.Equal(t, "deploying at /f\n", p.output.String()[:len("deploying at /f\n")])
	assert.NotContains(t, p.output.String(), "[GIN", "no logger")
}

func TestCompilerTellsTheKindsToo(t *testing.T) {
	const head = "package p\n\nimport \"context\"\n\n"
	for src, want := range map[string]string{
		"package p\n\ntype C = string\n\nfunc F(c C, in int) error { return nil }\n":                  `(?m)^a\.go:5:6: .*fn\.F`,
		head + "type E = string\n\nfunc F(ctx context.Context, in int) (int, E) { return 0, \"\" }\n": `(?m)^a\.go:7:6: .*fn\.F`,
	} {
		_, output, err := goBuild(t, files{"a.go": src}, ".", "F")
		require.Error(t, err)
		assert.Regexp(t, want, output)
		assert.Equal(t, 1, strings.Count(output, "a.go:"), "said once: %s", output)
		assert.NotContains(t, output, "main_F")
	}
}

const zones = `package fn

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

var berlin, err = time.LoadLocation("Europe/Berlin")

var early = time.Unix(0, 0).Format("-0700")

func Zones(w http.ResponseWriter, r *http.Request) {
	_, set := os.LookupEnv("GOROOT")
	fmt.Fprintln(w, berlin, err, early, time.Unix(0, 0).Format("-0700"), set, os.Getenv("GOROOT"))
}
`

func TestTimeZonesOfAMachineWithoutThem(t *testing.T) {
	if os.Getuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("root alone hides folders from a process")
	}
	program := mustBuild(t, files{"fn.go": zones}, ".", "Zones")
	bare := filepath.Join(t.TempDir(), "bare")
	require.NoError(t, os.WriteFile(bare, []byte("#!/bin/sh\nexec unshare -m sh -c 'for d in /usr/share/zoneinfo /etc/zoneinfo; do test ! -d $d || mount -t tmpfs none $d; done; exec "+program+"'\n"), 0o700)) //nolint:gosec // it is run
	goroot := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(goroot, "lib"), 0o700))
	// Tests may be built with -trimpath, and then do not know it.
	toolchain, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(filepath.Join(strings.TrimSpace(string(toolchain)), "lib", "time"), filepath.Join(goroot, "lib", "time")))
	for _, c := range []struct {
		env  []string
		want string
	}{
		{[]string{"TZ=Europe/Berlin"}, "UTC unknown time zone Europe/Berlin +0000 +0000 false \n"}, // none are there
		{[]string{"TZ=Europe/Berlin", "GOROOT=" + goroot, "RYO_GOROOT=" + goroot}, "Europe/Berlin <nil> +0100 +0100 false \n"},
		{[]string{"TZ=Europe/Berlin", "GOROOT=/mine", "RYO_GOROOT=" + goroot}, "UTC unknown time zone Europe/Berlin +0000 +0000 true /mine\n"},
	} {
		_, _, body := start(t, bare, "Zones", c.env...).call(t, http.MethodGet, "", "")
		assert.Equal(t, c.want, body, "%v", c.env)
	}
}

// One program serves whatever a package declares or exports, by every name that an
// agent may know it by.
func TestEveryFormIsServed(t *testing.T) {
	program := mustBuild(t, files{"f.go": `package p

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
	cloudevents "github.com/cloudevents/sdk-go/v2"
)

const name = "ConstName"

type in struct{ A, B string }

func init() {
	functions.HTTP("kebab-name", f)
	functions.HTTP("lowerCamel", f)
	functions.HTTP("/", f)
	functions.HTTP(name, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "closure") })
	functions.HTTP("Method", s{}.h)
	functions.Typed("greet", func(v in) (*in, error) { return &v, nil })
}

type s struct{}

func (s) h(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "method") }

func f(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "f") }

// API is a router.
var API http.Handler = mux()

func mux() *http.ServeMux {
	m := http.NewServeMux()
	m.HandleFunc("POST /items/{id}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.PathValue("id")) })
	return m
}

var None http.HandlerFunc

func Context(ctx context.Context, w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "context", ctx.Err()) }

func Answers(_ context.Context, e cloudevents.Event) (*cloudevents.Event, error) {
	e.SetType("answer")
	return &e, nil
}
`}, ".", "Method")
	event := []string{"Ce-Id", "7", "Ce-Source", "s", "Ce-Type", "t", "Ce-Specversion", "1.0"}
	for _, c := range []struct{ fn, path, body, want string }{
		{"kebab-name", "", "", "f"}, {"KebabName", "", "", "f"}, {"LowerCamel", "", "", "f"},
		{"ConstName", "", "", "closure"}, {"Method", "", "", "method"}, {"API", "/items/7", "", "7"},
		{"Context", "", "", "context<nil>"}, {"greet", "", `{"A": "x"}`, `{"A":"x","B":""}`}, {"Answers", "", "{}", "{}"},
	} {
		p := start(t, program, c.fn)
		status, header, body := p.call(t, http.MethodPost, c.path, c.body, event...)
		assert.Equal(t, http.StatusOK, status, c.fn)
		assert.Equal(t, c.want, strings.TrimSpace(body), c.fn)
		if c.fn == "Answers" {
			assert.Equal(t, "answer", header.Get("Ce-Type"))
		}
	}
	p := launch(t, program, "None")
	assert.EqualError(t, p.wait(t), "exit status 1")
	p.prints(t, "the variable None is nil: give it a handler where it is declared, or in an init function")
}
