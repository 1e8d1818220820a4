package bundle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestPackIsDeterministic(t *testing.T) {
	files := map[string]string{"go.mod": goMod, "fn/a.go": goFile, "fn/b.go": goFile}
	first, second := folder(t, files), folder(t, files)
	require.NoError(t, os.Chmod(filepath.Join(second, "fn", "a.go"), 0o755))
	past := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(filepath.Join(second, "go.mod"), past, past))

	fn := &proto.FunctionJson{Name: "Hello", Dir: first + "/fn", FilePath: first + "/fn/a.go", Env: map[string]string{"A": "b"}}
	one, packed := pack(t, fn)
	two, again := pack(t, &proto.FunctionJson{Name: "Hello", Dir: second + "/fn"})
	assert.Equal(t, one, two)

	sum := sha256.Sum256(one)
	assert.Equal(t, "sha256:"+hex.EncodeToString(sum[:]), packed.GetPackage())
	assert.Equal(t, packed.GetPackage(), again.GetPackage())
	assert.Empty(t, packed.GetDir())
	assert.Equal(t, "fn", packed.GetPackagePath())
	assert.Equal(t, "a.go", packed.GetFilePath())
	assert.Empty(t, again.GetFilePath())
	assert.Equal(t, fn.GetEnv(), packed.GetEnv())
	assert.Equal(t, first+"/fn", fn.GetDir(), "the argument stays as it was")
}

func TestPackedFilesComeOutAgain(t *testing.T) {
	files := map[string]string{
		"go.mod": goMod, "a.go": goFile, "data/empty": "", "data/blob": noise(100_000), "data/ü and (1)": "x",
	}
	data, _ := pack(t, &proto.FunctionJson{Dir: folder(t, files), Include: []string{"data"}})
	dst := filepath.Join(t.TempDir(), "x", "y")
	require.NoError(t, Extract(t.Context(), write(t, data), dst, DefaultLimits))
	assert.Equal(t, files, contents(t, dst))
	info, err := os.Stat(filepath.Join(dst, "a.go"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o644), info.Mode())
}

// noise is text that does not compress.
func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return string(b)
}

func TestPackNoticesChanges(t *testing.T) {
	for name, change := range map[string]func(tb testing.TB, dir string){
		"a file grows while it is read": func(tb testing.TB, dir string) {
			tb.Helper()
			f, err := os.OpenFile(filepath.Join(dir, "m.go"), os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(tb, err)
			_, err = f.WriteString("// more")
			require.NoError(tb, err)
			require.NoError(tb, f.Close())
		},
		"a file is truncated while it is read": func(tb testing.TB, dir string) {
			tb.Helper()
			require.NoError(tb, os.Truncate(filepath.Join(dir, "m.go"), 10))
		},
		"a file goes": func(tb testing.TB, dir string) {
			tb.Helper()
			require.NoError(tb, os.Remove(filepath.Join(dir, "z.go")))
		},
		"a file becomes a symlink": func(tb testing.TB, dir string) {
			tb.Helper()
			require.NoError(tb, os.Remove(filepath.Join(dir, "z.go")))
			require.NoError(tb, os.Symlink("m.go", filepath.Join(dir, "z.go")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"m.go": noise(1 << 20), "z.go": goFile})
			past := time.Now().Add(-time.Hour)
			require.NoError(t, os.Chtimes(filepath.Join(dir, "m.go"), past, past))
			changed := false
			_, err := Pack(t.Context(), &proto.FunctionJson{Dir: dir}, readerFunc(func(p []byte) (int, error) {
				if !changed {
					changed = true
					change(t, dir)
				}
				return len(p), nil
			}).writer())
			refused(t, err, proto.ErrConflict, "changed while it was packed")
		})
	}
}

