package build

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	head1 = "package p\n\nimport (\n\t\"net/http\"\n"
	fn    = "func F(w http.ResponseWriter, r *http.Request) {"
	gomod = "module example.com/app\n\ngo 1.24\n"
)

func TestBuildMakesAProgram(t *testing.T) {
	spec := files{"p.go": head1 + ")\n\n" + fn + "}\n"}.spec(t, ".", "F")
	before := list(t, spec.Root)
	require.NoError(t, builder.Build(t.Context(), spec))
	info, err := buildinfo.ReadFile(spec.Out)
	require.NoError(t, err)
	assert.Equal(t, builder.Platform().GoVersion, info.GoVersion)
	for _, s := range info.Settings {
		assert.NotContains(t, s.Value, spec.Root, s.Key)
	}
	stat, err := os.Stat(spec.Out)
	require.NoError(t, err)
	assert.NotZero(t, stat.Mode()&0o100, "it can be run")
	assert.Equal(t, before, list(t, spec.Root), "the user's tree is as it was")
	select {
	case <-builder.Warm():
	default:
		assert.Fail(t, "not warm after a build")
	}
}

// There is nothing but what came with the agent. Two agents in two folders, with caches
// of their own, give the same bytes.
func TestBuildWithoutNetworkAndCaches(t *testing.T) {
	modules, dir := t.TempDir(), t.TempDir()
	output, err := exec.CommandContext(t.Context(), "sh", "modules.sh", modules).CombinedOutput()
	require.NoError(t, err, string(output))
	if testing.Short() { // half a minute less
		require.NoError(t, os.Symlink(filepath.Join(filepath.Dir(builder.modCache), "gocache"), filepath.Join(dir, "gocache")))
	}
	b, err := New(Config{Dir: dir, Proxy: "off", SumDB: "off", Modules: os.DirFS(modules)})
	require.NoError(t, err)
	run(t, b)
	for name, src := range map[string]files{
		"no go.mod": {"in/p.go": head1 + ")\n\n" + fn + "}\n"},
		"workspace": {
			"go.work":    "go 1.24\n\nuse (\n\t./in\n\t./lib\n)\n",
			"in/go.mod":  gomod,
			"in/p.go":    head1 + "\n\t\"example.com/lib\"\n)\n\n" + fn + " lib.L() }\n",
			"lib/go.mod": "module example.com/lib\n\ngo 1.24\n",
			"lib/l.go":   "package lib\n\nfunc L() { panic(1) }\n",
		},
		"vendor": {
			"in/go.mod":                        gomod + "\nrequire example.com/lib v1.0.0\n",
			"in/p.go":                          head1 + "\n\t\"example.com/lib\"\n)\n\n" + fn + " lib.L() }\n",
			"in/vendor/modules.txt":            "# example.com/lib v1.0.0\n## explicit; go 1.24\nexample.com/lib\n",
			"in/vendor/example.com/lib/lib.go": "package lib\n\nfunc L() { panic(1) }\n",
		},
	} {
		one, two := src.spec(t, "in", "F"), src.spec(t, "in", "F")
		require.NoError(t, b.Build(t.Context(), one), name)
		require.NoError(t, builder.Build(t.Context(), two), name)
		assert.Equal(t, sum(t, one.Out), sum(t, two.Out), name)
	}
}

func sum(t *testing.T, file string) [sha256.Size]byte {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	return sha256.Sum256(data)
}

func list(t *testing.T, root string) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	return names
}

func TestSameSourceGivesSameProgram(t *testing.T) {
	var sums [2][sha256.Size]byte
	for i := range sums {
		spec := files{"go.mod": gomod, "in/p.go": head1 + ")\n\n" + fn + "}\n"}.spec(t, "in", "F")
		require.NoError(t, builder.Build(t.Context(), spec))
		sums[i] = sum(t, spec.Out)
	}
	assert.Equal(t, sums[0], sums[1])
}

func TestTagsAndLinkerFlags(t *testing.T) {
	src := files{
		"p.go":      head1 + ")\n\nvar version string\n\n" + fn + " w.Write([]byte(version + tagged)) }\n",
		"tagged.go": "//go:build special\n\npackage p\n\nconst tagged = \"\"\n",
	}
	spec := src.spec(t, ".", "F")
	spec.Tags = []string{"special", "other"}
	spec.Ldflags = "-X p.version=from-the-linker -X=p.unused=1"
	require.NoError(t, builder.Build(t.Context(), spec))
	program, err := os.ReadFile(spec.Out)
	require.NoError(t, err)
	assert.Contains(t, string(program), "from-the-linker")

	var failure *Failure
	require.ErrorAs(t, builder.Build(t.Context(), src.spec(t, ".", "F")), &failure)
	assert.Contains(t, failure.Output, "undefined: tagged")
}

// The module lib2 is in no go.mod that the go command may read in mode readonly.
func TestBuildUpdatesTheAlternativeGoModAlone(t *testing.T) {
	mod := gomod + "\nrequire example.com/lib v0.0.0\n\nreplace example.com/lib => ./lib\n\nreplace example.com/lib2 => ./lib2\n"
	spec := files{
		"go.mod": mod, "p.go": head1 + "\n\t\"example.com/lib\"\n)\n\n" + fn + " lib.L() }\n",
		"lib/go.mod":  "module example.com/lib\n\ngo 1.24\n\nrequire example.com/lib2 v0.0.0\n",
		"lib/l.go":    "package lib\n\nimport \"example.com/lib2\"\n\nfunc L() { lib2.L() }\n",
		"lib2/go.mod": "module example.com/lib2\n\ngo 1.24\n",
		"lib2/l.go":   "package lib2\n\nfunc L() {}\n",
	}.spec(t, ".", "F")
	require.NoError(t, builder.Build(t.Context(), spec))
	after, err := os.ReadFile(filepath.Join(spec.Root, "go.mod"))
	require.NoError(t, err)
	assert.Equal(t, mod, string(after))
}

