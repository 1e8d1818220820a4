package acme

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inMemory are files that several managers of a test share.
type inMemory struct {
	mu    sync.Mutex // guards the fields below:
	files map[string][]byte
	locks map[string]chan struct{}
}

func (m *inMemory) Load(_ context.Context, name string) ([]byte, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[name]
	if !ok {
		return nil, time.Time{}, fs.ErrNotExist
	}
	return data, time.Now(), nil
}

func (m *inMemory) Store(_ context.Context, name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = data
	return nil
}

func below(file, name string) bool {
	return name == "" || file == name || strings.HasPrefix(file, name+"/")
}

func (m *inMemory) Delete(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.files, func(file string, _ []byte) bool { return below(file, name) })
	return nil
}

func (m *inMemory) List(_ context.Context, name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(m.files)), func(file string) bool { return !below(file, name) }), nil
}

func (m *inMemory) Lock(ctx context.Context, name string) (func(), error) {
	m.mu.Lock()
	if m.locks[name] == nil {
		m.locks[name] = make(chan struct{}, 1)
	}
	lock := m.locks[name]
	m.mu.Unlock()
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func newInMemory() *inMemory {
	return &inMemory{files: map[string][]byte{}, locks: map[string]chan struct{}{}}
}

// certmagic's own storage in a folder says what is right.
func TestSharedFilesAreAStorageLikeAFolder(t *testing.T) {
	ctx := t.Context()
	folder, ours := certmagic.Storage(&certmagic.FileStorage{Path: t.TempDir()}), newStorage(newInMemory())
	for _, s := range []certmagic.Storage{folder, ours} {
		for _, name := range []string{"a/b/c.key", "a/b/c.crt", "a/d.json", "ab/x", "e"} {
			require.NoError(t, s.Store(ctx, name, []byte(name)))
		}
		require.NoError(t, s.Store(ctx, "e", []byte("longer than before")))
	}
	same := func() {
		t.Helper()
		for _, name := range []string{"", "a", "a/b", "a/b/c.key", "ab", "e", "a/b/no", "no"} {
			assert.Equal(t, folder.Exists(ctx, name), ours.Exists(ctx, name), "exists %q", name)
			want, err1 := folder.Load(ctx, name)
			got, err2 := ours.Load(ctx, name)
			assert.Equal(t, err1 == nil, err2 == nil, "load %q: %v, %v", name, err1, err2)
			assert.Equal(t, errors.Is(err1, fs.ErrNotExist), errors.Is(err2, fs.ErrNotExist) && !ours.Exists(ctx, name), "load %q: %v, %v", name, err1, err2)
			assert.Equal(t, string(want), string(got))
			infoWant, err1 := folder.Stat(ctx, name)
			infoGot, err2 := ours.Stat(ctx, name)
			assert.Equal(t, err1 == nil, err2 == nil, "stat %q: %v, %v", name, err1, err2)
			assert.Equal(t, infoWant.IsTerminal, infoGot.IsTerminal, "stat %q", name)
			if infoWant.IsTerminal {
				assert.Equal(t, infoWant.Size, infoGot.Size)
			}
			for _, recursive := range []bool{false, true} {
				want, err1 := folder.List(ctx, name, recursive)
				got, err2 := ours.List(ctx, name, recursive)
				slices.Sort(want)
				if name != "a/b/c.key" && name != "e" { // a file is listed by nobody
					assert.Equal(t, err1 == nil, err2 == nil, "list %q: %v, %v", name, err1, err2)
					assert.Equal(t, want, got, "list %q, %v", name, recursive)
				}
			}
		}
	}
	same()
	for _, s := range []certmagic.Storage{folder, ours} {
		require.NoError(t, s.Delete(ctx, "a/b"))
	}
	same()
	require.NoError(t, ours.Lock(ctx, "name"))
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, newStorage(ours.Files).Lock(short, "name"), context.DeadlineExceeded)
	require.NoError(t, ours.Unlock(ctx, "name"))
	require.NoError(t, newStorage(ours.Files).Lock(ctx, "name"))
	require.Error(t, ours.Unlock(ctx, "name"), "it is another's")
}

// slow are files of which nothing is read until they are released.
type slow struct {
	*inMemory
	asked, release chan struct{}
	once           sync.Once
}

