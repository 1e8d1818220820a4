package funcfw_test

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const hello = `package hello

import (
	"fmt"
	"net/http"
)

// HelloWorld is the function to deploy.
func HelloWorld(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, "Hello, World!\n")
}
`

// sample does, by path, all that a running function is tested for. It lies in a
// nested internal folder, prints from init and registers functions of its own.
const sample = `package fn

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
)

func init() {
	fmt.Println("user init")
	fds, _ := exec.Command("ls", "-l", "/proc/self/fd").Output()
	fmt.Println("init child sockets:", strings.Count(string(fds), "socket:"))
	functions.HTTP("ryo-sample", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "wrong") })
	_ = funcframework.RegisterHTTPFunctionContext(context.Background(), "/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "wrong") })
}

var started = make(chan struct{}, 1)

func F_test(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/panic":
		panic("early")
	case "/late":
		fmt.Fprint(w, "a part of the answer")
		_ = http.NewResponseController(w).Flush()
		panic("too late")
	case "/unflushed":
		fmt.Fprint(w, "a part of the answer")
		panic("too late")
	case "/abort":
		panic(http.ErrAbortHandler)
	case "/slow":
		started <- struct{}{}
		<-time.After(500 * time.Millisecond)
		fmt.Fprint(w, "finished")
	case "/started":
		<-started
	case "/fds":
		fds, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
		fmt.Fprintf(w, "%d %v", strings.Count(string(fds), "socket:"), err)
	case "/env":
		fmt.Fprint(w, strings.Join(os.Environ(), "\n"))
	case "/ignored":
		out, err := exec.Command("grep", "SigIgn", "/proc/self/status").Output()
		fmt.Fprint(w, string(out), err)
	case "/upgrade":
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		io.Copy(conn, rw)
	case "/copy":
		io.Copy(w, strings.NewReader(r.Proto))
	default:
		fmt.Fprintf(w, "%s|%s|%s", r.URL.Path, r.URL.EscapedPath(), r.URL.RawQuery)
	}
}
`

