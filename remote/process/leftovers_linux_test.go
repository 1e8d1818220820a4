package process

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// install copies the child to a path.
func install(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	from, err := os.Open(childPath)
	require.NoError(t, err)
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o700)
	require.NoError(t, err)
	_, err = io.Copy(to, from)
	require.NoError(t, err)
	require.NoError(t, to.Close())
}

func TestLeftoversEndsItsOwnAndNoStranger(t *testing.T) {
	own, other := newStage(t), newStage(t)
	dir := filepath.Join(own.dir, "bin")
	link := filepath.Join(own.dir, "link")
	require.NoError(t, os.Symlink(dir, link))

	start := func(s *stage, path, part string) *Process {
		install(t, path)
		s.Path = path
		return s.start(part)
	}
	polite := start(own, filepath.Join(dir, "a", "fn"), "serve")
	stopped := start(own, filepath.Join(dir, "b"), "silent")
	require.NoError(t, syscall.Kill(stopped.Pid(), syscall.SIGSTOP))
	deleted := start(own, filepath.Join(dir, "c"), "silent")
	require.NoError(t, os.Remove(filepath.Join(dir, "c")))
	// Not below the folder, though its name begins like it.
	stranger := start(other, dir+"x", "silent")
	foreign := exec.Command("sleep", "1000")
	foreign.Dir = dir
	require.NoError(t, foreign.Start())
	defer func() {
		require.NoError(t, foreign.Process.Kill())
		_ = foreign.Wait()
	}()

	count, err := Leftovers(t.Context(), link)
	require.NoError(t, err)
	assert.Equal(t, 3, count)
	for _, p := range []*Process{polite, stopped, deleted} {
		within(t, p.Done())
	}
	assert.Zero(t, stranger.Exit())
}

func TestLeftoversTakesChildrenAndTheDeaf(t *testing.T) {
	s := newStage(t)
	s.Path = filepath.Join(s.dir, "bin", "fn")
	install(t, s.Path)
	p := s.start("deaf")
	child := s.said("child %d")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	count, err := Leftovers(ctx, filepath.Join(s.dir, "bin"))
	require.NoError(t, err)
	assert.Equal(t, 2, count)
	within(t, p.Done())
	assert.Equal(t, syscall.SIGKILL, p.Exit().Signal)
	waitExited(t, child)
}

func TestLeftoversTakesBuilds(t *testing.T) {
	dir := t.TempDir()
	start := func(env string) *exec.Cmd {
		cmd := exec.Command("sleep", "1000")
		cmd.Env = []string{"A=b", env}
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		return cmd
	}
	build := start("GOTMPDIR=" + dir + "/fn/build/tmp")
	strangers := []*exec.Cmd{start("GOTMPDIR=" + dir + "2/tmp"), start("NOTGOTMPDIR=" + dir + "/tmp"), start("GOTMPDIR=" + dir)}
	count, err := Leftovers(t.Context(), dir)
	require.NoError(t, err)
	assert.Equal(t, 1, count)
	assert.EqualError(t, build.Wait(), "signal: terminated")
	for _, s := range strangers {
		assert.NoError(t, s.Process.Signal(syscall.Signal(0)))
	}
}

// What a path means is said by the mounts that a process sees.
func TestPlaces(t *testing.T) {
	const mounts = `1 0 254:0 / / rw - ext4 /dev/vda rw
2 1 0:20 / /proc rw - proc proc rw
3 1 254:1 /vol /srv/with\040space rw shared:1 - ext4 /dev/vdb rw
4 3 254:0 /var/lib/ryo/agent/functions/f/1/fn /srv/with\040space/f/fn rw - ext4 /dev/vda rw
5 1 254:0 /old//deleted /gone rw - ext4 /dev/vda rw
6 1 254:2 / /gone rw - ext4 /dev/vdc rw
odd
`
	for path, want := range map[string]place{
		"/home/a":                        {"254:0", "/home/a"},
		"/procfs":                        {"254:0", "/procfs"},
		"/srv/with space/x":              {"254:1", "/vol/x"},
		"/srv/with space/f/fn":           {"254:0", "/var/lib/ryo/agent/functions/f/1/fn"},
		"/srv/with space/f/fn (deleted)": {"254:0", "/var/lib/ryo/agent/functions/f/1/fn"},
		"/gone/x":                        {"254:2", "/x"},
	} {
		at, err := placeIn(mounts, path)
		require.NoError(t, err)
		assert.Equal(t, want, at, path)
	}
	at, err := placeIn("5 1 254:0 /old//deleted /gone rw - ext4 x rw", "/gone/x")
	require.NoError(t, err)
	assert.Equal(t, place{"254:0", "/old/x"}, at)
	_, err = placeIn("", "/x")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLeftoversOfNothing(t *testing.T) {
	count, err := Leftovers(t.Context(), filepath.Join(t.TempDir(), "missing"))
	require.NoError(t, err)
	assert.Zero(t, count)
}

// A process that has reused a pid since it was found is not signalled.
func TestAnotherIdentityIsNotOpened(t *testing.T) {
	p := newStage(t).start("silent")
	was, err := identify(p.Pid())
	require.NoError(t, err)
	was.start--
	_, err = openVerified(p.Pid(), was)
	require.ErrorIs(t, err, syscall.ESRCH)
}
