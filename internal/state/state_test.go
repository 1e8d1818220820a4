package state_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
)

func TestMain(m *testing.M) {
	guarded := testkit.Guarded(m)
	if dir := os.Getenv("STATE_TEST_HOLD"); dir != "" {
		if _, err := state.Open(dir); err != nil {
			_, _ = os.Stdout.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(guarded.Run())
}

func TestAFolderHasOneHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	d, err := state.Open(dir)
	require.NoError(t, err)

	_, err = state.Open(dir)
	require.ErrorIs(t, err, proto.ErrConflict)

	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "STATE_TEST_HOLD="+dir)
	out, err := other.Output()
	require.Error(t, err)
	assert.Contains(t, string(out), "in use by process "+strconv.Itoa(os.Getpid()))

	require.NoError(t, d.Close())
	d, err = state.Open(dir)
	require.NoError(t, err)
	require.NoError(t, d.Close())
}

func TestWriteReplacesAndLeavesNothingElse(t *testing.T) {
	d, err := state.Open(t.TempDir())
	require.NoError(t, err)
	defer d.Close()

	var got []string
	found, err := d.Read("x/list.json", &got)
	require.NoError(t, err)
	assert.False(t, found)

	require.NoError(t, d.Write("x/list.json", []string{"a", "b"}))
	require.NoError(t, d.Write("x/list.json", []string{"c"}))
	found, err = d.Read("x/list.json", &got)
	require.NoError(t, err)
	assert.True(t, found)
	assert.Equal(t, []string{"c"}, got)

	entries, err := os.ReadDir(d.Path("x"))
	require.NoError(t, err)
	assert.Len(t, entries, 1)

	require.NoError(t, os.WriteFile(d.Path("x", "list.json"), []byte(`["c"`), 0o600))
	_, err = d.Read("x/list.json", &got)
	require.ErrorContains(t, err, "list.json")
}

func TestAFolderIsLentWithItsLock(t *testing.T) {
	dir := t.TempDir()
	d, err := state.Open(dir)
	require.NoError(t, err)
	require.NoError(t, d.Write("list.json", []string{"a"}))
	fd, err := syscall.Dup(int(d.Lend().Fd())) // as another process gets it
	require.NoError(t, err)
	require.ErrorIs(t, d.Write("list.json", []string{"b"}), state.ErrLent)
	_, err = d.SetAside("list.json")
	require.ErrorIs(t, err, state.ErrLent)
	heir, err := state.Take(dir, os.NewFile(uintptr(fd), "lock"))
	require.NoError(t, err)
	require.NoError(t, heir.Write("list.json", []string{"c"}))
	require.NoError(t, d.Close())
	_, err = state.Open(dir)
	require.ErrorIs(t, err, proto.ErrConflict, "it is locked as long as one of the two has it")
	require.NoError(t, heir.Close())

	d, err = state.Open(dir)
	require.NoError(t, err)
	d.Lend()
	require.NoError(t, d.Reclaim())
	require.NoError(t, d.Write("list.json", []string{"d"}))
	other, err := os.Open(filepath.Join(dir, "list.json"))
	require.NoError(t, err)
	_, err = state.Take(dir, other)
	require.ErrorContains(t, err, "is not that of", "another file is no lock of it")
	require.NoError(t, d.Close())
}

