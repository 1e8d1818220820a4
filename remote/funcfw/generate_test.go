package funcfw_test

import (
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"

	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// generate checks and generates; only Generate may fail.
func generate(t *testing.T, src files, dir, name string, p funcfw.Platform) (*funcfw.Generated, error) {
	t.Helper()
	target, err := funcfw.Check(src.fs(), funcfw.Spec{Dir: dir, Name: name}, p)
	require.NoError(t, err)
	return funcfw.Generate(src.fs(), target, p)
}

// generatedMain is where the main package lies.
const generatedMain = "../zz_ryo/main/main.go"

// served are the functions that a generated main serves.
func served(g *funcfw.Generated) []string {
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\t\t"(.+)": func`).FindAllSubmatch(g.Overlay[generatedMain], -1) {
		names = append(names, string(m[1]))
	}
	return names
}

// manyKinds is a package with a function of each kind, and one that the compiler
// alone can tell.
var manyKinds = files{
	"go.mod": "module a.b/c\n\nrequire github.com/gin-gonic/gin v1.12.0\n",
	"a.go": kinds(handler + `

func init() { functions.HTTP("Declared", F) }

type Order struct{ ID string }

func Gin(c *gin.Context)                                   {}
func Cloud(ctx context.Context, e cloudevents.Event) error { return nil }
func Background(ctx context.Context, o Order) error        { return nil }
func Typed(o Order) (Order, error)                         { return o, nil }`),
	"b.go": "package p\n\nvar Unsure = F\n\nfunc None(int, int) {}\n",
}

func TestFunctionsOfAPackageShareAProgram(t *testing.T) {
	all, err := generate(t, manyKinds, ".", "F", linux)
	require.NoError(t, err)
	assert.Equal(t, []string{"Background", "Cloud", "Declared", "F", "Gin", "Typed"}, served(all))
	for _, name := range []string{"Background", "Cloud", "Declared", "Gin", "Typed"} {
		g, err := generate(t, manyKinds, ".", name, linux)
		require.NoError(t, err)
		assert.Equal(t, all, g, name)
	}
	unsure, err := generate(t, manyKinds, ".", "Unsure", linux)
	require.NoError(t, err)
	assert.Equal(t, []string{"Background", "Cloud", "Declared", "F", "Gin", "Typed", "Unsure"}, served(unsure))
}

func TestFunctionsThatDoNotTakePart(t *testing.T) {
	more := func(names ...string) files {
		src := withHTTP(handler)
		for _, name := range names {
			src += strings.Replace(handler, "F", name, 1) + "\n"
		}
		return files{"a.go": src}
	}
	many := make([]string, 32)
	for i := range many {
		many[i] = fmt.Sprint("G", i)
	}
	for name, c := range map[string]struct {
		src  files
		want []string
	}{
		"alone":                                {more(), []string{"F"}},
		"another":                              {more("G"), []string{"F", "G"}},
		"names that differ in case":            {more("Gg", "GG"), []string{"F", "GG", "Gg"}},
		"the same, of the target":              {files{"a.go": withHTTP(handler + "\nfunc \u017f(int) {}")}, []string{"F"}},
		"a gin function without gin":           {files{"a.go": kinds(handler + "\nfunc G(*gin.Context) {}")}, []string{"F"}},
		"as many as there may be":              {more(many[1:]...), append([]string{"F"}, many[1:]...)},
		"a library":                            {more(many...), []string{"F"}},
		"a function that is none":              {files{"a.go": withHTTP(handler + "\nfunc G() {}")}, []string{"F"}},
		"one that the compiler alone can tell": {files{"a.go": withHTTP(handler + "\ntype R = http.Request\nfunc G(http.ResponseWriter, *R) {}")}, []string{"F"}},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := generate(t, c.src, ".", "F", linux)
			require.NoError(t, err)
			assert.ElementsMatch(t, c.want, served(g))
		})
	}
}

func TestGenerateAddsFiles(t *testing.T) {
	main := func(name string) string {
		return "package main\n\nimport \"net/http\"\n\nfunc " + name + "(w http.ResponseWriter, r *http.Request) {}\n"
	}
	for _, c := range []struct {
		name, dir  string
		src        files
		root, main string
		adds       []string
		replace    string
	}{
		{"without go.mod", "x", files{"x/a.go": hello}, "x", "hello/zz_ryo_main", []string{generatedMain, "../zz_ryo/main/go.mod", "x/go.mod"}, "../../zz_ryo/"},
		{"at the root", ".", files{"go.mod": "module m\n", "a.go": hello}, ".", "m/zz_ryo_main", []string{generatedMain, "../zz_ryo/main/go.mod"}, "../zz_ryo/"},
		{"in a nested internal", "m/internal/x", files{"m/go.mod": "module m\n", "m/internal/x/a.go": hello}, "m", "m/internal/x/zz_ryo_main", []string{generatedMain, "../zz_ryo/main/go.mod"}, "../../zz_ryo/"},
		{"package main", "x", files{"go.mod": "module m\n", "x/a.go": main("HelloWorld")}, ".", "./x", []string{"x/a.go"}, "../zz_ryo/"},
		{"package main at the root", ".", files{"a.go": main("HelloWorld"), "b.go": "package main\n"}, ".", "./.", []string{"a.go", "go.mod"}, "../zz_ryo/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, err := generate(t, c.src, c.dir, "HelloWorld", linux)
			require.NoError(t, err)
			assert.Equal(t, c.root, g.ModuleRoot)
			assert.Equal(t, c.main, g.Main)
			var adds []string
			for name := range g.Overlay {
				if !strings.HasPrefix(name, "../zz_ryo/runtime/") {
					adds = append(adds, name)
				}
			}
			assert.ElementsMatch(t, c.adds, adds)
			assert.Contains(t, string(g.GoMod), "replace a.ryo.local => "+c.replace+"runtime\n")
		})
	}
}

// Lines of the user's file keep their numbers: only behind its end something is added.
func TestAPackageMainGetsTheMainInItsFirstFile(t *testing.T) {
	text := "\ufeff//go:build !windows\n\n// Package main is mine.\npackage main // import \"a.b/c\"\n\nimport \"net/http\"\n\n" + handler + " // the end"
	g, err := generate(t, files{"a.go": text, "b.go": "package main\n"}, ".", "F", linux)
	require.NoError(t, err)
	got := string(g.Overlay["a.go"])
	head, _, ok := strings.Cut(got, "\n//line zz_ryo_main.go:1\n")
	require.True(t, ok)
	added := regexp.MustCompile(`; import [a-z_]+ "[a-z./]+"`).ReplaceAllString(head, "")
	assert.Equal(t, text, added)
	assert.NotEqual(t, text, head)
}

func TestRuntimeIsComplete(t *testing.T) {
	g, err := generate(t, files{"a.go": hello}, ".", "HelloWorld", linux)
	require.NoError(t, err)
	for _, dir := range []string{"boot", "serve"} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), "_test.go") {
				assert.Contains(t, g.Overlay, path.Join("../zz_ryo/runtime", dir, e.Name()), "embed it")
			}
		}
	}
}

func TestOldToolchains(t *testing.T) {
	p := linux
	p.GoVersion = "go1.24.3"
	g, err := generate(t, files{"a.go": hello}, ".", "HelloWorld", p)
	require.NoError(t, err)
	assert.NotContains(t, string(g.GoMod), "maxprocs", "go1.24 does not know the setting")

	p.GoVersion = "go1.26.8 X:experiment"
	_, err = generate(t, files{"go.mod": "module m\n\ngo 1.26\n", "a.go": hello}, ".", "HelloWorld", p)
	require.NoError(t, err)

	p.GoVersion = "go1.23.9"
	_, err = generate(t, files{"a.go": hello}, ".", "HelloWorld", p)
	assert.EqualError(t, err, "go1.23.9 is too old to build functions")
}

func TestAlternativeGoMod(t *testing.T) {
	g, err := generate(t, files{
		"go.mod": `module a.b/c // mine

go 1.18

toolchain go1.99.0

tool a.b/tool

godebug default=go1.20

require (
	a.b/lib v1.2.3
	a.b/local v0.0.0
	go.uber.org/zap v1.99.0 // indirect
	github.com/json-iterator/go v1.1.10 // indirect
)

exclude a.b/lib v1.2.4

replace a.b/local => ./local
`,
		"local/go.mod": "module a.b/local\n",
		"go.sum":       "a.b/lib v1.2.3 h1:x=\ngo.uber.org/zap v1.28.0 h1:y=\n",
		"p/a.go":       hello,
	}, "p", "HelloWorld", linux)
	require.NoError(t, err)
	f, err := modfile.Parse("go.mod", g.GoMod, nil)
	require.NoError(t, err, string(g.GoMod))

	assert.Equal(t, "a.b/c", f.Module.Mod.Path)
	assert.Equal(t, "1.21", f.Go.Version, "raised to what the framework needs")
	assert.Nil(t, f.Toolchain)
	assert.Empty(t, f.Tool)
	assert.Len(t, f.Godebug, 3, "the user's one, and two that make GOMAXPROCS follow the container's limit")
	assert.Len(t, f.Exclude, 1)
	requires, replaces := map[string]string{}, map[string]string{}
	for _, r := range f.Require {
		requires[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range f.Replace {
		replaces[r.Old.String()] = r.New.String()
	}
	assert.Equal(t, map[string]string{
		"a.b/local":           "./local",
		"a.ryo.local":         "../zz_ryo/runtime",
		"a.b/c/p/zz_ryo_main": "../zz_ryo/main",
		"github.com/GoogleCloudPlatform/functions-framework-go": "github.com/GoogleCloudPlatform/functions-framework-go@v1.9.2",
	}, replaces)
	assert.Equal(t, "v1.2.3", requires["a.b/lib"])
	assert.Equal(t, "v1.99.0", requires["go.uber.org/zap"], "the user's is higher")
	assert.Equal(t, "v1.1.12", requires["github.com/json-iterator/go"], "ours is higher")
	assert.Equal(t, "v1.9.2", requires["github.com/GoogleCloudPlatform/functions-framework-go"])
	assert.Contains(t, requires, "a.ryo.local")

	assert.True(t, strings.HasPrefix(string(g.GoSum), "a.b/lib v1.2.3 h1:x=\ngo.uber.org/zap v1.28.0 h1:y=\n"))
	assert.Contains(t, string(g.GoSum), "github.com/GoogleCloudPlatform/functions-framework-go v1.9.2 h1:")
}

// Editors of some systems begin every text so, and end lines so.
func TestTextsOfOtherSystems(t *testing.T) {
	src := files{
		"go.mod": "module m\n\ngo 1.24\n\nrequire a.b/lib v1.2.3\n", "go.sum": "a.b/lib v1.2.3 h1:x=\n", "p/a.go": hello,
		"vendor/modules.txt": "# a.b/lib v1.2.3\n## explicit; go 1.22\na.b/lib\n", "go.work": "go 1.24\n\nuse .\n", "go.work.sum": "a.b/other v1.0.0 h1:y=\n",
	}
	plain, err := generate(t, src, "p", "HelloWorld", linux)
	require.NoError(t, err)
	marked := files{}
	for name, text := range src {
		marked[name] = "\ufeff" + strings.ReplaceAll(text, "\n", "\r\n")
	}
	g, err := generate(t, marked, "p", "HelloWorld", linux)
	require.NoError(t, err)
	assert.Equal(t, plain, g)
}

func TestTheFrameworkRaisesWhatItMust(t *testing.T) {
	for name, c := range map[string]struct {
		requires string // of the user
		want     map[string]string
		warnings []string
	}{
		"nothing is named": {"", nil, nil},
		"later versions": {
			"go.uber.org/zap v1.99.0\ngolang.org/x/text v0.99.0\ngithub.com/stretchr/testify v1.11.1",
			map[string]string{"go.uber.org/zap": "v1.99.0", "golang.org/x/text": "v0.99.0", "github.com/stretchr/testify": "v1.11.1"}, nil,
		},
		"versions that suffice": {
			"go.uber.org/zap v1.26.0\ngo.uber.org/multierr v1.10.0\ngithub.com/stretchr/testify v1.8.0",
			map[string]string{"go.uber.org/zap": "v1.26.0", "go.uber.org/multierr": "v1.10.0", "github.com/stretchr/testify": "v1.8.0"}, nil,
		},
		"versions that do not": {
			"go.uber.org/zap v1.24.0\ngithub.com/stretchr/testify v1.8.0\ngolang.org/x/text v0.3.0\ngithub.com/json-iterator/go v1.1.10",
			map[string]string{"go.uber.org/zap": "v1.28.0", "github.com/stretchr/testify": "v1.8.1", "golang.org/x/text": "v0.21.0", "github.com/json-iterator/go": "v1.1.12"},
			[]string{
				"github.com/json-iterator/go v1.1.10 → v1.1.12 (the functions framework requires it)",
				"github.com/stretchr/testify v1.8.0 → v1.8.1 (the functions framework requires it)",
				"go.uber.org/zap v1.24.0 → v1.28.0 (the functions framework requires it)",
				"golang.org/x/text v0.3.0 → v0.21.0 (the functions framework requires it)",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := generate(t, files{"go.mod": "module m\n\ngo 1.24\n\nrequire (\n" + c.requires + "\n)\n", "a.go": hello}, ".", "HelloWorld", linux)
			require.NoError(t, err)
			f, err := modfile.Parse("go.mod", g.GoMod, nil)
			require.NoError(t, err)
			got := map[string]string{}
			for _, r := range f.Require {
				got[r.Mod.Path] = r.Mod.Version
			}
			assert.Subset(t, got, c.want)
			assert.NotContains(t, got, "google.golang.org/api", "no program needs it")
			slices.Sort(g.Warnings)
			assert.Equal(t, c.warnings, g.Warnings)
			for _, w := range c.warnings {
				mod, to := strings.Fields(w)[0], strings.Fields(w)[3]
				assert.Contains(t, string(g.GoSum), mod+" "+to+" h1:")
			}
		})
	}
}

func TestLargePackagesAreSaidToBeBuiltApart(t *testing.T) {
	for n, warnings := range map[int]int{32: 0, 33: 1} {
		text := "package p\n\nimport \"net/http\"\n"
		for i := range n {
			text += fmt.Sprintf("\nfunc F%d(w http.ResponseWriter, r *http.Request) {}\n", i)
		}
		g, err := generate(t, files{"a.go": text}, ".", "F0", linux)
		require.NoError(t, err)
		assert.Len(t, g.Warnings, warnings)
	}
}

// The go command raises what the alternative go.mod had not foreseen.
func TestRaised(t *testing.T) {
	lines, err := funcfw.Raised(
		[]byte("module m\n\nrequire (\n\ta.b/c v1.0.0\n\ta.b/d v1.0.0\n\ta.b/e v1.0.0\n\tcloud.google.com/go/functions v1.19.3\n)\n"),
		[]byte("module m\n\nrequire (\n\ta.b/c v1.1.0\n\ta.b/d v1.0.0\n\ta.b/e v1.1.0\n\ta.b/f v1.0.0\n\tcloud.google.com/go/functions v1.25.0\n)\n\nreplace a.b/e => ./e\n"))
	require.NoError(t, err)
	assert.Equal(t, []string{"a.b/c v1.0.0 → v1.1.0 (another module requires it)"}, lines)
}

func TestAlternativeGoModKeepsALaterGoLine(t *testing.T) {
	for _, c := range []struct{ have, want string }{{"", "1.21"}, {"go 1.16\n", "1.21"}, {"go 1.21.3\n", "1.21.3"}, {"go 1.25\n", "1.25"}} {
		g, err := generate(t, files{"go.mod": "module m\n" + c.have, "p/a.go": hello}, "p", "HelloWorld", linux)
		require.NoError(t, err)
		assert.Contains(t, string(g.GoMod), "\ngo "+c.want+"\n")
	}
}

func TestGenerateRefuses(t *testing.T) {
	for name, c := range map[string]struct{ mod, dir, want, fix string }{
		"a later go":              {"module m\n\ngo 1.30", "p", "go.mod:3:1: the module requires go >= 1.30, and go1.26.8 builds it", "newer Go"},
		"a replacement outside":   {"module m\nreplace a.b/c => ../x", "p", "go.mod:2:1: replacement ../x is not in the package that was sent", "both modules"},
		"a replacement missing":   {"module m\nreplace (\n\ta.b/c => ./x\n)", "p", "go.mod:3:2: replacement ./x is not in the package that was sent", ""},
		"an absolute replacement": {"module m\nreplace a.b/c => /x", "p", "go.mod:2:1: replacement /x is an absolute path", "relative"},
		"framework replaced":      {"module m\nreplace github.com/GoogleCloudPlatform/functions-framework-go => example.com/x v1.0.0", "p", "go.mod:2:1: functions-framework-go cannot be replaced: programs are built with the version that was tested", "remove"},
		"a later framework":       {"module m\nrequire github.com/GoogleCloudPlatform/functions-framework-go v1.10.0", "p", "go.mod:2:1: functions-framework-go v1.10.0 has not been tested; programs are built with v1.9.2", "go get github.com/GoogleCloudPlatform/functions-framework-go@v1.9.2"},
		"module main":             {"module main", ".", "go.mod:1:1: a package of path main cannot be imported", "example.com/main"},
		"standard path":           {"module time", ".", "go.mod:1:1: import path time is one of the standard library", "example.com/time"},
		"standard path below":     {"module net", "http", "go.mod:1:1: import path net/http is one of the standard library", ""},
		"the go command's path":   {"module cmd", "p", "go.mod:1:1: import path cmd/p is one of the standard library", ""},
		"the path of a workspace": {"module work", ".", "go.mod:1:1: import path work stands for several packages of the go command", "example.com/work"},
		"the path of tools":       {"module tool", ".", "go.mod:1:1: import path tool stands for several packages of the go command", ""},
		"the path of all":         {"module all", ".", "go.mod:1:1: import path all stands for several packages of the go command", ""},
		"the language's own path": {"module builtin", ".", "go.mod:1:1: import path builtin is one of the standard library", ""},
		"main of such a path":     {"module work", ".", "go.mod:1:1: import path work stands for several packages of the go command", ""},
		"main of a standard path": {"module time", ".", "go.mod:1:1: import path time is one of the standard library", ""},
		"the path of cgo":         {"module C", "p", "go.mod:1:1: import path C/p is one of cgo", ""},
		"a folder no path has":    {"module m", "my fn", `my fn: malformed import path "m/my fn": invalid char ' '`, "rename the folder"},
		"a reserved folder":       {"module m", "p", "zz_ryo: names beginning zz_ryo are reserved", "rename"},
		"no module line":          {"go 1.21", "p", "go.mod: has no module line", "go mod init"},
		"a broken go.mod":         {"module m\n\nfoo bar", "p", "go.mod:3:1: unknown directive: foo", ""},
		"a huge go.mod":           {"module m\n" + strings.Repeat("// x\n", 1<<18), "p", "go.mod: is larger than 1048576 bytes", ""},
		"many modules":            {"module m\n" + manyRequires(1_001), "p", "go.mod: requires more than 1000 modules", ""},
	} {
		t.Run(name, func(t *testing.T) {
			src := files{"go.mod": c.mod, path.Join(c.dir, "a.go"): hello}
			if name == "a reserved folder" {
				src["zz_ryo/x"] = ""
			}
			if strings.HasPrefix(name, "main ") {
				src["a.go"] = strings.Replace(hello, "package hello", "package main", 1)
			}
			_, err := generate(t, src, c.dir, "HelloWorld", linux)
			var refusal *funcfw.Refusal
			require.ErrorAs(t, err, &refusal)
			assert.EqualError(t, err, c.want)
			assert.Contains(t, refusal.Fix, c.fix)
		})
	}
}

func TestSurroundingsBecomeLinesOfGoMod(t *testing.T) {
	g, err := generate(t, files{
		"w/go.work":      "go 1.25\nuse (\n\t./app\n\t./b\n)\nreplace a.b/all => ./all\n",
		"w/go.work.sum":  "a.b/w v1.0.0 h1:w=\n",
		"w/app/go.mod":   "module a.b/app\n\ngo 1.21\n\nrequire a.b/x v1.0.0\n\nreplace a.b/all => ../other\n",
		"w/app/a.go":     hello,
		"w/other/go.mod": "module a.b/all\n",
		"w/all/go.mod":   "module a.b/all\n",
		"w/b/go.mod":     "module a.b/b\n\ngo 1.24\n\nrequire (\n\ta.b/app v0.5.0\n\ta.b/x v1.5.0\n\ta.b/y v1.0.0\n)\n\nreplace a.b/y => a.b/fork v1.0.0\n",
		"w/b/go.sum":     "a.b/x v1.5.0 h1:x=\n",
		"w/vendor/modules.txt": "## workspace\n# a.b/y v1.0.0 => a.b/fork v1.0.0\n## go 1.20\na.b/y\n# github.com/google/uuid v1.6.0\n## explicit\ngithub.com/google/uuid\n" +
			"# a.b/y => a.b/fork v1.0.0\n",
	}, "w/app", "HelloWorld", linux)
	require.NoError(t, err)
	f, err := modfile.Parse("go.mod", g.GoMod, nil)
	require.NoError(t, err, string(g.GoMod))
	assert.Equal(t, "1.24", f.Go.Version, "of the sibling")
	requires, replaces := map[string]string{}, map[string]string{}
	for _, r := range f.Require {
		requires[r.Mod.Path] = r.Mod.Version
	}
	for _, r := range f.Replace {
		replaces[r.Old.Path] = r.New.String()
	}
	assert.Equal(t, "v1.5.0", requires["a.b/x"])
	assert.Equal(t, "v0.0.0", requires["a.b/b"])
	assert.NotContains(t, requires, "a.b/app")
	assert.Equal(t, "../b", replaces["a.b/b"])
	assert.Equal(t, "../all", replaces["a.b/all"], "go.work comes before go.mod")
	assert.Equal(t, "../vendor/a.b/y", replaces["a.b/y"])
	assert.NotContains(t, replaces, "github.com/google/uuid")
	assert.Equal(t, "module a.b/y\n\ngo 1.20\n", string(g.Overlay["w/vendor/a.b/y/go.mod"]))
	assert.Contains(t, string(g.GoSum), "a.b/x v1.5.0 h1:x=\na.b/w v1.0.0 h1:w=\n")
}

func TestGenerateRefusesSurroundings(t *testing.T) {
	const mod = "module m\n\ngo 1.24\n\nrequire a.b/c v1.0.0\n"
	for name, c := range map[string]struct {
		src  files
		want string
	}{
		"a go.work that does not parse":      {files{"go.work": "go 1.26\nuse\n"}, "go.work:2:1: usage: use local/dir"},
		"a module that was not sent":         {files{"go.work": "go 1.26\nuse .\nuse ./b\n"}, "go.work:3:1: ./b is not in the package that was sent"},
		"a module above":                     {files{"go.work": "go 1.26\nuse .\nuse ../b\n"}, "go.work:3:1: ../b is not in the package that was sent"},
		"an absolute module":                 {files{"go.work": "go 1.26\nuse .\nuse /etc\n"}, "go.work:3:1: /etc is not in the package that was sent"},
		"a replacement of go.work":           {files{"go.work": "go 1.26\nuse .\nreplace a.b/c => ../c\n"}, "go.work:3:1: replacement ../c is not in the package that was sent"},
		"a replacement of a sibling":         {files{"go.work": "go 1.26\nuse .\nuse ./b\n", "b/go.mod": "module b\nreplace a.b/c => ../../c\n"}, "b/go.mod:2:1: replacement ../../c is not in the package that was sent"},
		"a sibling without a module line":    {files{"go.work": "go 1.26\nuse .\nuse ./b\n", "b/go.mod": ""}, "b/go.mod: has no module line"},
		"a sibling's go line":                {files{"go.work": "go 1.26\nuse .\nuse ./b\n", "b/go.mod": "module b\ngo 1.30\n"}, "b/go.mod:2:1: the module requires go >= 1.30, and go1.26.8 builds it"},
		"a vendored path that leads out":     {files{"vendor/modules.txt": "# ../../etc v1.0.0\n"}, "vendor/modules.txt:1:1: is not as go mod vendor writes it"},
		"a vendored version that is none":    {files{"vendor/modules.txt": "\n# a.b/c x\n"}, "vendor/modules.txt:2:1: is not as go mod vendor writes it"},
		"a vendored version of another time": {files{"vendor/modules.txt": "# a.b/c v1.1.0\n"}, "vendor/modules.txt:1:1: has a.b/c v1.1.0, and go.mod requires v1.0.0"},
		"a vendored go line":                 {files{"vendor/modules.txt": "# a.b/c v1.0.0\n## explicit; go 1.30\n"}, "vendor/modules.txt:1:1: module a.b/c requires go >= 1.30, and go1.26.8 builds it"},
		"many vendored modules":              {files{"vendor/modules.txt": strings.Repeat("# a.b/c v1.0.0\n", 1_001)}, "vendor/modules.txt: has more than 1000 modules"},
		"the framework, vendored and later":  {files{"go.mod": mod + "require github.com/GoogleCloudPlatform/functions-framework-go v1.10.0\n", "vendor/modules.txt": "# github.com/GoogleCloudPlatform/functions-framework-go v1.10.0\n"}, "go.mod:6:1: functions-framework-go v1.10.0 has not been tested; programs are built with v1.9.2"},
	} {
		t.Run(name, func(t *testing.T) {
			src := files{"go.mod": mod, "p/a.go": hello}
			maps.Copy(src, c.src)
			_, err := generate(t, src, "p", "HelloWorld", linux)
			var refusal *funcfw.Refusal
			require.ErrorAs(t, err, &refusal)
			assert.EqualError(t, err, c.want)
		})
	}
}

func FuzzGenerateWithSurroundings(f *testing.F) {
	f.Add("go 1.26\nuse .\nuse ./b\nreplace a.b/c => ./c\n", "module b\n\nrequire a.b/c v1.0.0\n", "# a.b/c v1.0.0 => a.b/d v1.0.0\n## explicit; go 1.20\na.b/c\n")
	f.Add("go 1.26\nuse ./x/..\n", "", "## workspace\n# ../x v1.0.0\n")
	f.Fuzz(func(t *testing.T, work, sibling, vendor string) {
		src := files{"go.mod": "module m\n\ngo 1.24\n", "a.go": hello, "go.work": work, "b/go.mod": sibling, "vendor/modules.txt": vendor}
		target, err := funcfw.Check(src.fs(), funcfw.Spec{Dir: ".", Name: "HelloWorld"}, linux)
		require.NoError(t, err)
		g, err := funcfw.Generate(src.fs(), target, linux)
		if err != nil {
			require.ErrorAs(t, err, new(*funcfw.Refusal))
			return
		}
		for name := range g.Overlay {
			assert.NotContains(t, src, name)
		}
		_, err = g.Layout("/a/src", "/work")
		require.NoError(t, err)
		_, err = modfile.Parse("go.mod", g.GoMod, nil)
		require.NoError(t, err, string(g.GoMod))
	})
}

func manyRequires(n int) string {
	return "require (\n" + strings.Repeat("\ta.b/c v1.0.0\n", n) + ")\n"
}

func TestModulesThatAreNotImported(t *testing.T) {
	for _, mod := range []string{"module time/x", "module main", "module main/x", "module cmd/x"} {
		_, err := generate(t, files{"go.mod": mod, "a.go": strings.Replace(hello, "package hello", "package main", 1)}, ".", "HelloWorld", linux)
		assert.NoError(t, err, mod)
	}
}
