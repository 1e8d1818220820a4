package bundle

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	goMod  = "module example.com/m\n\ngo 1.26\n"
	goFile = "package hello\n"
)

// folder makes a tree of files; a content of "-> x" makes a symbolic link to x.
func folder(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir, err := filepath.EvalSymlinks(tb.TempDir())
	require.NoError(tb, err)
	for name, content := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(tb, os.MkdirAll(filepath.Dir(name), 0o755))
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			require.NoError(tb, os.Symlink(target, name))
			continue
		}
		require.NoError(tb, os.WriteFile(name, []byte(content), 0o644))
	}
	return dir
}

// contents reads a tree back.
func contents(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	files := map[string]string{}
	require.NoError(tb, fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(data)
		return err
	}))
	return files
}

// pack returns the archive of a function.
func pack(tb testing.TB, fn *proto.FunctionJson) ([]byte, *proto.FunctionJson) {
	tb.Helper()
	var buf bytes.Buffer
	packed, err := Pack(tb.Context(), fn, &buf)
	require.NoError(tb, err)
	return buf.Bytes(), packed
}

// write stores bytes in a new file.
func write(tb testing.TB, data []byte) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "a.zip")
	require.NoError(tb, os.WriteFile(name, data, 0o600))
	return name
}

// archive makes a zip of entries in the order given: name, content, name, ….
func archive(tb testing.TB, entries ...string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for i := 0; i < len(entries); i += 2 {
		header := &zip.FileHeader{Name: entries[i]} // Store: a compressor takes a megabyte
		if entries[i+1] != "" {
			header.Method = zip.Deflate
		}
		w, err := z.CreateHeader(header)
		require.NoError(tb, err)
		_, err = io.WriteString(w, entries[i+1])
		require.NoError(tb, err)
	}
	require.NoError(tb, z.Close())
	return buf.Bytes()
}

// refused asserts an error of a kind that says all of words and what to do.
func refused(tb testing.TB, err error, kind proto.Kind, words ...string) {
	tb.Helper()
	require.ErrorIs(tb, err, kind)
	for _, w := range words {
		require.ErrorContains(tb, err, w)
	}
	assert.NotEmpty(tb, proto.AsError(err).Hint)
}

// missing asserts that nothing is at a path.
func missing(tb testing.TB, path string) {
	tb.Helper()
	_, err := os.Lstat(path)
	assert.ErrorIs(tb, err, fs.ErrNotExist)
}

// endsAfter returns a context that is canceled by its n-th check.
func endsAfter(ctx context.Context, n int) context.Context {
	return &countdown{ctx, n}
}

type countdown struct {
	context.Context //nolint:containedctx // it is a context
	left            int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

var errDisk = errors.New("the disk is on fire")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errDisk }

func TestCheckDigest(t *testing.T) {
	good := "sha256:" + strings.Repeat("0a", 32)
	require.NoError(t, checkDigest(good))
	for name, digest := range map[string]string{
		"empty": "", "no prefix": good[7:], "short": good[:70], "long": good + "0",
		"upper case": strings.ToUpper(good), "path": "sha256:" + strings.Repeat("../", 21) + "a",
	} {
		t.Run(name, func(t *testing.T) { refused(t, checkDigest(digest), proto.ErrInvalid) })
	}
}

func TestFoldJoinsNamesThatDifferInCase(t *testing.T) {
	for _, pair := range [][2]string{{"a/B.go", "A/b.go"}, {"straSSe", "STRAsse"}, {"K", "\u212a"}, {"ς", "Σ"}} {
		assert.Equal(t, fold(pair[0]), fold(pair[1]))
	}
	assert.NotEqual(t, fold("a"), fold("b"))
}
