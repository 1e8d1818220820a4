package peercred

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const dialer = "PEERCRED_DIAL"

// TestMain is also the caller that tests start: it connects, says so, does what its
// second argument says, and waits for the end of its input.
func TestMain(m *testing.M) {
	what := os.Getenv(dialer)
	if what == "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	if what == "confined" {
		filter := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
		prog := unix.SockFprog{Len: 1, Filter: &filter}
		must(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
		if errno != 0 {
			must(errno)
		}
	}
	if what == "hidden" {
		must(unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
	}
	conn, err := net.Dial(os.Args[1], os.Args[2])
	must(err)
	if what == "closed" {
		must(conn.Close())
	}
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
	runtime.KeepAlive(conn)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// caller starts a process that connects to l, and returns the connection and how to
// end the process.
func caller(t *testing.T, l net.Listener, what string, uid int) (net.Conn, func()) {
	t.Helper()
	program, err := os.Open("/proc/self/exe") // which other users cannot reach, but can run
	require.NoError(t, err)
	defer program.Close()
	cmd := exec.Command("/proc/self/fd/3", l.Addr().Network(), l.Addr().String())
	cmd.ExtraFiles = []*os.File{program}
	cmd.Env = append(os.Environ(), dialer+"="+what)
	cmd.Stderr = os.Stderr
	if uid != os.Getuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	end := func() {
		in.Close()
		_ = cmd.Wait()
	}
	t.Cleanup(end)
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	conn, err := l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn, end
}

func listeners(t *testing.T) map[string]net.Listener {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer") //nolint:usetesting // other users cannot reach those of testing
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o777))
	path := filepath.Join(dir, "s")
	all := make(map[string]net.Listener)
	for name, at := range map[string][2]string{"IPv4": {"tcp4", "127.0.0.1:0"}, "IPv6": {"tcp6", "[::1]:0"}, "unix": {"unix", path}} {
		l, err := net.Listen(at[0], at[1])
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		all[name] = l
	}
	require.NoError(t, os.Chmod(path, 0o777))
	return all
}

func users() map[string]int {
	all := map[string]int{"the same user": os.Getuid()}
	if os.Getuid() == 0 {
		all["another user"] = 65534
	}
	return all
}

func TestThePeerIsTheUserWhoConnected(t *testing.T) {
	for network, l := range listeners(t) {
		for name, uid := range users() {
			t.Run(network+" by "+name, func(t *testing.T) {
				conn, _ := caller(t, l, "plain", uid)
				p, err := Of(conn)
				require.NoError(t, err)
				assert.Equal(t, uid, p.UID)
				confined, err := p.Confined()
				require.NoError(t, err)
				assert.False(t, confined)
			})
			t.Run(network+" by "+name+", confined", func(t *testing.T) {
				conn, end := caller(t, l, "confined", uid)
				p, err := Of(conn)
				require.NoError(t, err)
				assert.Equal(t, uid, p.UID)
				confined, err := p.Confined()
				require.NoError(t, err)
				assert.True(t, confined)
				end()
				_, err = p.Confined()
				assert.ErrorIs(t, err, ErrClosed, "what nobody has any more")
			})
		}
	}
}

func TestIPv4OverAnIPv6ListenerIsFound(t *testing.T) {
	l, err := net.Listen("tcp", "[::]:0")
	require.NoError(t, err)
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	out, err := net.Dial("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	require.NoError(t, err)
	defer out.Close()
	in, err := l.Accept()
	require.NoError(t, err)
	defer in.Close()
	p, err := Of(in)
	require.NoError(t, err)
	assert.Equal(t, os.Getuid(), p.UID)
}

// A closed socket is reported as root's.
func TestAClosedPeerIsNobody(t *testing.T) {
	l := listeners(t)["IPv4"]
	for name, uid := range users() {
		t.Run(name, func(t *testing.T) {
			conn, _ := caller(t, l, "closed", uid)
			_, err := Of(conn)
			assert.ErrorIs(t, err, ErrClosed)
		})
	}
}

func TestAProcessThatCannotBeLookedIntoIsSeenByItsFilters(t *testing.T) {
	l := listeners(t)["IPv4"]
	conn, end := caller(t, l, "hidden", os.Getuid())
	p, err := Of(conn)
	require.NoError(t, err)
	confined, err := p.Confined()
	require.NoError(t, err)
	assert.False(t, confined)
	end()
	_, err = p.Confined()
	assert.ErrorIs(t, err, ErrClosed)
}

type elsewhere struct{ net.Conn }

func (elsewhere) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
}

func TestAPeerOnAnotherMachine(t *testing.T) {
	conn, _ := caller(t, listeners(t)["IPv4"], "plain", os.Getuid())
	_, err := Of(elsewhere{conn})
	assert.ErrorIs(t, err, ErrElsewhere)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	_, err = Of(a)
	assert.ErrorIs(t, err, ErrElsewhere)
}

func BenchmarkOf(b *testing.B) {
	conn := ownConn(b)
	for b.Loop() {
		if _, err := Of(conn); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFiltersTellFunctionsFromPeople(t *testing.T) {
	for _, c := range []struct {
		theirs, own int
		confined    bool
	}{
		{0, 0, false},
		{1, 0, true},
		{1, 1, false}, // in a container
		{2, 1, true},
		{0, 30, false}, // a person calls a service that systemd confines
		{31, 30, true},
		{1, 30, true}, // the function of an agent that it does not confine
	} {
		assert.Equal(t, c.confined, marked(c.theirs, c.own), "%+v", c)
	}
}

func BenchmarkConfined(b *testing.B) {
	p, err := Of(ownConn(b))
	require.NoError(b, err)
	for b.Loop() {
		if _, err := p.Confined(); err != nil {
			b.Fatal(err)
		}
	}
}

// ownConn is a connection of this process with itself.
func ownConn(b *testing.B) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { l.Close() })
	out, err := net.Dial("tcp", l.Addr().String())
	require.NoError(b, err)
	b.Cleanup(func() { out.Close() })
	in, err := l.Accept()
	require.NoError(b, err)
	b.Cleanup(func() { in.Close() })
	return in
}
