package build

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/confine"
)

// canary is what no build may ever show: the text of a file outside of it.
const canary = "CANARYTWEETS"

// trap is a folder with what attacks are after: a file with the canary, and a
// script that leaves a mark when it is run.
type trap struct{ dir, secret, script, mark string }

func newTrap(t *testing.T) trap {
	t.Helper()
	dir := t.TempDir()
	p := trap{dir, filepath.Join(dir, "secret"), filepath.Join(dir, "script"), filepath.Join(dir, "mark")}
	require.NoError(t, os.WriteFile(p.secret, []byte(canary+" "+canary+"\n"), 0o600))
	require.NoError(t, os.WriteFile(p.script, []byte("#!/bin/sh\necho ran >"+p.mark+"\nexec \"$@\"\n"), 0o700))
	return p
}

// with puts the trap's paths into a text.
func (p trap) with(text string) string {
	return strings.NewReplacer("SECRET", p.secret, "SCRIPT", p.script, "TRAP", p.dir).Replace(text)
}

// attacks are packages that passed everything before the build. planted is what they
// hold besides what was checked; a value "-> PATH" is a link.
var attacks = map[string]struct {
	planted files
	mod     string // added to the alternative go.mod
	works   bool   // it builds, without what the attacker wanted
}{
	"version control runs a command": {
		planted: files{".git/config": "[core]\n\tfsmonitor = SCRIPT\n\trepositoryformatversion = 0\n", ".git/HEAD": "ref: refs/heads/x\n", ".git/objects/x": "", ".git/refs/x": ""},
		works:   true,
	},
	"go generate": {planted: files{"gen.go": "package p\n\n//go:generate SCRIPT\n"}, works: true},
	"workspace": {
		planted: files{"go.work": "go 1.24\n\nuse (\n\t.\n\tTRAP/victim\n)\n", "w.go": "package p\n\nimport _ \"example.com/victim\"\n"},
	},
	"replacement outside": {
		planted: files{"r.go": "package p\n\nimport _ \"example.com/victim\"\n"},
		mod:     "require example.com/victim v0.0.0\nreplace example.com/victim => TRAP/victim\n",
	},
	"linked Go file":       {planted: files{"q.go": "-> SECRET"}},
	"linked go.mod":        {planted: files{"lib/go.mod": "-> SECRET", "l.go": "package p\n\nimport _ \"example.com/lib\"\n"}, mod: "require example.com/lib v0.0.0\nreplace example.com/lib => ./lib\n"},
	"linked folder":        {planted: files{"sub": "-> TRAP/victim", "l.go": "package p\n\nimport _ \"example.com/app/sub\"\n"}},
	"assembly":             {planted: files{"a.s": "#include \"SECRET\"\n"}},
	"linked assembly":      {planted: files{"a.s": "-> SECRET"}, works: true}, // it is left out
	"assembly of a header": {planted: files{"a.s": "#include \"h.h\"\n", "h.h": "-> SECRET"}},
	"embedded link":        {planted: files{"e.go": "package p\n\nimport _ \"embed\"\n\n//go:embed data\nvar data string\n", "data": "-> SECRET"}},
	"embedded path":        {planted: files{"e.go": "package p\n\nimport _ \"embed\"\n\n//go:embed SECRET\nvar data string\n"}},
	"line directive":       {planted: files{"d.go": "package p\n\n//line SECRET:1\nvar x int = \"s\"\n"}},
	"cgo includes": {
		planted: files{"c.go": "package p\n\n// #include \"SECRET\"\n// #cgo CFLAGS: -fplugin=SCRIPT -include SECRET\n// #cgo LDFLAGS: -fuse-ld=SCRIPT\nimport \"C\"\n"},
		works:   true, // such files do not join the build
	},
	"cgo directives without cgo": {planted: files{"c.go": "package p\n\n//go:cgo_ldflag \"-fuse-ld=SCRIPT\"\n\nfunc x()\n"}},
	"linked object":              {planted: files{"x.syso": "-> SECRET"}},
	"toolchain of a dependency":  {planted: files{"lib/go.mod": "module example.com/lib\n\ngo 1.99\n\ntoolchain go1.99.0\n", "lib/l.go": "package lib\n", "l.go": "package p\n\nimport _ \"example.com/lib\"\n"}, mod: "require example.com/lib v0.0.0\nreplace example.com/lib => ./lib\n"},
}