// Nobody else is to decide what a program holds for its own.
func TestFoldersOfOthersAreRefused(t *testing.T) {
	root := os.Geteuid() == 0
	for name, c := range map[string]struct {
		make func(dir string) error // dir is there, and lies in a folder of its own
		says string
		hint string // of dir, or of the folder it lies in
	}{
		"as it should be":           {func(string) error { return nil }, "", ""},
		"readable by all":           {func(dir string) error { return os.Chmod(dir, 0o755) }, "", ""},
		"writable by its group":     {func(dir string) error { return os.Chmod(dir, 0o770) }, "its group may write to it", "chmod go-w DIR"},
		"writable by all":           {func(dir string) error { return os.Chmod(dir, 0o707) }, "everybody may write to it", "chmod go-w DIR"},
		"of everybody, sticky":      {func(dir string) error { return os.Chmod(dir, 0o777|os.ModeSticky) }, "its group may write to it", "chmod go-w DIR"},
		"of another user":           {func(dir string) error { return os.Chown(dir, 65534, -1) }, "it belongs to the user 65534", "chown -R " + strconv.Itoa(os.Geteuid()) + " DIR"},
		"in a folder of all":        {func(dir string) error { return os.Chmod(filepath.Dir(dir), 0o777) }, "everybody may write to it", "chmod go-w IN"},
		"in a sticky folder of all": {func(dir string) error { return os.Chmod(filepath.Dir(dir), 0o777|os.ModeSticky) }, "", ""},
		"in a folder of a group":    {func(dir string) error { return os.Chmod(filepath.Dir(dir), 0o770) }, "", ""},
		"in that of another group": {func(dir string) error {
			in := filepath.Dir(dir)
			if err := os.Chown(in, -1, 65534); err != nil {
				return err
			}
			return os.Chmod(in, 0o770)
		}, "the group 65534 may write to it", "chmod go-w IN"},
		"in that of another user": {func(dir string) error { return os.Chown(filepath.Dir(dir), 65534, -1) }, "it belongs to the user 65534", "chown -R"},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(name, "another") && !root {
				t.Skip("only root gives folders away")
			}
			dir := filepath.Join(t.TempDir(), "in", "dir")
			require.NoError(t, os.MkdirAll(dir, 0o700))
			require.NoError(t, c.make(dir))
			link := filepath.Join(t.TempDir(), "link")
			require.NoError(t, os.Symlink(dir, link))
			for _, path := range []string{dir, link} {
				d, err := state.Open(path)
				if c.says == "" {
					require.NoError(t, err)
					require.NoError(t, d.Close())
					continue
				}
				require.ErrorIs(t, err, proto.ErrForbidden)
				assert.Contains(t, err.Error(), c.says)
				way := strings.NewReplacer("DIR", dir, "IN", filepath.Dir(dir)).Replace(c.hint)
				assert.Contains(t, proto.AsError(err).Hint, way)
				assert.NoFileExists(t, filepath.Join(dir, "LOCK"))
			}
		})
	}
}

func TestALockIsNoLink(t *testing.T) {
	dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	require.NoError(t, os.WriteFile(victim, []byte("precious"), 0o600))
	require.NoError(t, os.Symlink(victim, filepath.Join(dir, "LOCK")))
	_, err := state.Open(dir)
	require.Error(t, err)
	got, err := os.ReadFile(victim)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(got))
}

func TestWhatWriteDidNotStoreIsDamaged(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"empty":           func(f string) error { return os.Truncate(f, 0) },
		"truncated":       func(f string) error { return os.Truncate(f, 5) },
		"other text":      func(f string) error { return os.WriteFile(f, []byte("\x00\x00\x00\x00"), 0o600) },
		"another value":   func(f string) error { return os.WriteFile(f, []byte(`"x"`), 0o600) },
		"endless":         func(f string) error { return os.Truncate(f, 1<<40) },
		"writable by all": func(f string) error { return os.Chmod(f, 0o666) },
		"a link":          func(f string) error { return errors.Join(os.Rename(f, f+"2"), os.Symlink(f+"2", f)) },
		"a folder":        func(f string) error { return errors.Join(os.Remove(f), os.Mkdir(f, 0o700)) },
		"a fifo":          func(f string) error { return errors.Join(os.Remove(f), syscall.Mkfifo(f, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			d, err := state.Open(t.TempDir())
			require.NoError(t, err)
			defer d.Close()
			require.NoError(t, d.Write("x/list.json", []string{"a", "b"}))
			require.NoError(t, spoil(d.Path("x", "list.json")))
			var got []string
			_, err = d.Read("x/list.json", &got)
			require.ErrorIs(t, err, state.ErrDamaged)
			aside, err := d.SetAside("x/list.json")
			require.NoError(t, err)
			assert.Regexp(t, `/x/list\.json\.damaged-\d{8}T\d{6}\.\d{3}Z$`, aside)
			found, err := d.Read("x/list.json", &got)
			require.NoError(t, err)
			assert.False(t, found)
		})
	}
}

func TestAFolderThatCannotBeMadeNamesTheFlag(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := state.Open(filepath.Join(file, "folder"))
	require.ErrorIs(t, err, proto.ErrForbidden)
	assert.ErrorContains(t, err, file)
	assert.Equal(t, "choose another folder with -dir", proto.AsError(err).Hint)
}
