package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// entries returns the files of a build cache.
func entries(t *testing.T, cache string) map[string]os.FileInfo {
	t.Helper()
	all := map[string]os.FileInfo{}
	names, err := filepath.Glob(filepath.Join(cache, "??", "*"))
	require.NoError(t, err)
	for _, name := range names {
		info, err := os.Stat(name)
		require.NoError(t, err)
		rel, err := filepath.Rel(cache, name)
		require.NoError(t, err)
		all[rel] = info
	}
	return all
}

func textOf(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(data)
}

func TestAnEmptyCacheBeginsWithWhatItsOwnerHasCompiled(t *testing.T) {
	<-builder.Warm()
	seeded := func(owners string) *Builder {
		b, err := New(Config{Dir: t.TempDir()})
		require.NoError(t, err)
		b.owners = owners
		require.True(t, b.empty())
		spec := files{"hello.go": hello}.spec(t, ".", "Hello")
		spec.filling = func(int, int) {}
		require.NoError(t, b.build(t.Context(), spec, new(pace)))
		assert.FileExists(t, spec.Out)
		return b
	}
	owners := seeded(builder.cache).cache // which no other test writes to
	before := entries(t, owners)
	b := seeded(owners)
	assert.False(t, b.empty())
	assert.Len(t, entries(t, b.owners), len(before), "nothing was written there")
	copied := 0
	for name, info := range entries(t, b.cache) {
		from, ok := before[name]
		if !ok {
			continue
		}
		assert.False(t, os.SameFile(from, info), "%s is a link", name)
		// What is compiled again is entered with its time.
		if strings.HasSuffix(name, "-a") && textOf(t, b.owners, name) == textOf(t, b.cache, name) {
			copied++
		}
	}
	assert.Greater(t, copied, 200, "packages that were not compiled again")
}

func TestOwnersCachesThatOthersMayWriteToAreNoSeeds(t *testing.T) {
	dir := t.TempDir()
	assert.Equal(t, dir, seeds(dir, "/elsewhere"))
	assert.Empty(t, seeds(dir, dir))
	assert.Empty(t, seeds("off", "/elsewhere"))
	assert.Empty(t, seeds("", "/elsewhere"))
	assert.Empty(t, seeds(filepath.Join(dir, "missing"), "/elsewhere"))
	require.NoError(t, os.Chmod(dir, 0o770)) //nolint:gosec // that is the point
	assert.Empty(t, seeds(dir, "/elsewhere"))
	require.NoError(t, os.Chmod(dir, 0o700)) //nolint:gosec // a folder
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(dir, 65534, 65534))
		assert.Empty(t, seeds(dir, "/elsewhere"))
	}
}

func TestDamagedEntriesAreCompiled(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	const (
		object = "d2/d2a84f4b8b650937ec8f73cd8be2c74add5a911ba64df27458ed8229da804a26-d"
		text   = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	)
	require.NoError(t, put(filepath.Join(from, object), []byte("other")))
	require.ErrorContains(t, copyEntry(from, to, object), "damaged")
	require.NoError(t, put(filepath.Join(from, "58", text+"-d"), []byte("hello\n")))
	require.ErrorContains(t, copyEntry(from, to, "58/"+text+"-d"), "build id")
	assert.Error(t, copyEntry(from, to, "00/"+strings.Repeat("0", 64)+"-d"))
	assert.Empty(t, entries(t, to))
}
