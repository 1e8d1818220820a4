package bundle

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// entry makes an archive of one entry of any header.
func entry(tb testing.TB, header *zip.FileHeader, content string) []byte {
	tb.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	w, err := z.CreateHeader(header)
	require.NoError(tb, err)
	_, _ = io.WriteString(w, content) // a folder takes none
	require.NoError(tb, z.Close())
	return buf.Bytes()
}

func withMode(tb testing.TB, name string, mode fs.FileMode) []byte {
	tb.Helper()
	h := &zip.FileHeader{Name: name}
	h.SetMode(mode)
	return entry(tb, h, "/etc/passwd")
}

// Offsets in a record of a zip's central directory.
const (
	recordMethod     = 10
	recordCompressed = 20
	recordSize       = 24
	recordOffset     = 42
)

// patch overwrites a field of the n-th record of the central directory.
func patch(tb testing.TB, data []byte, n, offset int, value uint32) []byte {
	tb.Helper()
	data = slices.Clone(data)
	at := 0
	for range n + 1 {
		next := bytes.Index(data[at:], []byte("PK\x01\x02"))
		require.GreaterOrEqual(tb, next, 0)
		at += next + 1
	}
	if offset == recordMethod {
		binary.LittleEndian.PutUint16(data[at-1+offset:], uint16(value))
	} else {
		binary.LittleEndian.PutUint32(data[at-1+offset:], value)
	}
	return data
}

// bomb is a file of zeros that compresses 1000:1.
func bomb(tb testing.TB, size int) []byte {
	tb.Helper()
	return archive(tb, "bomb", strings.Repeat("\x00", size))
}

type hostile struct {
	data  []byte
	kind  proto.Kind
	words string
}

// hostiles are archives that must be refused.
func hostiles(tb testing.TB) map[string]hostile {
	tb.Helper()
	bad := func(data []byte, words string) hostile { return hostile{data, proto.ErrInvalid, words} }
	long := strings.Repeat("x", 300)
	deep := strings.Repeat("d/", maxName/2-1)
	two := archive(tb, "a", "first content", "b", "second content")
	half := archive(tb, "a", noise(10_000))
	all := map[string]hostile{
		"no zip":                     bad([]byte("hello"), "not a zip"),
		"nothing":                    bad(nil, "not a zip"),
		"no entries":                 bad(archive(tb), "empty"),
		"its first half":             bad(half[:5000], "not a zip"),
		"symlink":                    bad(withMode(tb, "l", fs.ModeSymlink|0o777), "mode L"),
		"device":                     bad(withMode(tb, "d", fs.ModeDevice|0o666), "mode D"),
		"character device":           bad(withMode(tb, "c", fs.ModeDevice|fs.ModeCharDevice|0o666), "mode D"),
		"pipe":                       bad(withMode(tb, "p", fs.ModeNamedPipe|0o666), "mode p"),
		"socket":                     bad(withMode(tb, "s", fs.ModeSocket|0o666), "mode S"),
		"set user id":                bad(withMode(tb, "u", fs.ModeSetuid|0o755), "mode u"),
		"set group id":               bad(withMode(tb, "g", fs.ModeSetgid|0o755), "mode g"),
		"sticky":                     bad(withMode(tb, "t", fs.ModeSticky|0o755), "mode t"),
		"folder without a slash":     bad(withMode(tb, "f", fs.ModeDir|0o755), "mode d"),
		"file through symlink":       bad(throughSymlink(tb), "mode L"),
		"duplicate":                  bad(archive(tb, "a", "1", "a", "2"), "a is in the archive twice"),
		"case fold":                  bad(archive(tb, "a/B", "1", "a/b", "2"), "a/B and a/b differ in case"),
		"case fold of a folder":      bad(archive(tb, "Dir/a", "1", "dir/b", "2"), "Dir and dir differ in case"),
		"file and folder":            bad(archive(tb, "a", "1", "a/b", "2"), "both a file and a folder"),
		"folder and file":            bad(archive(tb, "a/b", "1", "a", "2"), "both a file and a folder"),
		"same bytes":                 bad(patch(tb, two, 1, recordOffset, 0), "share bytes"),
		"bytes of the next":          bad(patch(tb, two, 0, recordCompressed, uint32(len(two)/2)), "share bytes"),
		"outside the archive":        bad(patch(tb, two, 1, recordOffset, 1<<30), "damaged"),
		"longer than the archive":    bad(patch(tb, two, 1, recordCompressed, 1<<31), "damaged"),
		"more than it says":          bad(patch(tb, two, 0, recordSize, 3), "damaged"),
		"less than it says":          bad(patch(tb, two, 0, recordSize, 30), "damaged"),
		"an unknown method":          bad(patch(tb, two, 0, recordMethod, 99), "damaged"),
		"another method":             bad(patch(tb, two, 0, recordMethod, uint32(zip.Store)), "damaged"),
		"a flipped bit":              bad(flip(half, 5000), "damaged"),
		"a bomb":                     large(bomb(tb, 8<<20), "more than 100 times"),
		"a bomb that hides its size": bad(patch(tb, bomb(tb, 8<<20), 0, recordSize, 10), "damaged"),
		"a claim of 4 GiB":           large(patch(tb, two, 0, recordSize, 1<<32-2), "a: the files are"),
	}
	for name, file := range map[string]string{
		"parent": "../w", "parent inside": "a/../../w", "parent alone": "..", "dot": "./w", "absolute": "/etc/w", "double slash": "a//w",
		"backslash": `dir\..\..\w`, "drive": `C:w`, "NUL": "a\x00b", "newline": "a\nb", "not UTF-8": "a\xff", "no name": "", "slash": "/",
		"Windows device": "aux.txt", "trailing dot": "a.", "long part": long, "long name": deep + "long",
		"version control": ".git/config", "version control, cased": "a/.Git/hooks/x", "version control, a file": ".hg",
		"reserved": "zz_ryo_main/main.go", "reserved, cased": "a/ZZ_Ryo_x.go", "object": "x.syso", "parent folder": "../",
	} {
		all["name: "+name] = bad(archive(tb, file, ""), "")
	}
	return all
}

