package testkit

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// actVariable makes a process of this binary guarded tests of a kind.
const actVariable = "TESTKIT_TEST_ACT"

func TestMain(m *testing.M) {
	guarded := Guarded(m)
	if kind := os.Getenv(actVariable); kind != "" {
		os.Exit(Guarded(act(kind)).Run())
	}
	os.Exit(guarded.Run())
}

// act are tests that write a file, start a process in a session of its own, and
// print its pid.
type act string

func (a act) Run() int {
	file := filepath.Join(os.TempDir(), "left")
	child := exec.Command("sleep", "600")
	child.Dir = os.TempDir()
	child.Env = []string{}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.WriteFile(file, nil, 0o600) != nil || child.Start() != nil {
		return 2
	}
	fmt.Println(child.Process.Pid, os.TempDir())
	switch a {
	case "waits":
		_ = child.Wait()
	case "cleans":
		_, _ = child.Process.Kill(), child.Wait()
		_ = os.Remove(file)
	}
	return 0
}

// play starts an act in a folder.
func play(t *testing.T, kind, temp string) (cmd *exec.Cmd, stderr *strings.Builder, child int, root string) {
	t.Helper()
	cmd, stderr = exec.Command(os.Args[0]), new(strings.Builder)
	cmd.Env = append(os.Environ(), actVariable+"="+kind, guardedVariable+"=", "TMPDIR="+temp)
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	_, err = fmt.Sscan(line, &child, &root)
	require.NoError(t, err)
	return cmd, stderr, child, root
}

func alive(pid int) bool {
	_, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe")
	return err == nil
}

func assertClean(t *testing.T, child int, root string) {
	t.Helper()
	assert.Eventually(t, func() bool {
		_, err := os.Stat(root)
		return !alive(child) && os.IsNotExist(err)
	}, Patience, 5*time.Millisecond)
}

func TestNothingOutlivesTestsThatAreInterrupted(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		cmd, _, child, root := play(t, "waits", t.TempDir())
		require.NoError(t, cmd.Process.Signal(signal))
		require.Error(t, cmd.Wait())
		assertClean(t, child, root)
	}
}

func TestWhatTestsLeaveIsToldAndRemoved(t *testing.T) {
	cmd, stderr, child, root := play(t, "leaves", t.TempDir())
	require.Error(t, cmd.Wait())
	assert.Contains(t, stderr.String(), "process "+strconv.Itoa(child)+`: "sleep`)
	assert.Contains(t, stderr.String(), "file "+filepath.Join(root, "left"))
	assertClean(t, child, root)

	cmd, stderr, child, root = play(t, "cleans", t.TempDir())
	require.NoError(t, cmd.Wait(), stderr)
	assertClean(t, child, root)
}

func TestTheNextRunCleansUpAfterAGuardThatWasKilled(t *testing.T) {
	temp := t.TempDir()
	cmd, _, child, root := play(t, "waits", temp)
	other, _, otherChild, otherRoot := play(t, "waits", temp) // goes on
	for _, pid := range belonging(root) {
		if command, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline"); pid != child && !strings.HasPrefix(string(command), "sleep") {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL)) // the guard
		}
	}
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.True(t, alive(child))
	cleanOld(temp)
	assertClean(t, child, root)
	assert.True(t, alive(otherChild))
	require.NoError(t, other.Process.Kill())
	_ = other.Wait()
	assertClean(t, otherChild, otherRoot)
}

func TestARootIsNamedWhole(t *testing.T) {
	for text, want := range map[string]bool{
		"a\x00-dir\x00/tmp/root-1/x": true, "TMPDIR=/tmp/root-1": true, "/tmp/root-12": false, "/tmp/root-12:/tmp/root-1\x00": true, "": false,
	} {
		assert.Equal(t, want, names(text, "/tmp/root-1"), "%q", text)
	}
}

func TestARunThatBeginsIsNotTakenForAnOldOne(t *testing.T) {
	dir := t.TempDir()
	var cleaning sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		cleaning.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					cleanOld(dir)
				}
			}
		})
	}
	for range 300 {
		root, lock, err := newRoot(dir)
		require.NoError(t, err)
		assert.DirExists(t, root)
		require.NoError(t, os.RemoveAll(root))
		require.NoError(t, lock.Close())
	}
	close(done)
	cleaning.Wait()
}