func TestProgram(t *testing.T) {
	program := mustBuild(t, files{
		"go.mod":                       "module example.com/user\n\ngo 1.21\n\nrequire github.com/GoogleCloudPlatform/functions-framework-go v1.8.0\n",
		"sub/a/internal/fn/fn.go":      sample,
		"sub/a/internal/fn/fn_test.go": "package fn_test\n",
	}, "sub/a/internal/fn", "F_test")
	p := start(t, program, "F_test", "PATH="+os.Getenv("PATH"))

	t.Run("announces itself before the user's init functions print", func(t *testing.T) {
		assert.Regexp(t, "^deploying at /f_test\nuser init\n", p.output.String())
	})
	t.Run("paths arrive byte for byte", func(t *testing.T) {
		for sent, want := range map[string]string{
			"":                   "/|/|",
			"/":                  "/|/|",
			"?a=b&c":             "/|/|a=b&c",
			"/a/b/?q=%2F":        "/a/b/|/a/b/|q=%2F",
			"//x":                "//x|//x|",
			"/a/../b/./c":        "/a/../b/./c|/a/../b/./c|",
			"/a%2Fb%2fc":         "/a/b/c|/a%2Fb%2fc|",
			"/f_test":            "/f_test|/f_test|",
			"/%e4%b8%96/%7Euser": "/世/~user|/%e4%b8%96/%7Euser|",
		} {
			assert.Equal(t, want, p.raw(t, "tcp", p.addr, "/f_test"+sent), sent)
			assert.Equal(t, want, p.raw(t, "unix", p.unix, "/f_test"+sent), sent)
		}
	})
	t.Run("other paths are not found", func(t *testing.T) {
		for _, target := range []string{"/", "/f_tes", "/f_testx", "/f_test%2Fx", "//f_test", "/F_test", "/x/f_test"} {
			assert.Equal(t, "404 page not found\n", p.raw(t, "tcp", p.addr, target), target)
		}
	})
	t.Run("health is answered on the listeners", func(t *testing.T) {
		assert.Equal(t, "ok\n", p.raw(t, "tcp", p.addr, "/_ryo/healthz"))
		assert.Equal(t, "ok\n", p.raw(t, "unix", p.unix, "/_ryo/healthz"))
	})
	t.Run("speaks HTTP/2 without TLS", func(t *testing.T) {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}
		defer client.CloseIdleConnections()
		resp, err := client.Get(p.base + "/copy")
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, "HTTP/2.0", string(body))

		// Get or reading the body sees the reset, whichever waits when it comes.
		resp, err = client.Get(p.base + "/late")
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			require.NoError(t, resp.Body.Close())
		}
		assert.ErrorContains(t, err, "stream error")
	})
	t.Run("a panic before the answer is a 500", func(t *testing.T) {
		resp, err := p.client.Get(p.base + "/panic")
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, http.StatusInternalServerError, resp.StatusCode)
		assert.Equal(t, "crash", resp.Header.Get("X-Google-Status"))
		assert.Contains(t, p.output.String(), "fn.F_test(", "the stack names the function")
	})
	t.Run("a panic in the midst of the answer breaks the connection", func(t *testing.T) {
		resp, err := p.client.Get(p.base + "/late")
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, "a part of the answer", string(body))
		assert.Contains(t, p.output.String(), "panic message: too late")

		for _, path := range []string{"/unflushed", "/abort"} {
			_, err := p.client.Get(p.base + path)
			assert.ErrorIs(t, err, io.EOF, path)
		}
	})
	t.Run("programs that the function starts get neither its sockets nor its settings", func(t *testing.T) {
		_, fds := p.get(t, "/fds")
		assert.Equal(t, "0 <nil>", fds)
		assert.Contains(t, p.output.String(), "init child sockets: 0\n")
		_, env := p.get(t, "/env")
		assert.NotRegexp(t, "(?m)^(RYO_|FUNCTION_TARGET)", env)
		_, ignored := p.get(t, "/ignored")
		assert.Regexp(t, "^SigIgn:\t[0-9a-f]{12}[02468ace][0-9a-f]{3}\n<nil>$", ignored, "SIGPIPE, bit 12, is theirs to die of")
	})
	t.Run("a function can take its connection over", func(t *testing.T) {
		conn, err := net.Dial("tcp", p.addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = fmt.Fprint(conn, "GET /f_test/upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		require.NoError(t, err)
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
		_, err = fmt.Fprintln(conn, "echo")
		require.NoError(t, err)
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, "echo\n", line)
	})
	t.Run("outlives the control connection", func(t *testing.T) {
		require.NoError(t, p.control.Close())
		_, body := p.get(t, "/x")
		assert.Equal(t, "/x|/x|", body)
	})
	t.Run("drains on SIGTERM", func(t *testing.T) {
		answer := make(chan string, 1)
		go func() {
			resp, err := p.client.Get(p.base + "/slow")
			if err != nil {
				answer <- err.Error()
				return
			}
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			answer <- string(body)
		}()
		p.get(t, "/started")
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		assert.Equal(t, "finished", <-answer)
		assert.NoError(t, p.wait(t), "exit status 0")
		_, err := os.Stat(p.unix)
		assert.NoError(t, err, "the socket's path is the agent's")
	})
}

func TestDrainEnds(t *testing.T) {
	program := mustBuild(t, files{"fn.go": `package fn

import "net/http"

func Hang(w http.ResponseWriter, r *http.Request) {
	w.(http.Flusher).Flush()
	select {}
}
`}, ".", "Hang")
	p := start(t, program, "Hang", "RYO_DRAIN=100ms")
	resp, err := p.client.Get(p.base)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGINT))
	assert.NoError(t, p.wait(t), "exit status 0")
	assert.Contains(t, p.output.String(), "cut off")
}

func TestStartFailsWithAReason(t *testing.T) {
	program := mustBuild(t, files{"fn.go": "package fn\n\nimport \"net/http\"\n\nvar F http.HandlerFunc\n"}, ".", "F")
	p := launch(t, program, "F")
	assert.EqualError(t, p.wait(t), "exit status 1")
	assert.Contains(t, p.output.String(), "the variable F is nil")

	ok := mustBuild(t, files{"fn.go": hello}, ".", "HelloWorld")
	for _, c := range []struct{ env, want string }{
		{"RYO_MOUNT=hello", "RYO_MOUNT"},
		{"RYO_LISTEN=x", "RYO_LISTEN"},
		{"RYO_LISTEN=4", "descriptor 6"},
		{"RYO_DRAIN=", "RYO_DRAIN"},
	} {
		p := launch(t, ok, "HelloWorld", c.env)
		assert.EqualError(t, p.wait(t), "exit status 1", c.env)
		assert.Contains(t, p.output.String(), c.want)
	}
}

