package build

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// program writes a file of some bytes that was last used so many hours ago.
func program(t *testing.T, dir, name string, size int, ago time.Duration) string {
	t.Helper()
	file := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(file, bytes.Repeat([]byte(name[:1]), size), 0o700))
	at := time.Now().Add(-ago)
	require.NoError(t, os.Chtimes(file, at, at))
	return file
}

func TestStoreKeepsAndTakes(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(filepath.Join(dir, "store"), 1<<20)
	require.NoError(t, err)
	found, err := s.Take("key", filepath.Join(dir, "b"))
	require.NoError(t, err)
	assert.False(t, found)

	a := program(t, dir, "a", 10, 0)
	require.NoError(t, s.Keep("key", a))
	require.NoError(t, s.Keep("key", a), "twice is once")
	require.NoError(t, os.Remove(a))
	found, err = s.Take("key", filepath.Join(dir, "b"))
	require.NoError(t, err)
	assert.True(t, found)
	got, err := os.ReadFile(filepath.Join(dir, "b"))
	require.NoError(t, err)
	assert.Equal(t, "aaaaaaaaaa", string(got))

	assert.ErrorIs(t, s.Keep("other", a), os.ErrNotExist)
	_, err = s.Take("key", filepath.Join(dir, "b"))
	assert.ErrorIs(t, err, os.ErrExist)
}

func TestStoreForgetsWhatNothingNeedsLongestUnusedFirst(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(filepath.Join(dir, "store"), 25)
	require.NoError(t, err)
	for i, name := range []string{"needed", "old", "taken", "new"} { // each used an hour after the one before
		require.NoError(t, s.Keep(name, program(t, dir, name, 10, time.Duration(10-i)*time.Hour)))
	}
	// All are linked elsewhere, so none takes space of the store's.
	for _, name := range []string{"needed", "old", "taken", "new"} {
		assert.FileExists(t, filepath.Join(s.dir, name))
	}
	found, err := s.Take("taken", filepath.Join(dir, "t"))
	require.NoError(t, err)
	require.True(t, found)
	for _, name := range []string{"old", "taken", "t", "new"} {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
	s, err = OpenStore(s.dir, 25)
	require.NoError(t, err)
	assert.NoFileExists(t, filepath.Join(s.dir, "old"))
	for _, name := range []string{"needed", "taken", "new"} {
		assert.FileExists(t, filepath.Join(s.dir, name))
	}
}

func TestKeyIsOfAllThatEntersABuild(t *testing.T) {
	b, _ := fakeBuilder(t, Config{}, "")
	spec := func() Spec {
		return Spec{
			Root: t.TempDir(), Work: t.TempDir(), Tags: []string{"a"}, Ldflags: "-X a.b=c",
			Generated: &funcfw.Generated{
				ModuleRoot: ".", Main: "./main", Overlay: map[string][]byte{"x": nil, "y": nil},
				GoMod: []byte("module m\n"), GoSum: []byte("m v1.0.0 h1:x=\n"),
			},
		}
	}
	key := func(b *Builder, spec Spec, source string) string {
		k, err := b.Key(spec, source)
		require.NoError(t, err)
		return k
	}
	same := key(b, spec(), "h1:s")
	assert.Equal(t, same, key(b, spec(), "h1:s"), "wherever it lies")
	assert.NotEqual(t, same, key(b, spec(), "h1:t"))
	for name, change := range map[string]func(*Spec){
		"tags":    func(s *Spec) { s.Tags = nil },
		"ldflags": func(s *Spec) { s.Ldflags = "" },
		"main":    func(s *Spec) { s.Generated.Main = "./other" },
		"overlay": func(s *Spec) { s.Generated.Overlay["x"] = []byte("z") },
		"go.mod":  func(s *Spec) { s.Generated.GoMod = nil },
		"go.sum":  func(s *Spec) { s.Generated.GoSum = nil },
		"module":  func(s *Spec) { s.Generated.ModuleRoot = "m" },
	} {
		other := spec()
		change(&other)
		assert.NotEqual(t, same, key(b, other, "h1:s"), name)
	}
	newer := *b
	newer.platform.GoVersion = "go1.99.0"
	assert.NotEqual(t, same, key(&newer, spec(), "h1:s"))
}