func (s *slow) Load(ctx context.Context, name string) ([]byte, time.Time, error) {
	s.once.Do(func() { close(s.asked) })
	<-s.release
	return s.inMemory.Load(ctx, name)
}

// The first caller of a process that takes over finds the certificate.
func TestWhatIsStoredServesOnceItIsLoaded(t *testing.T) {
	l, port := listen(t)
	a, files := NewAuthority(t, port, Lasting), newInMemory()
	first := serveFrom(t, l, a, t.TempDir(), files)
	first.Loaded(t.Context()) // there is none, and it waits for none
	serial := first.eventually(t, a, some, "a certificate is issued")

	late := &slow{inMemory: files, asked: make(chan struct{}), release: make(chan struct{})}
	other, _ := listen(t)
	next := serveFrom(t, other, a, t.TempDir(), late)
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		next.Loaded(t.Context())
	}()
	within(t, late.asked, "it is not read")
	select {
	case <-loaded:
		t.Error("nothing is loaded yet")
	default:
	}
	close(late.release)
	within(t, loaded, "it waits on")
	assert.Equal(t, serial, next.serial(a))
}

// lateLock gives its lock when that is let, whatever becomes of the caller.
type lateLock struct {
	*inMemory
	asked, let chan struct{}
}

func (l *lateLock) Lock(_ context.Context, name string) (unlock func(), err error) {
	close(l.asked)
	<-l.let
	return l.inMemory.Lock(context.Background(), name)
}

func TestALockThatIsTakenAfterTheEndIsGivenBack(t *testing.T) {
	files := &lateLock{inMemory: newInMemory(), asked: make(chan struct{}), let: make(chan struct{})}
	ours := newLocks(newStorage(files))
	taken := make(chan error, 1)
	go func() { taken <- ours.Lock(t.Context(), "name") }()
	within(t, files.asked, "it is not asked for")
	ours.end(t.Context()) // waits for a while
	close(files.let)
	require.ErrorIs(t, <-taken, context.Canceled)
	short, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	unlock, err := files.inMemory.Lock(short, "lock/name")
	require.NoError(t, err, "a lock was left behind")
	unlock()
	require.ErrorIs(t, ours.Lock(t.Context(), "name"), context.Canceled)
}

// fickle are files that cannot be read for a while.
type fickle struct {
	*inMemory
	away atomic.Bool
}

var errAway = errors.New("the store does not answer")

func (f *fickle) Load(ctx context.Context, name string) ([]byte, time.Time, error) {
	if f.away.Load() {
		return nil, time.Time{}, errAway
	}
	return f.inMemory.Load(ctx, name)
}

func (f *fickle) List(ctx context.Context, name string) ([]string, error) {
	if f.away.Load() {
		return nil, errAway
	}
	return f.inMemory.List(ctx, name)
}

func (f *fickle) Store(ctx context.Context, name string, data []byte) error {
	if f.away.Load() {
		return errAway
	}
	return f.inMemory.Store(ctx, name, data)
}

// A proxy that starts while the store is away serves with the certificate that it last had; one
// that never had one serves with it when the store is back.
func TestACopyServesWhileTheStoreIsAway(t *testing.T) {
	l, port := listen(t)
	a, files, dir := NewAuthority(t, port, Lasting), &fickle{inMemory: newInMemory()}, t.TempDir()
	serial := serveFrom(t, l, a, dir, files).eventually(t, a, some, "a certificate is issued")

	files.away.Store(true)
	other, _ := listen(t)
	again := serveFrom(t, other, a, dir, files)
	again.Loaded(t.Context())
	assert.Equal(t, serial, again.serial(a), "the first caller is served")
	orders := a.Orders()

	third, _ := listen(t)
	stranger := serveFrom(t, third, a, t.TempDir(), files)
	assert.Empty(t, stranger.serial(a), "it has none")
	files.away.Store(false)
	assert.Equal(t, serial, stranger.eventually(t, a, some, "the store is back"))
	assert.Equal(t, orders, a.Orders(), "nobody has asked for another one")
	require.NoError(t, filepath.WalkDir(filepath.Join(dir, copiesFolder), func(path string, d fs.DirEntry, err error) error {
		info, _ := os.Stat(path)
		assert.Zero(t, info.Mode().Perm()&0o077, "%s is the proxy's alone", path)
		return err
	}))
}
