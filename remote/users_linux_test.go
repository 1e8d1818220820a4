package remote

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
)

// userOf is the user of a function's process.
func userOf(t *testing.T, row *proto.FunctionJsonRsp) (user int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", row.GetPid()))
	require.NoError(t, err)
	_, after, _ := strings.Cut(string(status), "\nUid:")
	_, err = fmt.Sscan(after, &user)
	require.NoError(t, err)
	return user
}

func TestEachFunctionHasAUserOfItsOwn(t *testing.T) {
	dir := t.TempDir()
	a := startWith(t, dir, func(cfg *Config) { cfg.StopFunctions = false })
	if a.walls.Tier() < proto.IsolationFull {
		t.Skip(a.walls.Report().Why)
	}
	one, two := a.deploy(t, "One", says("One", "1")), a.deploy(t, "Two", says("Two", "2"))
	users := []int{userOf(t, one), userOf(t, two)}
	assert.NotEqual(t, users[0], users[1])
	assert.NotContains(t, users, os.Getuid())
	assert.Equal(t, users[0], userOf(t, a.deploy(t, "One", says("One", "1b"))), "of all its versions")

	// Who calls its socket sees the agent, which opened it.
	conn, err := net.Dial("unix", one.GetSocket())
	require.NoError(t, err)
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		require.NoError(t, err)
		assert.EqualValues(t, os.Getuid(), peer.Uid)
	}))

	a.end()
	a = start(t, dir)
	assert.Equal(t, two.GetPid(), a.row(t, "Two").GetPid(), "taken over")
	assert.Equal(t, users[0], userOf(t, a.deploy(t, "One", says("One", "1c"))), "of the next agent, too")
	assert.NotContains(t, users, userOf(t, a.deploy(t, "Three", says("Three", "3"))))
	_, err = a.Stop(t.Context(), "Two")
	require.NoError(t, err)
	assert.NotEqual(t, users[1], userOf(t, a.deploy(t, "Four", says("Four", "4"))), "it may come back")
	_, err = a.Remove(t.Context(), "Two")
	require.NoError(t, err)
	assert.Equal(t, users[1], userOf(t, a.deploy(t, "Five", says("Five", "5"))), "nothing is left of it")
	for _, name := range []string{"One", "Three", "Four", "Five"} {
		_, err = a.Remove(t.Context(), name)
		require.NoError(t, err)
	}
	assert.Empty(t, a.users.used)
}

// Files are the agent's on the disk, so neither it nor a function has to be told of another
// tier.
func TestTheTierMayChange(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	a := launch(t, dir, "")
	notes := a.give(t, &proto.FunctionJson{Name: "Notes", Dir: source(t, `package fn

import (
	"fmt"
	"net/http"
	"os"
)

func Notes(w http.ResponseWriter, r *http.Request) {
	notes, err := os.OpenFile(os.Getenv("TMPDIR")+"/notes", os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = notes.WriteString("x")
	}
	if err != nil {
		fmt.Fprint(w, err)
		return
	}
	info, err := notes.Stat()
	fmt.Fprint(w, info.Size(), err)
}
`)})
	if notes.GetIsolation() != proto.IsolationFull.String() {
		t.Skip("it takes the tier full")
	}
	assertSays(t, "1 <nil>", notes.GetUrl())
	less := filepath.Join(dir, "less")                                                                                                               // an agent that cannot mount
	require.NoError(t, os.WriteFile(less, fmt.Appendf(nil, "#!/bin/sh\nexec %s --bounding-set -sys_admin %s \"$@\"\n", setpriv, os.Args[0]), 0o700)) //nolint:gosec // a program
	for i, file := range []string{less, os.Args[0]} {
		a.end(t, syscall.SIGKILL)
		a = launchFrom(t, file, dir, a.addr)
		was := a.row(t, "Notes")
		assert.Equal(t, notes.GetPid(), was.GetPid(), "taken over")
		assert.Equal(t, notes.GetIsolation(), was.GetIsolation(), "as it was started")
		require.NoError(t, syscall.Kill(int(was.GetPid()), syscall.SIGKILL))
		require.Eventually(t, func() bool {
			notes = a.row(t, "Notes")
			return notes.GetInstances() == 1 && notes.GetPid() != was.GetPid()
		}, patience, 5*time.Millisecond)
		assert.NotEqual(t, was.GetIsolation(), notes.GetIsolation())
		assertSays(t, fmt.Sprint(i+2, " <nil>"), notes.GetUrl())
	}
	assert.Equal(t, proto.IsolationFull.String(), notes.GetIsolation())
}
