package bundle

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	pb "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

const roomy = 1 << 30

func openStore(tb testing.TB, limit int64) *Store {
	tb.Helper()
	s, err := OpenStore(filepath.Join(tb.TempDir(), "packages"), limit)
	require.NoError(tb, err)
	return s
}

// digestOf is the digest of an archive.
func digestOf(data []byte) string {
	m := newMeter(io.Discard, int64(len(data)))
	_, _ = m.Write(data)
	return m.digest()
}

// names lists the files of a store's folder.
func names(tb testing.TB, s *Store) []string {
	tb.Helper()
	entries, err := os.ReadDir(s.dir)
	require.NoError(tb, err)
	found := []string{}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	return found
}

// age sets the last use of an archive back.
func age(tb testing.TB, path string, by time.Duration) {
	tb.Helper()
	at := time.Now().Add(-by)
	require.NoError(tb, os.Chtimes(path, at, at))
}

func TestStorePutAndGet(t *testing.T) {
	s := openStore(t, roomy)
	data := archive(t, "a.go", goFile)
	digest := digestOf(data)
	assert.False(t, s.Has(digest))
	_, err := s.Get(digest)
	refused(t, err, proto.ErrNotFound, digest)

	put, err := s.Put(t.Context(), digest, bytes.NewReader(data))
	require.NoError(t, err)
	stored, err := os.ReadFile(put.Path)
	require.NoError(t, err)
	assert.Equal(t, data, stored)
	assert.Equal(t, int64(len(data)), put.Size)
	assert.Equal(t, digest, put.Digest)

	got, err := s.Get(digest)
	require.NoError(t, err)
	assert.Equal(t, put, got)
	assert.True(t, s.Has(digest))

	again, err := s.Put(t.Context(), digest, iotest.ErrReader(errDisk))
	require.NoError(t, err, "what is stored is not read again")
	assert.Equal(t, put, again)
	anyone, err := s.Put(t.Context(), "", bytes.NewReader(data))
	require.NoError(t, err)
	assert.Equal(t, put, anyone)

	reopened, err := OpenStore(s.dir, roomy)
	require.NoError(t, err)
	assert.True(t, reopened.Has(digest))
	assert.Len(t, names(t, s), 1)
}

func TestStoreRefusesWithoutATrace(t *testing.T) {
	data := archive(t, "a.go", goFile)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	tests := map[string]struct {
		ctx    context.Context //nolint:containedctx // a case's argument
		digest string
		r      io.Reader
		want   error
	}{
		"a digest that is none":        {digest: "sha256:../../etc", r: bytes.NewReader(data), want: proto.ErrInvalid},
		"another digest":               {digest: digestOf(nil), r: bytes.NewReader(data), want: proto.ErrInvalid},
		"one byte flipped":             {digest: digestOf(data), r: bytes.NewReader(flip(data, 40)), want: proto.ErrInvalid},
		"no archive":                   {r: strings.NewReader("hello"), want: proto.ErrInvalid},
		"a hostile name":               {r: bytes.NewReader(archive(t, "../w", "")), want: proto.ErrInvalid},
		"too many files":               {r: bytes.NewReader(manyFiles(t, 10_001)), want: proto.ErrTooLarge},
		"an archive without end":       {r: endless{}, want: proto.ErrTooLarge},
		"a sender that exits half way": {digest: digestOf(data), r: io.MultiReader(bytes.NewReader(data[:50]), iotest.ErrReader(errDisk)), want: errDisk},
		"a sender that stops early":    {digest: digestOf(data), r: bytes.NewReader(data[:50]), want: proto.ErrInvalid},
		"a caller that left":           {ctx: canceled, r: bytes.NewReader(data), want: proto.ErrCanceled},
		"a caller that leaves":         {ctx: endsAfter(t.Context(), 1), r: iotest.OneByteReader(bytes.NewReader(data)), want: proto.ErrCanceled},
		"a time limit":                 {ctx: late, r: bytes.NewReader(data), want: proto.ErrTimeout},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, roomy)
			s.limits.Archive = 8 << 20
			if tt.ctx == nil {
				tt.ctx = t.Context()
			}
			_, err := s.Put(tt.ctx, tt.digest, tt.r)
			require.ErrorIs(t, err, tt.want)
			assert.Empty(t, names(t, s))
		})
	}
}