func TestLayouts(t *testing.T) {
	fn := func(pkg, name, body string) string {
		return fmt.Sprintf("package %s\n\nimport \"net/http\"\n\nfunc %s(w http.ResponseWriter, r *http.Request) { %s }\n", pkg, name, body)
	}
	ok := `w.Write([]byte("ok"))`
	for _, c := range []struct {
		name, dir, fn string
		src           files
	}{
		{"no go.mod", "sub", "HelloWorld", files{"sub/hello.go": strings.ReplaceAll(hello, `Hello, World!\n`, "ok")}},
		{"no go.mod and a name that is no path", ".", "F", files{"a.go": fn("ünï", "F", ok)}},
		{"no go.mod and a name that the go command takes", ".", "F", files{"a.go": fn("work", "F", ok)}},
		{"at the module's root, no go line", ".", "Test", files{"go.mod": "module hello\n", "a.go": fn("p", "Test", ok)}},
		{"a path before boot's, and an init that prints", ".", "F", files{"go.mod": "module A\n", "a.go": "package p\n\nimport (\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc init() { os.Stdout.WriteString(\"user\") }\n" + strings.Join(strings.Split(fn("p", "F", ok), "\n")[4:], "\n")}},
		{"go 1.18", "p", "Linux", files{"go.mod": "module hello\n\ngo 1.18\n", "p/a.go": fn("p", "Linux", ok)}},
		{"name that ends as a file of another system", "p", "F_windows", files{"go.mod": "module a.b/c\n\ngo 1.26\ntoolchain go1.99.1\n", "p/a.go": fn("p", "F_windows", ok)}},
		{"Unicode name", "p", "Über世", files{"go.mod": "module a.b/c\n\ngo 1.24\n", "p/a.go": fn("p", "Über世", ok)}},
		{"package main, with clashing names", ".", "F_test", files{
			"go.mod": "module main\n\ngo 1.24\n",
			"a.go":   fn("main", "F_test", "w.Write([]byte(target+serve+http))"), // the import is renamed below
		}},
		{"package main, in a folder", "p", "F", files{"go.mod": "module time\n", "p/main_F.go": fn("main", "F", ok)}},
		{"embedded file", "p", "F", files{"go.mod": "module a.b/c\n\ngo 1.20\n", "p/x.txt": "ok", "p/a.go": "package p\n\nimport (\n\t_ \"embed\"\n\t\"net/http\"\n)\n\n//go:embed x.txt\nvar x []byte\n\nfunc F(w http.ResponseWriter, r *http.Request) { w.Write(x) }\n"}},
		{"vendor and go.work are ignored", "p", "F", files{"go.work": "go 1.24\n\nuse ./other\n", "go.mod": "module a.b/c\n\ngo 1.24\n", "vendor/modules.txt": "## workspace\n", "p/a.go": fn("p", "F", ok)}},
		{"local replacement", "m/p", "F", files{
			"m/go.mod":   "module a.b/c\n\ngo 1.24\n\nrequire a.b/lib v1.0.0\n\nreplace a.b/lib => ../lib\n",
			"m/p/a.go":   "package p\n\nimport (\n\t\"net/http\"\n\n\t\"a.b/lib\"\n)\n\nfunc F(w http.ResponseWriter, r *http.Request) { w.Write([]byte(lib.Text)) }\n",
			"lib/go.mod": "module a.b/lib\n", "lib/lib.go": "package lib\n\nconst Text = \"ok\"\n",
		}},
		{"another module requires a later framework", "m", "F", files{
			"m/go.mod":   "module a.b/c\n\ngo 1.24\n\nrequire a.b/lib v1.0.0\n\nreplace a.b/lib => ../lib\n",
			"m/a.go":     "package p\n\nimport (\n\t\"net/http\"\n\n\t\"a.b/lib\"\n)\n\nfunc F(w http.ResponseWriter, r *http.Request) { w.Write([]byte(lib.Text)) }\n",
			"lib/go.mod": "module a.b/lib\n\ngo 1.21\n\nrequire github.com/GoogleCloudPlatform/functions-framework-go v1.99.0\n", "lib/lib.go": "package lib\n\nconst Text = \"ok\"\n",
		}},
		{"handler in a variable", ".", "F", files{"a.go": "package p\n\nimport \"net/http\"\n\nvar F = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`ok`)) })\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "package main, with clashing names" {
				c.src["a.go"] = strings.NewReplacer(`"net/http"`, `h "net/http"`, "w http.", "w h.", "*http.", "*h.").Replace(c.src["a.go"]) +
					"\nconst (\n\ttarget, serve, http, log, context, funcframework, boot, fn = \"o\", \"k\", \"\", 0, 0, 0, 0, 0\n)\n"
			}
			mount := "/" + strings.ToLower(c.fn)
			p := start(t, mustBuild(t, c.src, c.dir, c.fn), c.fn)
			_, body := p.get(t, "")
			assert.Equal(t, "ok", body)
			assert.True(t, strings.HasPrefix(p.output.String(), "deploying at "+mount+"\n"))
		})
	}
}