func TestBuildAttacksReachNothing(t *testing.T) {
	for name, c := range attacks {
		t.Run(name, func(t *testing.T) {
			p := newTrap(t)
			require.NoError(t, os.Mkdir(filepath.Join(p.dir, "victim"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "victim", "go.mod"), []byte("module example.com/victim\n\ngo 1.24\n"), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "victim", "v.go"), []byte("package victim\n\nfunc init() { println(\""+canary+"\") }\n"), 0o600))
			spec := files{"go.mod": gomod, "p.go": head1 + ")\n\n" + fn + "}\n"}.spec(t, ".", "F")
			for path, content := range c.planted {
				path = filepath.Join(spec.Root, path)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
				if target, link := strings.CutPrefix(p.with(content), "-> "); link {
					require.NoError(t, os.Symlink(target, path))
				} else {
					require.NoError(t, os.WriteFile(path, []byte(p.with(content)), 0o600))
				}
			}
			spec.Generated.GoMod = append(spec.Generated.GoMod, p.with(c.mod)...)
			err := builder.Build(t.Context(), spec)
			assert.NoFileExists(t, p.mark, "a command was run")
			if c.works {
				require.NoError(t, err)
				program, err := os.ReadFile(spec.Out)
				require.NoError(t, err)
				assert.NotContains(t, string(program), canary)
				return
			}
			require.Error(t, err)
			t.Log(err)
			assert.NotContains(t, err.Error(), canary)
		})
	}
}

// The agent's own environment and settings are not those of its builds.
func TestSettingsOfTheAgentsUserRunNothing(t *testing.T) {
	p := newTrap(t)
	config := filepath.Join(p.dir, "go")
	require.NoError(t, os.Mkdir(config, 0o700))
	env := filepath.Join(config, "env")
	require.NoError(t, os.WriteFile(env, []byte("GOFLAGS=-toolexec="+p.script+"\n"), 0o600))
	t.Setenv("HOME", p.dir)
	t.Setenv("XDG_CONFIG_HOME", p.dir)
	t.Setenv("GOENV", env)
	t.Setenv("GOFLAGS", "-toolexec="+p.script)
	t.Setenv("SECRET", canary)
	spec := files{"p.go": head1 + ")\n\n" + fn + " println(`settings`) }\n"}.spec(t, ".", "F")
	require.NoError(t, builder.Build(t.Context(), spec))
	assert.NoFileExists(t, p.mark)
}

// through returns a builder with the caches of all tests and a proxy of its own.
func through(t *testing.T, proxy string) *Builder {
	t.Helper()
	b, err := New(Config{Dir: filepath.Dir(builder.modCache), Proxy: proxy, SumDB: "off"})
	require.NoError(t, err)
	close(b.tried)
	return b
}

func TestModulesComeFromTheProxyAlone(t *testing.T) {
	// Where the go command would look for a module of this path by itself.
	dialled := make(chan struct{}, 1)
	if direct, err := net.Listen("tcp", "127.0.0.1:443"); err == nil {
		var accepting sync.WaitGroup
		defer accepting.Wait()
		defer direct.Close()
		accepting.Go(func() {
			if conn, err := direct.Accept(); err == nil {
				conn.Close()
				dialled <- struct{}{}
			}
		})
	}
	proxy := newProxy(t)
	spec := files{
		"go.mod": gomod + "\nrequire 127.0.0.1/victim v1.0.0\n", "go.sum": "127.0.0.1/victim v1.0.0 h1:x\n127.0.0.1/victim v1.0.0/go.mod h1:x\n",
		"p.go": head1 + "\t_ \"127.0.0.1/victim\"\n)\n\n" + fn + "}\n",
	}.spec(t, ".", "F")
	err := through(t, proxy.URL+",direct").Build(t.Context(), spec)
	require.Error(t, err)
	t.Log(err)
	assert.NotEmpty(t, proxy.paths)
	for _, path := range proxy.paths {
		assert.True(t, strings.HasPrefix(path, "/127.0.0.1/victim/"), path)
	}
	select {
	case <-dialled:
		assert.Fail(t, "the host that a module's path names was dialled")
	default:
	}
}

func TestAnswersOfTheCacheNeedNoProxy(t *testing.T) {
	proxy := newProxy(t)
	spec := files{"p.go": head1 + ")\n\n" + fn + " println(`no proxy`) }\n"}.spec(t, ".", "F")
	require.NoError(t, through(t, proxy.URL).Build(t.Context(), spec))
	assert.Empty(t, proxy.paths)
}

// go runs the go command in one of the sandboxes, with a proxy.
func goIn(t *testing.T, rules confine.Rules, proxy string, args ...string) string {
	t.Helper()
	spec := files{"go.mod": gomod, "p.go": head1 + ")\n\n" + fn + "}\n"}.spec(t, ".", "F")
	cmd := &command{Args: args, Dir: spec.Root, Env: append(builder.env, "GOPROXY="+proxy, "GOSUMDB=off", "PWD="+spec.Root)}
	output, err := builder.runGroup(t.Context(), cmd, with(rules, spec), new(pace), io.Discard)
	require.Error(t, err)
	return output
}