func TestFailuresSpeakOfTheUsersFiles(t *testing.T) {
	for name, c := range map[string]struct {
		src  files
		dir  string
		want string
	}{
		"type": {
			files{"p.go": head1 + ")\n\n" + fn + " var x int = \"s\" }\n"}, ".",
			"p.go:7:54: declared and not used: x\np.go:7:62: cannot use \"s\" (untyped string constant) as int value in variable declaration",
		},
		"in a module in a folder": {
			files{"app/go.mod": gomod, "app/in/p.go": head1 + "\t\"os\"\n)\n\n" + fn + "}\n"}, "app/in",
			`app/in/p.go:5:2: "os" imported and not used`,
		},
		"in a local module": {
			files{
				"go.mod":   gomod + "\nrequire example.com/lib v0.0.0\n\nreplace example.com/lib => ./lib\n",
				"p.go":     head1 + "\n\t\"example.com/lib\"\n)\n\n" + fn + " lib.L() }\n",
				"lib/l.go": "package lib\n\nfunc L() { x }\n", "lib/go.mod": "module example.com/lib\n\ngo 1.24\n",
			}, ".",
			"lib/l.go:3:12: undefined: x",
		},
		"not a handler": {
			files{"p.go": head1 + ")\n\ntype W = *http.ResponseWriter\n\nfunc F(w W, r *http.Request) {}\n"}, ".",
			`p.go:9:6: cannot use F (value of type func(w p.W, r *"net/http".Request)) as func("net/http".ResponseWriter, *"net/http".Request) value`,
		},
		"cycle": {
			files{
				"go.mod": gomod, "p.go": head1 + "\n\t\"example.com/app/q\"\n)\n\n" + fn + " q.Q() }\n",
				"q/q.go": "package q\n\nimport \"example.com/app\"\n\nfunc Q() { app.F(nil, nil) }\n",
			}, ".",
			"package example.com/app\n\timports example.com/app/q from p.go\n\timports example.com/app from q.go: import cycle not allowed",
		},
		"no such package, no go.mod": {
			files{"p.go": head1 + "\t\"example.org/y\"\n)\n\n" + fn + " y.Z() }\n"}, ".",
			`p.go:5:2: package example.org/y is not in the standard library, and there is no go.mod; run "go mod init example.com/p && go mod tidy" in the function's folder`,
		},
		"a package of its own, no go.mod": {
			files{"p.go": head1 + "\t\"q/sub\"\n)\n\n" + fn + " sub.Z() }\n", "sub/s.go": "package sub\n"}, ".",
			`p.go:5:2: package q/sub is not in the standard library, and there is no go.mod; run "go mod init example.com/p && go mod tidy" in the function's folder, and import packages of it by that path`,
		},
		"not vendored": {
			files{
				"go.mod": "module example.com/app\n\ngo 1.24\n\nrequire (\n\texample.org/x v1.0.0\n\texample.org/y v1.0.0\n)\n", "p.go": head1 + "\t\"example.org/x\"\n)\n\n" + fn + " x.X() }\n",
				"vendor/modules.txt":        "# example.org/x v1.0.0\n## explicit\nexample.org/x\n# example.org/y v1.0.0\n## explicit\nexample.org/y\n",
				"vendor/example.org/x/x.go": "package x\n\nimport \"example.org/y\"\n\nfunc X() { y.Y() }\n",
			}, ".",
			`vendor/example.org/x/x.go:3:8: package example.org/y is not in the vendor folder; run "go mod vendor" beside it`,
		},
		"no such package": {
			files{"app/go.mod": gomod, "app/p.go": head1 + "\t\"example.org/y\"\n)\n\n" + fn + " y.Z() }\n"}, "app",
			`app/p.go:5:2: no module in go.mod has package example.org/y; run "go get example.org/y" in the function's folder`,
		},
		"no such folder": {
			files{"go.mod": gomod, "p.go": head1 + "\t\"example.com/app/y\"\n)\n\n" + fn + " y.Z() }\n"}, ".",
			"p.go:5:2: package example.com/app/y is missing: its folder in module example.com/app holds no Go files",
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := c.src.spec(t, c.dir, "F")
			err := builder.Build(t.Context(), spec)
			var failure *Failure
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, c.want, failure.Output)
			require.ErrorIs(t, err, proto.ErrInvalid)
			assert.NoFileExists(t, spec.Out)
		})
	}
}

func TestNewWithoutAToolchain(t *testing.T) {
	_, err := New(Config{Go: filepath.Join(t.TempDir(), "go"), Dir: t.TempDir()})
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.NotEmpty(t, proto.AsError(err).Hint)

	_, err = New(Config{Go: "/bin/true", Dir: t.TempDir()})
	require.ErrorIs(t, err, proto.ErrUnavailable)
}

func TestBuildWaitsForThePrewarm(t *testing.T) {
	b, err := New(Config{Dir: t.TempDir()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.Build(ctx, Spec{}), context.Canceled, "Run is not running")
}

func BenchmarkBuild(b *testing.B) {
	<-builder.Warm()
	for b.Loop() {
		b.StopTimer()
		spec := files{"p.go": head1 + ")\n\n" + fn + "}\n// " + strings.Repeat("x", b.N) + "\n"}.spec(b, ".", "F")
		b.StartTimer()
		require.NoError(b, builder.Build(b.Context(), spec))
	}
}