// large is an archive over a limit.
func large(data []byte, words string) hostile { return hostile{data, proto.ErrTooLarge, words} }

// crowds are archives of too many files, which take a while to make.
func crowds(tb testing.TB) map[string]hostile {
	tb.Helper()
	deep := strings.Repeat("d/", maxName/2-1)
	return map[string]hostile{
		"100,000 files":              large(manyFiles(tb, 100_000), "more than 10000 files"),
		"a list too long to be read": large(manyFiles(tb, 150_000), "too many files"),
		"10,001 files":               large(manyFiles(tb, 10_001), "more than 10000 files"),
		"folders implied by names":   large(manyFolders(tb, deep, 50), "more than 10000 files"),
	}
}

func throughSymlink(tb testing.TB) []byte {
	tb.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	link := &zip.FileHeader{Name: "l"}
	link.SetMode(fs.ModeSymlink | 0o777)
	w, err := z.CreateHeader(link)
	require.NoError(tb, err)
	_, err = io.WriteString(w, "..")
	require.NoError(tb, err)
	_, err = z.Create("l/w")
	require.NoError(tb, err)
	require.NoError(tb, z.Close())
	return buf.Bytes()
}

func flip(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[at] ^= 1
	return data
}

func manyFiles(tb testing.TB, n int) []byte {
	tb.Helper()
	var entries []string
	for i := range n {
		entries = append(entries, fmt.Sprintf("%06d", i), "")
	}
	return archive(tb, entries...)
}

func manyFolders(tb testing.TB, deep string, n int) []byte {
	tb.Helper()
	var entries []string
	for i := range n {
		entries = append(entries, fmt.Sprintf("%d/%s", i, deep[:len(deep)-8]), "")
	}
	return archive(tb, entries...)
}

func TestExtractRefusesHostileArchives(t *testing.T) {
	all := hostiles(t)
	maps.Copy(all, crowds(t))
	for name, h := range all {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			dst := filepath.Join(top, "dst")
			refused(t, Extract(t.Context(), write(t, h.data), dst, DefaultLimits), h.kind, h.words)
			assert.Empty(t, contents(t, top), "something is left")
			missing(t, dst)
		})
	}
}

func TestExtractAcceptsWhatPeopleZip(t *testing.T) {
	windows := &zip.FileHeader{Name: "a.go", CreatorVersion: 0, ExternalAttrs: 1}
	for name, data := range map[string][]byte{
		"folders listed, also twice": archive(t, "d/", "", "d/a.go", "x", "d/", "", "e/", ""),
		"modes of a script":          withMode(t, "run.sh", 0o755),
		"a read-only file":           entry(t, windows, "x"),
		"a bomb below the floor":     bomb(t, ratioFloor),
		"text before the archive":    append([]byte("#!/bin/sh\n"), archive(t, "a", "x")...),
	} {
		t.Run(name, func(t *testing.T) {
			dst := t.TempDir()
			require.NoError(t, Extract(t.Context(), write(t, data), dst, DefaultLimits))
			require.NoError(t, fs.WalkDir(os.DirFS(dst), ".", func(_ string, e fs.DirEntry, _ error) error {
				info, err := e.Info()
				require.NoError(t, err)
				want := fs.FileMode(0o644)
				if e.IsDir() {
					want = fs.ModeDir | 0o755
				}
				require.Equal(t, want, info.Mode())
				return nil
			}))
		})
	}
}

