package testkit

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// relayVariable makes a process a relay to the address that it names.
const relayVariable = "RYO_TESTKIT_RELAY"

// OtherUser is a uid that owns nothing.
const OtherUser = 65534

// As says as what a Relay calls.
type As struct {
	UID      int  // to take another one than that of the test, it must run as root
	Confined bool // under a seccomp filter, as functions are
}

// Relay starts a process that passes connections on to a TCP address, and returns its
// own. So whatever a test sends comes from a process of the kind that it wants, and from
// the address from which the test calls it. It needs Guarded in TestMain.
func Relay(t testing.TB, target string, as As) (addr string) {
	t.Helper()
	// Other users cannot reach the folder of a test's program, but can run the file.
	program, err := os.Open("/proc/self/exe")
	require.NoError(t, err)
	defer program.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{program}
	cmd.Env = append(os.Environ(), relayVariable+"="+target)
	if as.Confined {
		cmd.Args = append(cmd.Args, "confined")
	}
	cmd.Stderr = os.Stderr
	if as.UID != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(as.UID), Gid: uint32(as.UID)}}
	}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "the relay does not start")
	return strings.TrimSpace(line)
}

// relay passes connections on until its input ends.
func relay(target string, confined bool) error {
	if confined {
		if err := confine(); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go pass(conn, target)
		}
	}()
	fmt.Println(l.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// pass copies both ways until both have ended.
func pass(conn net.Conn, target string) {
	defer conn.Close()
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: conn.RemoteAddr().(*net.TCPAddr).IP}}
	far, err := from.Dial("tcp", target)
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, far}, {far, conn}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}

// confine puts all threads under a seccomp filter that allows everything.
func confine() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	prog := unix.SockFprog{Len: 1, Filter: &filter}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return errno
	}
	return nil
}

// relayMain runs a relay if this process is to be one.
func relayMain() {
	target := os.Getenv(relayVariable)
	if target == "" {
		return
	}
	if err := relay(target, len(os.Args) > 1); err != nil {
		fmt.Fprintln(os.Stderr, "relay:", err)
		os.Exit(1) //nolint:forbidigo,revive // this process is no test
	}
	os.Exit(0) //nolint:forbidigo,revive // as above
}