func TestStoreTakesAsManyFilesAsAreAllowed(t *testing.T) {
	name := strings.Repeat("x", maxElement-6)
	var entries []string
	for i := range DefaultLimits.Files {
		entries = append(entries, fmt.Sprintf("%06d%s", i, name), "")
	}
	_, err := openStore(t, roomy).Put(t.Context(), "", bytes.NewReader(archive(t, entries...)))
	require.NoError(t, err)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestStorePutsOneDigestAtOnce(t *testing.T) {
	s := openStore(t, roomy)
	data := archive(t, "a.go", noise(100_000))
	digest := digestOf(data)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			p, err := s.Put(context.Background(), digest, iotest.HalfReader(bytes.NewReader(data)))
			if assert.NoError(t, err) {
				assert.Equal(t, int64(len(data)), p.Size)
			}
		})
	}
	group.Wait()
	assert.Equal(t, []string{filepath.Base(s.path(digest))}, names(t, s))
}

func TestStoreRemovesWhatWasUsedTheLongestAgo(t *testing.T) {
	one, two, three := archive(t, "a", noise(1000)), archive(t, "b", noise(1000)), archive(t, "c", noise(1000))
	s := openStore(t, int64(2*len(one)))
	for i, data := range [][]byte{one, two} {
		p, err := s.Put(t.Context(), "", bytes.NewReader(data))
		require.NoError(t, err)
		age(t, p.Path, time.Hour*time.Duration(5-i))
	}
	_, err := s.Get(digestOf(one)) // a use
	require.NoError(t, err)
	_, err = s.Put(t.Context(), "", bytes.NewReader(three))
	require.NoError(t, err)
	assert.True(t, s.Has(digestOf(one)))
	assert.False(t, s.Has(digestOf(two)))
	assert.True(t, s.Has(digestOf(three)))

	age(t, s.path(digestOf(three)), time.Hour)
	_, err = OpenStore(s.dir, int64(len(one)))
	require.NoError(t, err)
	assert.True(t, s.Has(digestOf(one)))
	assert.False(t, s.Has(digestOf(three)), "a smaller limit holds from the opening on")

	small := openStore(t, 1)
	p, err := small.Put(t.Context(), "", bytes.NewReader(one))
	require.NoError(t, err)
	assert.FileExists(t, p.Path, "the newest stays even when it is larger than the store")
}

func TestOpenStoreRemovesUnfinishedFiles(t *testing.T) {
	s := openStore(t, roomy)
	for _, name := range []string{tempPrefix + "old", tempPrefix + "alive", "notes"} {
		require.NoError(t, os.WriteFile(filepath.Join(s.dir, name), nil, 0o600))
	}
	age(t, filepath.Join(s.dir, tempPrefix+"old"), 2*staleAfter)
	age(t, filepath.Join(s.dir, "notes"), 2*staleAfter)
	_, err := OpenStore(s.dir, roomy)
	require.NoError(t, err)
	assert.Equal(t, []string{"notes", tempPrefix + "alive"}, names(t, s))

	_, err = OpenStore(filepath.Join(s.dir, "notes"), roomy)
	require.Error(t, err)
}

func TestStoreWorksInFoldersWithGlobCharacters(t *testing.T) {
	s, err := OpenStore(filepath.Join(t.TempDir(), "[x]*"), 1)
	require.NoError(t, err)
	for _, name := range []string{"a", "b"} {
		_, err := s.Put(t.Context(), "", bytes.NewReader(archive(t, name, "")))
		require.NoError(t, err)
	}
	assert.Len(t, names(t, s), 1)
}

func TestResolvePacksFolders(t *testing.T) {
	dir := folder(t, map[string]string{"go.mod": goMod, "fn/a.go": goFile})
	for name, fn := range map[string]*proto.FunctionJson{
		"dir":            {Name: "Hello", Dir: dir + "/fn", FilePath: dir + "/fn/a.go", Tags: []string{"x"}},
		"filePath alone": {Name: "Hello", FilePath: dir + "/fn/a.go", Tags: []string{"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, roomy)
			resolved, p, err := s.Resolve(t.Context(), fn)
			require.NoError(t, err)
			want := &proto.FunctionJson{Name: "Hello", Package: p.Digest, PackagePath: "fn", FilePath: "a.go", Tags: []string{"x"}}
			assert.True(t, pb.Equal(want, resolved), resolved)
			assert.True(t, s.Has(p.Digest))

			again, same, err := s.Resolve(t.Context(), fn)
			require.NoError(t, err)
			assert.True(t, pb.Equal(resolved, again))
			assert.Equal(t, p, same)

			dst := filepath.Join(t.TempDir(), "dst")
			require.NoError(t, Extract(t.Context(), p.Path, dst, DefaultLimits))
			assert.Equal(t, map[string]string{"go.mod": goMod, "fn/a.go": goFile}, contents(t, dst))

			uploaded, _, err := s.Resolve(t.Context(), resolved)
			require.NoError(t, err)
			assert.True(t, pb.Equal(resolved, uploaded), "what was resolved stays")
			assert.Len(t, names(t, s), 1)
		})
	}
}