func TestPhasesHaveTheNetworkTheyNeed(t *testing.T) {
	proxy, other := newProxy(t), newProxy(t)
	b := through(t, proxy.URL)
	download := []string{"mod", "download", "example.com/x@v1.0.0"}
	assert.Contains(t, goIn(t, b.sandbox.compile, proxy.URL, download...), "permission denied")
	assert.Empty(t, proxy.paths)
	assert.Contains(t, goIn(t, b.sandbox.fetch, proxy.URL, download...), "404 Not Found")
	assert.NotEmpty(t, proxy.paths)
	assert.Contains(t, goIn(t, b.sandbox.fetch, other.URL, download...), "permission denied")
	assert.Empty(t, other.paths)
}

func TestSandboxesHoldNothingElse(t *testing.T) {
	p := newTrap(t)
	for name, rules := range map[string]confine.Rules{"compile": builder.sandbox.compile, "fetch": builder.sandbox.fetch} {
		for _, path := range []string{p.secret, "/etc/passwd", "/proc/self/environ", "/proc/1/cmdline", os.Args[0]} {
			said := goIn(t, rules, "off", "tool", "compile", "-o", os.DevNull, path)
			assert.Contains(t, said, "permission denied", name)
			assert.NotContains(t, said, canary)
		}
		assert.Contains(t, goIn(t, rules, "off", "mod", "edit", "-go=1.25"), "permission denied", "the source is not written to")
		assert.Contains(t, goIn(t, rules, "off", "build", "-toolexec="+p.script, "std"), "permission denied", name)
	}
	assert.NoFileExists(t, p.mark)
	assert.Contains(t, goIn(t, builder.sandbox.compile, "off", "build", "-o", filepath.Join(p.dir, "out"), "errors"), "permission denied")
}

// What was built may lie where builds write to, and is not run there.
func TestBuildsRunNothingThatTheyMade(t *testing.T) {
	spec := Spec{Root: t.TempDir(), Work: t.TempDir()}
	require.NoError(t, os.WriteFile(filepath.Join(spec.Root, "main.go"), []byte("package main\n\nfunc main() { println(`ran`) }\n"), 0o600))
	cmd := &command{Args: []string{"run", "-trimpath", "main.go"}, Dir: spec.Root, Env: append(builder.env, "GOPROXY=off", "GOTMPDIR="+spec.Work)}
	output, err := builder.runGroup(t.Context(), cmd, with(builder.sandbox.compile, spec), new(pace), io.Discard)
	require.Error(t, err)
	assert.Contains(t, output, "permission denied")
	assert.NotContains(t, output, "ran")
}

func TestCompilersCannotChangeModules(t *testing.T) {
	output := goIn(t, builder.sandbox.compile, "off", "clean", "-modcache")
	assert.Contains(t, output, "permission denied")
}

// bombs make compilers busy or large.
func bombs() map[string]string {
	var generics, constants strings.Builder
	constants.WriteString("const c0 = \"0123456789abcdef\"\n")
	for i := range 28 {
		fmt.Fprintf(&constants, "const c%d = c%d + c%d\n", i+1, i, i)
		fmt.Fprintf(&generics, "func f%d[T any](x T) { f%d(struct{ a, b T }{x, x}); f%d([2]T{x, x}); f%d(map[string]T{}) }\n", i, i+1, i+1, i+1)
	}
	generics.WriteString("func f28[T any](x T) {}\n\nfunc init() { f0(1) }\n")
	return map[string]string{
		"constants": constants.String() + "\nfunc init() { println(c28) }\n",
		"generics":  generics.String(),
		"array":     "var big = [1 << 28]byte{1<<28 - 1: 1}\n\nfunc init() { println(&big) }\n",
	}
}

func TestBombsEndWithinLimits(t *testing.T) {
	whole := limits.Data
	limits.Data = 512 << 20 // as with the whole, but sooner
	t.Cleanup(func() { limits.Data = whole })
	for name, code := range bombs() {
		t.Run(name, func(t *testing.T) {
			spec := files{"p.go": head1 + ")\n\n" + fn + "}\n\n" + code}.spec(t, ".", "F")
			before, began := residentBytes(t), time.Now()
			err := builder.Build(t.Context(), spec)
			t.Logf("%s: %v", time.Since(began), err)
			require.Error(t, err)
			assert.Contains(t, []string{faults[2].means, faults[3].means, largeFile}, err.Error())
			assert.Less(t, residentBytes(t)-before, 50<<20, "of the agent")
			assert.Empty(t, compilers(t, spec))
		})
	}
}

