package poll_test

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/poll"
	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testkit.Guarded(m)) }

// pair is a connection: our end, its descriptor, and the other end.
func pair(t *testing.T) (ours net.Conn, descriptor poll.Control, other *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	ours, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = ours.Close(), conn.Close() })
	raw, err := ours.(syscall.Conn).SyscallConn()
	require.NoError(t, err)
	return ours, func(do func(uintptr)) { _ = raw.Control(do) }, conn.(*net.TCPConn)
}

func polled(t *testing.T) (p *poll.Poll[string], told <-chan string) {
	said := make(chan string, 16)
	p = &poll.Poll[string]{Tell: func(who string) { said <- who }}
	t.Cleanup(p.Close)
	return p, said
}

func hears(t *testing.T, told <-chan string, want string) {
	t.Helper()
	select {
	case who := <-told:
		assert.Equal(t, want, who)
	case <-time.After(testkit.Patience):
		require.Fail(t, "nothing is told", want)
	}
}

func TestWhoHasLeftIsToldOnce(t *testing.T) {
	p, told := polled(t)
	_, stays, _ := pair(t)
	require.NotZero(t, p.Left(stays, "stays"))
	ours, leaves, other := pair(t)
	require.NotZero(t, p.Left(leaves, "leaves"))
	assert.Zero(t, p.Left(leaves, "another"), "it is watched already")
	_, err := other.Write([]byte("x")) // which is no leaving
	require.NoError(t, err)
	require.NoError(t, other.CloseWrite())
	hears(t, told, "leaves")
	_, err = io.ReadAll(ours)
	require.NoError(t, err)

	_, late, left := pair(t)
	require.NoError(t, left.Close())
	require.NotZero(t, p.Left(late, "before"))
	hears(t, told, "before")
	assert.Empty(t, told)
}

func TestWhatComesIsToldOnceEachTime(t *testing.T) {
	p, told := polled(t)
	ours, descriptor, other := pair(t)
	for range 3 {
		require.NotZero(t, p.Once(descriptor, "comes"))
		_, err := other.Write([]byte("x"))
		require.NoError(t, err)
		hears(t, told, "comes")
		_, err = other.Write([]byte("y"))
		require.NoError(t, err)
		_, err = io.ReadFull(ours, make([]byte, 2))
		require.NoError(t, err)
	}
	require.NotZero(t, p.Once(descriptor, "goes"))
	require.NoError(t, other.Close())
	hears(t, told, "goes")
	assert.Empty(t, told)
}

func TestNothingIsToldOfAWatchThatHasEnded(t *testing.T) {
	p, told := polled(t)
	_, ended, first := pair(t)
	_, forgotten, second := pair(t)
	p.End(p.Left(ended, "ended"), ended)
	p.Forget(p.Once(forgotten, "forgotten"))
	require.NoError(t, first.Close())
	require.NoError(t, second.Close())
	require.NotZero(t, p.Left(ended, "again"), "it may be watched again")
	hears(t, told, "again") // the others would have come before
	assert.Empty(t, told)
}

func TestWhatIsClosedIsNotWatched(t *testing.T) {
	p, _ := polled(t)
	ours, descriptor, _ := pair(t)
	require.NoError(t, ours.Close())
	assert.Zero(t, p.Once(descriptor, "closed"))
	p.Forget(0)
	p.End(0, descriptor)
	p.Close()
	_, open, _ := pair(t)
	assert.Zero(t, p.Left(open, "late"), "the poll is closed")
}