func TestCompilerBlamesTheUsersLine(t *testing.T) {
	src := "package p\n\nimport \"net/http\"\n\ntype W = http.Request\n\nfunc F(w W, r *http.Request) {}\n"
	for _, c := range []struct {
		dir  string
		src  files
		want string
	}{
		{"p", files{"go.mod": "module a.b/c\n", "p/a.go": src}, `(?m)^p/a\.go:7:6: cannot use fn\.F \(.*\) as func\(.*ResponseWriter, .*Request\) value in argument to serve\.HTTP$`},
		{".", files{"a.go": src}, `(?m)^a\.go:7:6: cannot use fn\.F`},
		{"p", files{"go.mod": "module a.b/c\n", "p/a.go": strings.Replace(src, "package p", "package main", 1)}, `(?m)^p/a\.go:7:6: cannot use F `},
		{"p", files{"go.mod": "module a.b/c\n", "p/a.go": "package p\n\nvar F = 1 +\n\tx\n"}, `(?m)^p/a\.go:4:2: undefined: x$`},
	} {
		_, output, err := goBuild(t, c.src, c.dir, "F")
		require.Error(t, err)
		assert.Regexp(t, c.want, output)
		assert.Equal(t, 1, strings.Count(output, "a.go:"), "said once: %s", output)
		assert.NotContains(t, output, "main_F")
	}
}

func TestTwoFoldersGiveOneProgram(t *testing.T) {
	src := files{"go.mod": "module a.b/c\n\ngo 1.24\n", "p/hello.go": hello}
	var sums [2][sha256.Size]byte
	for i := range sums {
		text, err := os.ReadFile(mustBuild(t, src, "p", "HelloWorld"))
		require.NoError(t, err)
		sums[i] = sha256.Sum256(text)
	}
	assert.Equal(t, sums[0], sums[1])
}

func TestGOMAXPROCSFollowsTheContainer(t *testing.T) {
	program := mustBuild(t, files{"go.mod": "module a.b/c\n\ngo 1.21\n", "p/hello.go": hello}, "p", "HelloWorld")
	text, err := os.ReadFile(program)
	require.NoError(t, err)
	assert.Contains(t, string(text), "containermaxprocs=1")
	assert.Contains(t, string(text), "updatemaxprocs=1")
}

func TestOneProgramServesEachFunctionOfAPackage(t *testing.T) {
	program := mustBuild(t, files{"fn.go": `package p

import (
	"context"
	"fmt"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
	cloudevents "github.com/cloudevents/sdk-go/v2"
)

type in struct{ N int }

func init() {
	functions.HTTP("Declared", func(w http.ResponseWriter, r *http.Request) { fmt.Println("declared") })
}

func Plain(w http.ResponseWriter, r *http.Request)         { fmt.Println("plain") }
func Typed(v in) error                                     { fmt.Println("typed", v.N); return nil }
func Cloud(ctx context.Context, e cloudevents.Event) error { fmt.Println("cloud", e.ID()); return nil }
func Background(ctx context.Context, v *in) error          { fmt.Println("background", v.N); return nil }
`, "unsure.go": "package p\n\ntype T = int\n\nfunc Unsure(a, b T) {}\n"}, ".", "Plain")
	for fn, want := range map[string]string{
		"Declared": "declared", "Plain": "plain", "Typed": "typed 1", "Cloud": "cloud 7", "Background": "background 1",
	} {
		p := start(t, program, fn)
		status, _, body := p.call(t, http.MethodPost, "", `{"N": 1}`, "Ce-Id", "7", "Ce-Source", "s", "Ce-Type", "t", "Ce-Specversion", "1.0")
		assert.Less(t, status, 300, body)
		p.prints(t, "deploying at /"+strings.ToLower(fn)+"\n"+want+"\n")
	}
	p := launch(t, program, "Unsure")
	assert.EqualError(t, p.wait(t), "exit status 1")
	p.prints(t, `RYO_FUNCTION="Unsure" is no function of this program`)
}

