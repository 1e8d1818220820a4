package scaffold

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

func TestMain(m *testing.M) { os.Exit(testkit.Guarded(m).Run()) }

func TestEachTemplateIsWellFormedAndPassesItsTest(t *testing.T) {
	for _, template := range Templates {
		t.Run(template.Name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "blur-images")
			made, err := Make(dir, template.Name)
			require.NoError(t, err)
			assert.Equal(t, "BlurImages", made.Name)
			for _, file := range made.Files {
				data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(file)))
				require.NoError(t, err)
				assert.NotContains(t, string(data), "NAME", file)
				assert.True(t, strings.HasSuffix(string(data), "\n"), file)
			}
			assert.Subset(t, made.Files, []string{"blurimages.go", "blurimages_test.go", "deploy.json", "go.mod", ".ryoignore"})
			unformatted, err := exec.Command("gofmt", "-l", dir).CombinedOutput()
			assert.NoError(t, err)
			assert.Empty(t, string(unformatted))
			if testing.Short() {
				return // the go command takes seconds, and nothing here runs at the same time
			}
			cmd := exec.Command("go", "test", "./...")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath", "GOWORK=off") // as functions are built: compiled once
			out, err := cmd.CombinedOutput()
			assert.NoError(t, err, "%s", out)
		})
	}
}

// What templates require is what an example requires, which is kept up to date.
func TestTemplatesRequireWhatExamplesRequire(t *testing.T) {
	for _, name := range []string{"event", "gin"} {
		for _, file := range []string{"go.mod", "go.sum"} {
			want, err := os.ReadFile(filepath.Join("..", "..", "example", name, file))
			require.NoError(t, err)
			got, err := files.ReadFile("templates/" + name + "/" + file + ".txt")
			require.NoError(t, err)
			if file == "go.mod" {
				_, rest, _ := strings.Cut(string(want), "\n")
				want = []byte("module example.com/NAMEPKG\n" + rest)
			}
			assert.Equal(t, string(want), string(got), "%s: copy example/%s/%s", name, name, file)
		}
	}
}

func TestNamesOfFoldersBecomeNamesOfFunctions(t *testing.T) {
	for dir, want := range map[string]struct{ name, pkg string }{
		"hello":      {"Hello", "hello"},
		"HelloWorld": {"HelloWorld", "helloworld"},
		"a/b_c-d":    {"BCD", "bcd"},
		"Über":       {"Über", "über"},
		"func":       {"Func", "funcfn"},
		"main":       {"Main", "mainfn"},
		"my-test":    {"MyTest", "mytestfn"},
		"go1":        {"Go1", "go1"},
	} {
		made, err := Make(filepath.Join(t.TempDir(), dir), "http")
		require.NoError(t, err, dir)
		assert.Equal(t, want.name, made.Name, dir)
		assert.Equal(t, want.pkg+".go", made.Files[0], dir)
	}
}

func TestWhatCannotBeMadeLeavesNothing(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"1st", "-", "日本", strings.Repeat("x", proto.MaxName+1)} {
		_, err := Make(filepath.Join(root, dir), "http")
		assert.ErrorIs(t, err, proto.ErrInvalid, dir)
	}
	_, err := Make(filepath.Join(root, "hello"), "basic")
	assert.ErrorIs(t, err, proto.ErrInvalid)
	assert.ErrorContains(t, err, `there is no template "basic"`)

	taken := filepath.Join(root, "taken")
	require.NoError(t, os.MkdirAll(taken, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(taken, "x"), nil, 0o600))
	_, err = Make(taken, "http")
	assert.ErrorIs(t, err, proto.ErrConflict)
	_, err = Make(filepath.Join(taken, "x", "hello"), "http")
	assert.Error(t, err)
	entries, err := os.ReadDir(taken)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
	assert.NoDirExists(t, filepath.Join(root, "hello"))
}

func TestAnEmptyFolderIsFilled(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("greet", 0o700))
	t.Chdir("greet")
	made, err := Make(".", "static")
	require.NoError(t, err)
	assert.Equal(t, "Greet", made.Name)
	assert.FileExists(t, filepath.Join("public", "index.html"))
}
