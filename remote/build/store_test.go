package build

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
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

// key is a well-formed key.
func key(n int) string { return fmt.Sprintf("%064x", n) }

func openStore(t *testing.T, limit int64) (s *Store, dir string) {
	t.Helper()
	dir = t.TempDir()
	s, err := OpenStore(filepath.Join(dir, "store"), limit, hclog.NewNullLogger())
	require.NoError(t, err)
	return s, dir
}

func TestStoreKeepsAndTakes(t *testing.T) {
	s, dir := openStore(t, 1<<20)
	digest, err := s.Take(key(1), filepath.Join(dir, "b"))
	require.NoError(t, err)
	assert.Empty(t, digest)
	assert.False(t, s.Has(key(1)))
	_, _, err = s.Open(key(1))
	require.ErrorIs(t, err, proto.ErrNotFound)
	require.ErrorIs(t, s.Keep(key(1)), os.ErrNotExist)

	a := program(t, dir, "a", 10, 0)
	require.NoError(t, s.Add(key(1), a))
	require.NoError(t, s.Add(key(1), a), "twice is once")
	isThere := func(when string) {
		t.Helper()
		assert.True(t, s.Has(key(1)), when)
		taken := filepath.Join(dir, when)
		digest, err := s.Take(key(1), taken)
		require.NoError(t, err)
		assert.Equal(t, digestOf(t, []byte("aaaaaaaaaa")), digest, when)
		got, err := os.ReadFile(taken)
		require.NoError(t, err)
		assert.Equal(t, "aaaaaaaaaa", string(got))
		_, err = s.Take(key(1), taken)
		require.ErrorIs(t, err, os.ErrExist)
		f, _, err := s.Open(key(1))
		require.NoError(t, err)
		defer f.Close()
		got, err = io.ReadAll(f)
		require.NoError(t, err)
		assert.Equal(t, "aaaaaaaaaa", string(got))
	}
	isThere("added")
	require.NoError(t, s.Keep(key(1)))
	isThere("kept")
	require.NoError(t, s.Add(key(1), a), "as the second of two who built it")
	require.NoError(t, s.Keep(key(1)))
	require.NoError(t, s.Keep(key(1)))
	require.NoError(t, os.Remove(a))
	isThere("kept again")
	entries, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestStoreForgetsWhatWasNotKept(t *testing.T) {
	s, dir := openStore(t, 1<<20)
	require.NoError(t, s.Add(key(1), program(t, dir, "a", 10, 0)))
	require.NoError(t, s.Add(key(2), program(t, dir, "b", 10, 0)))
	require.NoError(t, s.Keep(key(2)))
	s, err := OpenStore(s.dir, 1<<20, hclog.NewNullLogger())
	require.NoError(t, err)
	assert.False(t, s.Has(key(1)))
	assert.True(t, s.Has(key(2)))
}

func TestStoreSetsAsideWhatHasChanged(t *testing.T) {
	for name, get := range map[string]func(s *Store, to string) (digest string, err error){
		"taken": func(s *Store, to string) (string, error) { return s.Take(key(1), to) },
		"opened": func(s *Store, _ string) (string, error) {
			f, digest, err := s.Open(key(1))
			if errors.Is(err, proto.ErrNotFound) {
				return "", nil
			}
			return digest, errors.Join(err, f.Close())
		},
	} {
		for how, spoil := range map[string]func(file string) error{
			"swapped":   func(file string) error { return os.WriteFile(file, []byte("another program"), 0o700) },
			"truncated": func(file string) error { return os.Truncate(file, 3) },
			"empty":     func(file string) error { return os.Truncate(file, 0) },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				s, dir := openStore(t, 1<<20)
				require.NoError(t, s.Add(key(1), program(t, dir, "a", 10, 0)))
				require.NoError(t, s.Keep(key(1)))
				names, err := filepath.Glob(filepath.Join(s.dir, "*"))
				require.NoError(t, err)
				require.NoError(t, spoil(names[0]))
				digest, err := get(s, filepath.Join(dir, "b"))
				require.NoError(t, err)
				assert.Empty(t, digest)
				assert.NoFileExists(t, filepath.Join(dir, "b"))
				assert.False(t, s.Has(key(1)))
				assert.FileExists(t, filepath.Join(s.dir, damagedPrefix+filepath.Base(names[0])))
			})
		}
	}
}