// residentBytes is the memory of this process.
func residentBytes(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	var size, resident int
	_, err = fmt.Sscan(string(text), &size, &resident)
	require.NoError(t, err)
	return resident * unix.Getpagesize()
}

// compilers are the running processes that work for a spec.
func compilers(t *testing.T, spec Spec) (found []string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, name := range names {
		if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), filepath.Dir(spec.Root)) {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

// helperRoot is set for a process that builds until it is killed.
const helperRoot = "BUILD_HELPER_ROOT"

// TestHelperBuilds is the agent of the next test.
func TestHelperBuilds(t *testing.T) {
	base := os.Getenv(helperRoot)
	if base == "" {
		t.Skip("it is started by a test")
	}
	spec := Spec{Root: filepath.Join(base, "root"), Work: filepath.Join(base, "work"), Out: filepath.Join(base, "fn")}
	generated, err := os.ReadFile(filepath.Join(base, "generated"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(generated, &spec.Generated))
	_ = builder.Build(t.Context(), spec)
}

func TestNoCompilerOutlivesTheAgent(t *testing.T) {
	spec := files{"p.go": head1 + ")\n\n" + fn + "}\n\n" + bombs()["generics"]}.spec(t, ".", "F")
	base := filepath.Dir(spec.Root)
	generated, err := json.Marshal(spec.Generated)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(base, "generated"), generated, 0o600))
	<-builder.Warm() // else the agent would fill the cache first
	agent := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelperBuilds$")
	agent.Env = append(os.Environ(), helperRoot+"="+base)
	require.NoError(t, agent.Start())
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(compilers(t, spec), func(cmdline string) bool { return strings.Contains(cmdline, "tool/"+runtime.GOOS) })
	}, patience, 5*time.Millisecond)
	require.NoError(t, agent.Process.Kill())
	_ = agent.Wait()
	began := time.Now()
	require.Eventually(t, func() bool { return len(compilers(t, spec)) == 0 }, 10*time.Second, time.Millisecond, "they would go on for a minute")
	t.Log("the last one ended after", time.Since(began))
}

func TestNoCompilerOutlivesItsBuild(t *testing.T) {
	spec := files{"p.go": head1 + ")\n\n" + fn + "}\n\n" + bombs()["generics"]}.spec(t, ".", "F")
	b := through(t, "off")
	b.wallLimit = 2 * time.Second
	require.ErrorIs(t, b.Build(t.Context(), spec), proto.ErrTimeout)
	assert.Eventually(t, func() bool { return len(compilers(t, spec)) == 0 }, patience, 5*time.Millisecond)
}

func TestPinned(t *testing.T) {
	for list, want := range map[string]string{
		"https://modules.example,direct":       "https://modules.example",
		"direct":                               "off",
		"":                                     "off",
		"off":                                  "off",
		"https://a|direct,https://b":           "https://a|https://b",
		"direct, https://b:8443|file:///m,off": "https://b:8443|file:///m,off",
	} {
		assert.Equal(t, want, pinned(list), list)
	}
}

func TestSources(t *testing.T) {
	ports, folders, err := sources("https://a,http://b|http://c:8080,file:///srv/modules,off", "sums.example")
	require.NoError(t, err)
	assert.Equal(t, []uint16{53, 443, 443, 80, 8080}, ports)
	assert.Equal(t, []string{"/srv/modules"}, folders)
	ports, _, err = sources("off", "name+key https://sums:444/x")
	require.NoError(t, err)
	assert.Equal(t, []uint16{53, 444}, ports)
	for _, bad := range []string{"https://a:b", "https://a:99999", "ftp://a"} {
		_, _, err = sources(bad, "off")
		require.Error(t, err, bad)
	}
}

func TestNetworkOf(t *testing.T) {
	env := map[string]string{
		"HTTPS_PROXY": "https://a", "https_proxy": "b:3128", "HTTP_PROXY": "socks5://c", "http_proxy": "d", "NO_PROXY": "e", "PATH": "/bin",
		"SSL_CERT_FILE": "/certs/own.pem", "SSL_CERT_DIR": "/certs/a:/certs/b",
	}
	n, err := networkOf(func(name string) string { return env[name] })
	require.NoError(t, err)
	assert.Equal(t, []uint16{443, 3128, 1080, 80}, n.ports)
	assert.Equal(t, []string{"/certs/own.pem", "/certs/a", "/certs/b"}, n.files)
	assert.Len(t, n.env, 7)
	_, err = networkOf(func(string) string { return "http://user:secret@a:b" })
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "secret")
}