func TestResolvePackages(t *testing.T) {
	s := openStore(t, roomy)
	data := archive(t, "fn/a.go", goFile)
	digest := digestOf(data)
	_, err := s.Put(t.Context(), digest, bytes.NewReader(data))
	require.NoError(t, err)

	for name, tt := range map[string]struct{ path, file, wantPath, wantFile string }{
		"root":                         {"", "", ".", ""},
		"root, said":                   {".", "a.go", ".", "a.go"},
		"folder":                       {"fn", "a.go", "fn", "a.go"},
		"folder with a slash":          {"fn/", "fn/a.go", "fn", "a.go"},
		"filePath stands for a folder": {"", "fn/a.go", "fn", "a.go"},
		"filePath, unclean":            {"./fn", "./fn/a.go", "fn", "a.go"},
	} {
		t.Run(name, func(t *testing.T) {
			resolved, p, err := s.Resolve(t.Context(), &proto.FunctionJson{Package: digest, PackagePath: tt.path, FilePath: tt.file})
			require.NoError(t, err)
			assert.Equal(t, tt.wantPath, resolved.GetPackagePath())
			assert.Equal(t, tt.wantFile, resolved.GetFilePath())
			assert.Equal(t, digest, p.Digest)
		})
	}

	for name, fn := range map[string]*proto.FunctionJson{
		"dir and package":             {Dir: "/x", Package: digest},
		"a path that leaves":          {Package: digest, PackagePath: "../x"},
		"an absolute path":            {Package: digest, PackagePath: "/x"},
		"an absolute file":            {Package: digest, FilePath: "/x/a.go"},
		"a file that leaves":          {Package: digest, PackagePath: "fn", FilePath: ".."},
		"a file beside packagePath":   {Package: digest, PackagePath: "fn", FilePath: "other/a.go"},
		"a digest that is none":       {Package: "latest"},
		"no source":                   {Name: "Hello"},
		"nothing":                     nil,
		"a dir relative to something": {Dir: "fn"},
	} {
		t.Run(name, func(t *testing.T) {
			resolved, p, err := s.Resolve(t.Context(), fn)
			refused(t, err, proto.ErrInvalid)
			assert.Nil(t, resolved)
			assert.Nil(t, p)
			assert.Len(t, names(t, s), 1)
		})
	}
	planned, p, err := s.Resolve(t.Context(), &proto.FunctionJson{Package: digestOf(nil), FilePath: "a/b.go", Plan: true})
	require.NoError(t, err)
	assert.Nil(t, p)
	assert.Equal(t, "a", planned.GetPackagePath())
	_, _, err = s.Resolve(t.Context(), &proto.FunctionJson{Package: digestOf(nil)})
	refused(t, err, proto.ErrNotFound, "is not stored")

	plan := &proto.FunctionJson{Package: digestOf(nil), FilePath: "fn/fn.go", Plan: true}
	resolved, p, err := s.Resolve(t.Context(), plan)
	require.NoError(t, err, "a plan needs the digest alone")
	assert.Nil(t, p)
	assert.Equal(t, "fn", resolved.GetPackagePath())
	plan.Package = "sha256:x"
	_, _, err = s.Resolve(t.Context(), plan)
	refused(t, err, proto.ErrInvalid)
}

func TestPackagesThatAreComingCount(t *testing.T) {
	s, err := OpenStore(t.TempDir(), 2*roomStep)
	require.NoError(t, err)
	s.limits.Archive = 4 * roomStep
	kept, err := s.Put(t.Context(), "", bytes.NewReader(archive(t, "a.go", goFile)))
	require.NoError(t, err)

	// One that has come for the most part holds what the store may take.
	first, more := io.Pipe()
	stored := make(chan error, 1)
	go func() { _, err := s.Put(t.Context(), "", first); stored <- err }()
	piece := make([]byte, roomStep)
	for range 3 {
		_, err = more.Write(piece)
		require.NoError(t, err)
	}
	_, err = more.Write(piece[:1]) // it is read when what came before is stored
	require.NoError(t, err)
	assert.False(t, s.Has(kept.Digest), "what is stored makes room for what comes")

	_, err = s.Put(t.Context(), "", bytes.NewReader(make([]byte, 2*roomStep)))
	require.ErrorIs(t, err, proto.ErrTooMany)

	require.NoError(t, more.Close())
	require.ErrorIs(t, <-stored, proto.ErrInvalid, "zeros are no archive")
	_, err = s.Put(t.Context(), "", bytes.NewReader(archive(t, "a.go", goFile)))
	require.NoError(t, err)
}