func TestStoreKnowsWhatAKeyIs(t *testing.T) {
	s, dir := openStore(t, 1<<20)
	a, some := program(t, dir, "a", 10, 0), digestOf(t, nil)
	for _, bad := range []string{"", "key", "../../" + key(1)[6:], strings.ToUpper(key(10)), key(1) + "0", "tmp-" + key(1)[4:]} {
		assert.False(t, s.Has(bad))
		_, _, err := s.Open(bad)
		require.ErrorIs(t, err, proto.ErrInvalid, bad)
		_, err = s.Take(bad, filepath.Join(dir, "b"))
		require.ErrorIs(t, err, proto.ErrInvalid, bad)
		require.ErrorIs(t, s.Add(bad, a), proto.ErrInvalid, bad)
		require.ErrorIs(t, s.Keep(bad), proto.ErrInvalid, bad)
		require.ErrorIs(t, s.Put(t.Context(), bad, some, nil), proto.ErrInvalid, bad)
	}
}

// executable has the beginning of a program for a machine.
func executable(machine elf.Machine, kind elf.Type) []byte {
	head := make([]byte, 4096)
	copy(head, elf.ELFMAG)
	head[elf.EI_CLASS], head[elf.EI_DATA], head[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	binary.LittleEndian.PutUint16(head[16:], uint16(kind))
	binary.LittleEndian.PutUint16(head[18:], uint16(machine))
	binary.LittleEndian.PutUint32(head[20:], uint32(elf.EV_CURRENT))
	return head
}

// dynamic is executable with a segment that names the loader of others.
func dynamic(machine elf.Machine) []byte {
	const header, segment = 64, 56
	head := executable(machine, elf.ET_DYN)
	binary.LittleEndian.PutUint64(head[32:], header) // where the segments are described
	binary.LittleEndian.PutUint16(head[54:], segment)
	binary.LittleEndian.PutUint16(head[56:], 1)
	binary.LittleEndian.PutUint32(head[header:], uint32(elf.PT_INTERP))
	return head
}

func digestOf(t *testing.T, data []byte) string {
	t.Helper()
	d, err := Digest(bytes.NewReader(data))
	require.NoError(t, err)
	return d
}

func TestStoreTakesProgramsFromElsewhere(t *testing.T) {
	s, dir := openStore(t, 1<<20)
	here, known := machines[Platform]
	if !known {
		require.ErrorIs(t, s.Put(t.Context(), key(1), digestOf(t, nil), strings.NewReader("")), proto.ErrIncapable)
		return
	}
	data := executable(here, elf.ET_EXEC)
	require.NoError(t, s.Put(t.Context(), key(1), digestOf(t, data), bytes.NewReader(data)))
	digest, err := s.Take(key(1), filepath.Join(dir, "b"))
	require.NoError(t, err)
	assert.Equal(t, digestOf(t, data), digest)
	info, err := os.Stat(filepath.Join(dir, "b"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o700), info.Mode())
	require.NoError(t, s.Put(t.Context(), key(1), "", nil), "nothing is read when it is there")

	other := elf.EM_AARCH64
	if here == other {
		other = elf.EM_X86_64
	}
	endless := readerFunc(func(p []byte) (int, error) { return len(p), nil })
	for name, c := range map[string]struct {
		digest string
		from   io.Reader
		want   error
	}{
		"damaged":                {digestOf(t, data), bytes.NewReader(data[1:]), proto.ErrInvalid},
		"no digest":              {"", bytes.NewReader(data), proto.ErrInvalid},
		"of another machine":     {digestOf(t, executable(other, elf.ET_EXEC)), bytes.NewReader(executable(other, elf.ET_EXEC)), proto.ErrInvalid},
		"no executable":          {digestOf(t, executable(here, elf.ET_REL)), bytes.NewReader(executable(here, elf.ET_REL)), proto.ErrInvalid},
		"loads others":           {digestOf(t, dynamic(here)), bytes.NewReader(dynamic(here)), proto.ErrInvalid},
		"a script":               {digestOf(t, []byte("#!/bin/sh\n# a script\n")), strings.NewReader("#!/bin/sh\n# a script\n"), proto.ErrInvalid},
		"nothing":                {digestOf(t, nil), strings.NewReader(""), proto.ErrInvalid},
		"without an end":         {digestOf(t, nil), endless, proto.ErrTooLarge},
		"the connection is torn": {digestOf(t, nil), iotest.ErrReader(io.ErrUnexpectedEOF), io.ErrUnexpectedEOF},
	} {
		require.ErrorIs(t, s.Put(t.Context(), key(2), c.digest, c.from), c.want, name)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Put(ended, key(2), digestOf(t, nil), endless), context.Canceled)
	entries, err := os.ReadDir(s.dir)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "nothing of them is left")
}

