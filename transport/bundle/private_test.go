package bundle

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// packPrivate packs the package in app, with the module cache beside it.
func packPrivate(t *testing.T, files map[string]string) (map[string]string, error) {
	t.Helper()
	top := folder(t, files)
	store, err := OpenStore(t.TempDir(), 1<<20)
	require.NoError(t, err)
	store.Private = Modules{Cache: filepath.Join(top, "cache"), Private: "corp.example,*.corp.example"}
	_, p, err := store.Resolve(t.Context(), &proto.FunctionJson{Dir: filepath.Join(top, "app", "fn")})
	if err != nil {
		return nil, err
	}
	dst := filepath.Join(t.TempDir(), "x")
	require.NoError(t, Extract(t.Context(), p.Path, dst, DefaultLimits))
	return contents(t, dst), nil
}

func TestPackTakesPrivateModulesAlong(t *testing.T) {
	got, err := packPrivate(t, map[string]string{
		"go.work":      "go 1.26\nuse (\n\t./app\n\t./lib\n)\n",
		"app/go.mod":   goMod + "require (\n\tcorp.example/Big v1.0.0\n\tcorp.example/Big/sub v1.1.0\n\tgit.corp.example/x v1.0.0\n\tcorp.example/unused v1.0.0\n\texample.com/public v1.0.0\n)\nreplace git.corp.example/x => corp.example/y v0.2.0\n",
		"app/fn/a.go":  "package fn\nimport (\n\t_ \"corp.example/Big/p\"\n\t_ \"corp.example/Big/sub\"\n\t_ \"example.com/public\"\n\t_ \"example.com/lib\"\n)\n",
		"lib/go.mod":   "module example.com/lib\nrequire corp.example/Big v1.2.0\n",
		"lib/l.go":     goFile,
		"other/secret": "",

		"cache/corp.example/!big@v1.2.0/go.mod":      "module corp.example/Big\ngo 1.20\n",
		"cache/corp.example/!big@v1.2.0/p/p.go":      "package p\nimport (\n\t_ \"embed\"\n\t_ \"git.corp.example/x\"\n)\n//go:embed d\nvar x string\n",
		"cache/corp.example/!big@v1.2.0/p/d":         "",
		"cache/corp.example/!big@v1.2.0/p/p.s":       "",
		"cache/corp.example/!big@v1.2.0/p/p_test.go": goFile,
		"cache/corp.example/!big@v1.2.0/not/n.go":    goFile,
		"cache/corp.example/!big@v1.0.0/p/old.go":    goFile,
		"cache/corp.example/!big/sub@v1.1.0/s.go":    goFile,
		"cache/corp.example/y@v0.2.0/go.mod":         "module corp.example/y\n",
		"cache/corp.example/y@v0.2.0/y.go":           goFile,
		"cache/example.com/public@v1.0.0/p.go":       goFile,
	})
	require.NoError(t, err)
	var names []string
	for name := range got {
		names = append(names, name)
	}
	assert.ElementsMatch(t, []string{
		"go.work", "app/go.mod", "app/fn/a.go", "lib/go.mod", "lib/l.go", "vendor/modules.txt",
		"vendor/corp.example/Big/go.mod", "vendor/corp.example/Big/p/p.go", "vendor/corp.example/Big/p/p.s", "vendor/corp.example/Big/p/d",
		"vendor/corp.example/Big/sub/s.go", "vendor/git.corp.example/x/y.go",
	}, names)
	assert.Equal(t, "# corp.example/Big v1.2.0\n## explicit; go 1.20\ncorp.example/Big/p\n"+
		"# corp.example/Big/sub v1.1.0\n## explicit\ncorp.example/Big/sub\n"+
		"# git.corp.example/x v1.0.0 => corp.example/y v0.2.0\n## explicit\ngit.corp.example/x\n", got["vendor/modules.txt"])
}

func TestPackRefusesPrivateModulesThatAreNotHere(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"missing":   {},
		"a symlink": {"cache/corp.example/x@v1.0.0/x.go": "-> /etc/passwd"},
	} {
		t.Run(name, func(t *testing.T) {
			files["app/go.mod"] = goMod + "require corp.example/x v1.0.0\n"
			files["app/fn/a.go"] = "package fn\nimport _ \"corp.example/x\"\n"
			_, err := packPrivate(t, files)
			words := "go.mod:4: the private module corp.example/x@v1.0.0 has to be sent along"
			if name == "a symlink" {
				words = "x.go is a symbolic link"
			}
			refused(t, err, proto.ErrInvalid, words)
		})
	}
}

func TestPackWithPrivateModulesIsDeterministic(t *testing.T) {
	var archives [2]bytes.Buffer
	for i := range archives {
		top := folder(t, map[string]string{
			"app/go.mod":                       goMod + "require (\n\tcorp.example/b v1.0.0\n\tcorp.example/a v1.0.0\n)\n",
			"app/a.go":                         "package fn\nimport (\n\t_ \"corp.example/b\"\n\t_ \"corp.example/a\"\n)\n",
			"cache/corp.example/a@v1.0.0/a.go": goFile, "cache/corp.example/b@v1.0.0/b.go": goFile,
		})
		private := Modules{Cache: filepath.Join(top, "cache"), Private: "corp.example"}
		_, err := packWith(t.Context(), &proto.FunctionJson{Dir: filepath.Join(top, "app")}, private, &archives[i])
		require.NoError(t, err)
	}
	assert.Equal(t, archives[0].Bytes(), archives[1].Bytes())
}
