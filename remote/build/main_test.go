package build

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// builder is one for all tests. Its cache outlives them, so that only the first
// run on a machine is slow.
var builder *Builder

func TestMain(m *testing.M) {
	guarded := testkit.Guarded(withBuilder{m})
	goleak.VerifyTestMain(guarded)
}

// withBuilder runs the tests while builder runs.
type withBuilder struct{ *testing.M }

func (w withBuilder) Run() int {
	cache, err := os.UserCacheDir()
	if err != nil {
		panic(err)
	}
	dir := filepath.Join(cache, "ryo-faas-test", "build")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		panic(err)
	}
	if builder, err = New(Config{Dir: dir}); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = builder.Run(ctx) })
	defer running.Wait()
	defer cancel()
	return w.M.Run()
}

// files is a package: path → content.
type files map[string]string

// spec lays a package out and generates what is built with it.
func (f files) spec(t testing.TB, dir, name string) Spec {
	t.Helper()
	base := t.TempDir()
	spec := Spec{Root: filepath.Join(base, "root"), Work: filepath.Join(base, "work"), Out: filepath.Join(base, "fn")}
	require.NoError(t, os.Mkdir(spec.Work, 0o700))
	for path, content := range f {
		path = filepath.Join(spec.Root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	fsys := os.DirFS(spec.Root)
	target, err := funcfw.Check(fsys, funcfw.Spec{Dir: dir, Name: name}, builder.Platform())
	require.NoError(t, err)
	spec.Generated, err = funcfw.Generate(fsys, target, builder.Platform())
	require.NoError(t, err)
	return spec
}