func TestStoreRemovesWhatWasHalfReceived(t *testing.T) {
	s, _ := openStore(t, 1<<20)
	half := program(t, s.dir, tempPrefix+"1", 10, 0)
	_, err := OpenStore(s.dir, 1<<20, hclog.NewNullLogger())
	require.NoError(t, err)
	assert.NoFileExists(t, half)
}

func TestStoreForgetsWhatNothingNeedsLongestUnusedFirst(t *testing.T) {
	s, dir := openStore(t, 25)
	needed, old, taken, recent := key(1), key(2), key(3), key(4)
	all := []string{needed, old, taken, recent}
	stored := func(k string) bool {
		names, err := filepath.Glob(filepath.Join(s.dir, k+"-*"))
		require.NoError(t, err)
		return len(names) == 1
	}
	for i, k := range all { // each used an hour after the one before
		require.NoError(t, s.Add(k, program(t, dir, k, 10, time.Duration(10-i)*time.Hour)))
		require.NoError(t, s.Keep(k))
	}
	// All are linked elsewhere, so none takes space of the store's.
	for _, k := range all {
		assert.True(t, stored(k))
	}
	digest, err := s.Take(taken, filepath.Join(dir, "t"))
	require.NoError(t, err)
	require.NotEmpty(t, digest)
	for _, name := range []string{old, taken, "t", recent} {
		require.NoError(t, os.Remove(filepath.Join(dir, name)))
	}
	s, err = OpenStore(s.dir, 25, hclog.NewNullLogger())
	require.NoError(t, err)
	assert.False(t, stored(old))
	for _, k := range []string{needed, taken, recent} {
		assert.True(t, stored(k))
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(executable(elf.EM_X86_64, elf.ET_EXEC))
	f.Add(executable(elf.EM_AARCH64, elf.ET_DYN)[:20])
	f.Add(dynamic(elf.EM_X86_64))
	f.Add([]byte("#!/bin/sh"))
	f.Fuzz(func(t *testing.T, data []byte) {
		err := Inspect(bytes.NewReader(data))
		if kind := proto.AsError(err); err != nil && kind.Kind != proto.ErrInvalid && kind.Kind != proto.ErrIncapable {
			t.Errorf("%v", err)
		}
		if err == nil && (len(data) < 20 || !bytes.HasPrefix(data, []byte(elf.ELFMAG))) {
			t.Errorf("%q is taken for a program", data)
		}
	})
}

func BenchmarkPut(b *testing.B) {
	data := append(executable(machines[Platform], elf.ET_EXEC), make([]byte, 8<<20)...)
	digest, err := Digest(bytes.NewReader(data))
	require.NoError(b, err)
	s, err := OpenStore(b.TempDir(), 1<<30, hclog.NewNullLogger())
	require.NoError(b, err)
	b.SetBytes(int64(len(data)))
	for i := 0; b.Loop(); i++ {
		require.NoError(b, s.Put(b.Context(), key(i), digest, bytes.NewReader(data)))
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
	keyOf := func(b *Builder, spec Spec) string {
		k, err := b.Key(spec)
		require.NoError(t, err)
		return k
	}
	same := keyOf(b, spec())
	assert.Equal(t, same, keyOf(b, spec()), "wherever it lies")
	source := spec()
	require.NoError(t, os.WriteFile(filepath.Join(source.Root, "p.go"), nil, 0o600))
	assert.NotEqual(t, same, keyOf(b, source))
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
		assert.NotEqual(t, same, keyOf(b, other), name)
	}
	newer := *b
	newer.platform.GoVersion = "go1.99.0"
	assert.NotEqual(t, same, keyOf(&newer, spec()))
}