// embedder is a package whose patterns reach all that lies in its folder.
const embedder = `
import (
	"embed"
	"fmt"
	"io/fs"
	"net/http"
)

//go:embed *
var plain embed.FS

//go:embed all:*
var all embed.FS

//go:embed d all:d d/* [a-z]*
var some embed.FS

func F(w http.ResponseWriter, r *http.Request) { List(w) }

func List(w http.ResponseWriter) {
	for _, f := range []embed.FS{plain, all, some} {
		fs.WalkDir(f, ".", func(name string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				fmt.Fprint(w, name, " ")
			}
			return err
		})
		fmt.Fprintln(w)
	}
}
`

// What is generated is seen by no pattern, wherever the package lies.
func TestGeneratedFilesAreNotEmbedded(t *testing.T) {
	data := func(dir string) files {
		return files{path.Join(dir, ".hidden"): "x", path.Join(dir, "d/_x"): "x", path.Join(dir, "d/y"): "y"}
	}
	with := func(src files, more ...files) files {
		all := maps.Clone(src)
		for _, m := range more {
			maps.Copy(all, m)
		}
		return all
	}
	for _, c := range []struct {
		name, dir string
		src       files
		want      string
	}{
		{
			"in an internal folder of a module that embeds itself", "cmd/internal/fn",
			with(data("."), data("cmd/internal/fn"), files{
				"go.mod":  "module a.b/c\n\ngo 1.24\n",
				"root.go": "package c\n" + strings.Replace(embedder, "*http.Request", "*http.Request, _ int", 1),
				"cmd/internal/fn/f.go": "package fn\n\nimport (\n\t\"net/http\"\n\n\t\"a.b/c\"\n)\n\n" +
					"func F(w http.ResponseWriter, r *http.Request) { c.List(w); Own(w) }\n",
				"cmd/internal/fn/own.go": "package fn\n" + strings.NewReplacer("func F", "func unused", "func List", "func Own", "List(w)", "Own(w)").Replace(embedder),
			}),
			".hidden cmd/internal/fn/d/y cmd/internal/fn/f.go cmd/internal/fn/own.go d/y go.mod root.go \n" +
				".hidden cmd/internal/fn/.hidden cmd/internal/fn/d/_x cmd/internal/fn/d/y cmd/internal/fn/f.go cmd/internal/fn/own.go d/_x d/y go.mod root.go \n" +
				"cmd/internal/fn/d/y cmd/internal/fn/f.go cmd/internal/fn/own.go d/_x d/y go.mod root.go \n" +
				".hidden d/y f.go own.go \n.hidden d/_x d/y f.go own.go \nd/_x d/y f.go own.go \n",
		},
		{"at the root", ".", with(data("."), files{"go.mod": "module a.b/c\n", "f.go": "package c\n" + embedder}),
			".hidden d/y f.go go.mod \n.hidden d/_x d/y f.go go.mod \nd/_x d/y f.go go.mod \n"},
		{"package main", ".", with(data("."), files{"go.mod": "module a.b/c\n", "f.go": "package main\n" + embedder}),
			".hidden d/y f.go go.mod \n.hidden d/_x d/y f.go go.mod \nd/_x d/y f.go go.mod \n"},
		{"without go.mod, in a folder", "p", with(data("p"), files{"p/f.go": "package p\n" + embedder}),
			".hidden d/y f.go go.mod \n.hidden d/_x d/y f.go go.mod \nd/_x d/y f.go go.mod \n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, mustBuild(t, c.src, c.dir, "F"), "F")
			_, body := p.get(t, "")
			assert.Equal(t, c.want, body)
		})
	}
}
