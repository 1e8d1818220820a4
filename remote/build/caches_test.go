package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plant writes a file that was used some days ago.
func plant(t *testing.T, name string, size, days int) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
	require.NoError(t, os.WriteFile(name, make([]byte, size), 0o600))
	used := time.Now().AddDate(0, 0, -days)
	require.NoError(t, os.Chtimes(name, used, used))
	return name
}

func TestCachesAreKeptInTheirLimits(t *testing.T) {
	<-builder.Warm()
	b, err := New(Config{Dir: t.TempDir()})
	require.NoError(t, err)
	b.owners = builder.cache
	spec := files{"hello.go": hello}.spec(t, ".", "Hello")
	spec.filling = func(int, int) {}
	require.NoError(t, b.build(t.Context(), spec, new(pace)))
	assert.Nil(t, b.Caches())
	require.NoError(t, b.trim(t.Context()))
	small := b.Caches()
	assert.Positive(t, small.Build.Used)
	assert.Positive(t, small.Modules.Used)

	// What every function is built with was not used for long, and there is more.
	for name := range entries(t, b.cache) {
		long := time.Now().AddDate(0, 0, -30)
		require.NoError(t, os.Chtimes(filepath.Join(b.cache, name), long, long))
	}
	var compiled, archives []string // the oldest first
	for i := range 10 {
		text := fmt.Sprintf("%02x/%02[1]x%s-d", i, strings.Repeat("0", 62))
		compiled = append(compiled, plant(t, filepath.Join(b.cache, text), 4<<20, 20-i))
		archive := plant(t, filepath.Join(b.downloads(), "example.com", "!big", "@v", fmt.Sprintf("v1.0.%d.zip", i)), 1<<19, 20-i)
		plant(t, archive+"hash", 50, 20-i)
		plant(t, filepath.Join(b.folder(archive), "sub", "big.go"), 4<<20, 20-i)
		archives = append(archives, archive)
	}
	assert.Equal(t, filepath.Join(b.modCache, "example.com", "!big@v1.0.3"), b.folder(archives[3]))
	limit := func(build, modules int64) {
		b.caches.space.Build.Limit, b.caches.space.Modules.Limit = build, modules
	}
	left := func(list []string) (n int) {
		for _, name := range list {
			if exists(name) {
				n++
			}
		}
		return n
	}
	limit(1<<40, 1<<40)
	require.NoError(t, b.trim(t.Context()))
	assert.Equal(t, 10, left(compiled), "nothing goes without need")

	limit(1, 1)
	release, err := b.caches.hold()
	require.NoError(t, err)
	other, err := New(Config{Dir: filepath.Dir(b.cache)})
	require.NoError(t, err)
	require.NoError(t, b.trim(t.Context()))
	other.caches.space.Build.Limit = 1
	require.NoError(t, other.trim(t.Context()))
	assert.Equal(t, 10, left(compiled), "a build may use it")
	release()

	full := b.Caches()
	limit(full.Build.Used-1, full.Modules.Used-1)
	require.NoError(t, b.trim(t.Context()))
	for _, list := range [][]string{compiled, archives} {
		n := left(list)
		assert.Positive(t, n)
		assert.Less(t, n, 10)
		assert.Equal(t, n, left(list[10-n:]), "the latest are left")
	}
	assert.LessOrEqual(t, b.Caches().Build.Used, full.Build.Used*trimmed/100)
	assert.LessOrEqual(t, b.Caches().Modules.Used, full.Modules.Used*trimmed/100)
	assert.NoFileExists(t, archives[0]+"hash")
	assert.NoDirExists(t, b.folder(archives[0]))
	assert.FileExists(t, filepath.Join(b.folder(archives[9]), "sub", "big.go"))
	removed, err := filepath.Glob(filepath.Join(b.modCache, "removed-*"))
	require.NoError(t, err)
	assert.Empty(t, removed)

	limit(1, 1)
	require.NoError(t, b.trim(t.Context()))
	assert.Zero(t, left(compiled)+left(archives))
	need, modules, err := b.shared(t.Context())
	require.NoError(t, err)
	assert.Greater(t, len(need), 400, "packages, by object and action")
	assert.Greater(t, len(modules), 3)
	assert.LessOrEqual(t, b.Caches().Build.Used, small.Build.Used)
	was := make(map[string]string)
	for name := range need {
		if strings.HasSuffix(name, "-a") {
			was[name] = textOf(t, "", name)
		}
	}
	spec = files{"hello.go": hello}.spec(t, ".", "Hello")
	require.NoError(t, b.build(t.Context(), spec, new(pace)))
	for name, text := range was { // what is compiled again is entered with its time
		assert.Equal(t, text, textOf(t, "", name))
	}
}

func TestUsedModulesGoLast(t *testing.T) {
	b := &Builder{modCache: t.TempDir()}
	old := plant(t, filepath.Join(b.downloads(), "example.com", "!x", "@v", "v1.2.3.zip"), 1, 9)
	b.use([]byte("module m\n\nrequire (\n\texample.com/X v1.2.3\n\texample.com/missing v1.0.0\n)\n"))
	info, err := os.Stat(old)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), info.ModTime(), time.Hour)
}