// writer uses the function to write.
func (f readerFunc) writer() io.Writer { return writerFunc(f) }

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestPackFails(t *testing.T) {
	dir := folder(t, map[string]string{"a.go": goFile, "zeros": strings.Repeat("\x00", 2<<20)})

	_, err := Pack(t.Context(), &proto.FunctionJson{Dir: dir}, io.Discard)
	refused(t, err, proto.ErrTooLarge, "more than 100 times")

	_, err = Pack(t.Context(), &proto.FunctionJson{Dir: dir}, brokenWriter{})
	require.ErrorIs(t, err, errDisk)

	for n := range 3 {
		_, err = Pack(endsAfter(t.Context(), n), &proto.FunctionJson{Dir: dir}, io.Discard)
		require.ErrorIs(t, err, proto.ErrCanceled, n)
	}

	_, err = Pack(t.Context(), &proto.FunctionJson{Dir: dir + "/gone"}, io.Discard)
	refused(t, err, proto.ErrInvalid, "gone does not exist")
}

func TestMeterBoundsTheArchive(t *testing.T) {
	m := newMeter(io.Discard, 10)
	_, err := io.WriteString(m, strings.Repeat("x", 10))
	require.NoError(t, err)
	_, err = io.WriteString(m, "x")
	refused(t, err, proto.ErrTooLarge, "larger than 10 bytes")
}

func FuzzPackExtract(f *testing.F) {
	f.Add("data.json", []byte("{}"), "sub/b.txt", []byte("text"))
	f.Add("A.go", []byte(goFile), "zz_ryo_x", []byte(""))
	f.Add(".env", []byte("x"), "a/b/c/d", []byte("\x00"))
	f.Add("go.mod", []byte(goMod), "x_test.go", []byte(goFile))
	f.Add("go.mod", []byte(goMod+"replace x => .."), "e.go", []byte("package hello\n//go:embed *\nvar x string"))
	f.Fuzz(func(t *testing.T, name1 string, data1 []byte, name2 string, data2 []byte) {
		top := t.TempDir()
		dir := filepath.Join(top, "src")
		require.NoError(t, os.Mkdir(dir, 0o755))
		root, err := os.OpenRoot(dir)
		require.NoError(t, err)
		defer root.Close()
		require.NoError(t, root.WriteFile("a.go", []byte(goFile), 0o644))
		for name, data := range map[string][]byte{name1: data1, name2: data2} {
			// What the file system does not take is not to be packed.
			_ = root.MkdirAll(filepath.Dir(name), 0o755)
			_ = root.WriteFile(name, data, 0o644)
		}
		fn := &proto.FunctionJson{Dir: dir, Include: []string{"*"}}
		var buf bytes.Buffer
		if _, err := Pack(t.Context(), fn, &buf); err != nil {
			assert.True(t, proto.AsError(err).Kind == proto.ErrInvalid || proto.AsError(err).Kind == proto.ErrTooLarge, err)
			return
		}
		dst := filepath.Join(top, "dst")
		require.NoError(t, Extract(t.Context(), write(t, buf.Bytes()), dst, DefaultLimits))
		base, selected, _, err := Select(fn)
		require.NoError(t, err)
		extracted := contents(t, dst)
		require.Len(t, extracted, len(selected))
		for _, name := range selected {
			want, err := os.ReadFile(filepath.Join(base, name))
			require.NoError(t, err)
			require.Equal(t, string(want), extracted[name], name)
		}
	})
}

func BenchmarkPack(b *testing.B) {
	fn := &proto.FunctionJson{Dir: folder(b, moduleOf300())}
	for b.Loop() {
		_, err := Pack(b.Context(), fn, io.Discard)
		require.NoError(b, err)
	}
}

// moduleOf300 is as large as the framework's own closure: 300 files of 3 kB.
func moduleOf300() map[string]string {
	files := map[string]string{"a.go": goFile}
	text := strings.Repeat("// It says what a caller may rely on, 0123456789.\n", 20) + noise(2000)
	for i := range 300 {
		files[filepath.Join("p"+string(rune('a'+i%15)), "f"+strings.Repeat("x", i/15))] = text
	}
	return files
}