func TestExtractLimits(t *testing.T) {
	data := archive(t, "a", noise(1000), "b/c", noise(1000))
	exact := Limits{Files: 3, Bytes: 2000, Archive: int64(len(data)), Ratio: 1}
	for name, tt := range map[string]struct {
		change func(*Limits)
		words  string
	}{
		"exact":   {func(*Limits) {}, ""},
		"files":   {func(l *Limits) { l.Files-- }, "more than 2 files"},
		"bytes":   {func(l *Limits) { l.Bytes-- }, "larger than 1999 bytes"},
		"archive": {func(l *Limits) { l.Archive-- }, "archive is larger"},
		"zero":    {func(l *Limits) { *l = Limits{} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			limits := exact
			tt.change(&limits)
			dst := filepath.Join(t.TempDir(), "dst")
			err := Extract(t.Context(), write(t, data), dst, limits)
			if name == "exact" {
				require.NoError(t, err)
				return
			}
			refused(t, err, proto.ErrTooLarge, tt.words)
			missing(t, dst)
		})
	}
}

func TestExtractIntoSomethingElse(t *testing.T) {
	good := write(t, archive(t, "a", "new"))
	full := folder(t, map[string]string{"a": "old"})
	refused(t, Extract(t.Context(), good, full, DefaultLimits), proto.ErrConflict, "is not empty")
	assert.Equal(t, map[string]string{"a": "old"}, contents(t, full))
	require.Error(t, Extract(t.Context(), good, filepath.Join(full, "a"), DefaultLimits))
	assert.Equal(t, map[string]string{"a": "old"}, contents(t, full))
	refused(t, Extract(t.Context(), good+"x", t.TempDir(), DefaultLimits), proto.ErrNotFound)
}

func TestExtractStopsWithItsContext(t *testing.T) {
	data := write(t, archive(t, "a", noise(1<<20), "b", noise(1<<20)))
	for n := range 30 {
		dst := filepath.Join(t.TempDir(), "dst")
		require.ErrorIs(t, Extract(endsAfter(t.Context(), n), data, dst, DefaultLimits), proto.ErrCanceled, n)
		missing(t, dst)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(archive(f, "go.mod", goMod, "fn/a.go", goFile, "d/", ""))
	seeds := hostiles(f)
	for _, name := range slices.Sorted(maps.Keys(seeds)) {
		f.Add(seeds[name].data)
	}
	limits := Limits{Files: 16, Bytes: 1 << 21, Archive: 64 << 10, Ratio: 100}
	f.Fuzz(func(t *testing.T, data []byte) {
		top := folder(t, map[string]string{"canary": "sings"})
		dst := filepath.Join(top, "in", "dst")
		err := Extract(t.Context(), write(t, data), dst, limits)
		if err != nil {
			kind := proto.AsError(err).Kind
			require.True(t, kind == proto.ErrInvalid || kind == proto.ErrTooLarge, "%v", err)
			missing(t, dst)
		} else {
			withinLimits(t, dst, len(data), limits)
			require.NoError(t, os.RemoveAll(dst))
		}
		_ = os.Remove(filepath.Join(top, "in"))
		require.Equal(t, map[string]string{"canary": "sings"}, contents(t, top))
	})
}

func withinLimits(tb testing.TB, dst string, archived int, limits Limits) {
	tb.Helper()
	nodes, size := -1, int64(0) // dst itself does not count
	require.NoError(tb, filepath.WalkDir(dst, func(name string, e fs.DirEntry, err error) error {
		require.NoError(tb, err)
		nodes++
		if e.IsDir() {
			return nil
		}
		require.True(tb, e.Type().IsRegular(), name)
		info, err := e.Info()
		size += info.Size()
		return err
	}))
	require.LessOrEqual(tb, nodes, limits.Files)
	require.LessOrEqual(tb, size, limits.unpacked(int64(archived)))
}

func BenchmarkExtract(b *testing.B) {
	data, _ := pack(b, &proto.FunctionJson{Dir: folder(b, moduleOf300())})
	name, top := write(b, data), b.TempDir()
	for i := 0; b.Loop(); i++ {
		require.NoError(b, Extract(b.Context(), name, filepath.Join(top, fmt.Sprint(i)), DefaultLimits))
	}
}
