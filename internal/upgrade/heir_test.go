package upgrade

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// role names what a process of this test's own binary shall be.
const role = "UPGRADE_TEST_ROLE"

func TestMain(m *testing.M) {
	guarded := testkit.Guarded(m)
	switch os.Getenv(role) {
	case "":
		os.Exit(guarded.Run())
	case "agent":
		set := flag.NewFlagSet("agent", flag.ExitOnError)
		set.String("port", "", "")
		set.String("dir", "", "")
		version := set.Bool("version", false, "")
		if set.Parse(os.Args[1:]) == nil && *version {
			fmt.Println("agent v1")
		}
		os.Exit(0)
	case "server":
		if err := serveInTurns(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	default: // an heir that fails
		heir, err := Inherit()
		if err != nil {
			panic(err)
		}
		if os.Getenv(role) == "never here" {
			os.Exit(3)
		}
		_, _ = heir.Take(context.Background())
		switch os.Getenv(role) {
		case "hangs":
			select {}
		case "reaches less":
			_ = heir.Ready(context.Background(), 2)
			os.Exit(5)
		}
		os.Exit(4)
	}
}

// serveInTurns answers each connection with its pid, and hands over when it is told to by a
// line of its input.
func serveInTurns() error {
	ctx := context.Background()
	heir, err := Inherit()
	if err != nil {
		return err
	}
	lock := filepath.Join(os.Getenv("LOCK_FOLDER"), "LOCK")
	var file *os.File
	var listeners []net.Listener
	if heir == nil {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		listeners = []net.Listener{l}
		if file, err = os.Create(lock); err != nil {
			return err
		}
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			return err
		}
	} else if file, err = heir.Take(ctx); err != nil {
		return err
	} else {
		listeners = heir.Listeners
		if err := heir.Ready(ctx, 3); err != nil {
			return err
		}
	}
	place, err := NewPlace(listeners)
	if err != nil {
		return err
	}
	var closed atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listeners[0].Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, os.Getpid())
			conn.Close()
		}
	}()
	estate := Estate{
		Rest: func(context.Context) error { return nil },
		Lend: func() *os.File { closed.Store(true); return file }, Reclaim: func() { closed.Store(false) },
		Suffices: func(reaches uint16) error {
			if reaches != 3 {
				return fmt.Errorf("it reaches %d", reaches)
			}
			return nil
		},
	}
	if heir != nil && heir.StandsIn() {
		if err := heir.Await(ctx); err != nil {
			return err
		}
		err := heir.Give(ctx, estate)
		listeners[0].Close()
		<-ended
		return err
	}
	if heir != nil {
		if err := heir.Outlive(ctx, time.Minute); err != nil {
			return err
		}
	}
	fmt.Println(listeners[0].Addr())
	if !bufio.NewScanner(os.Stdin).Scan() {
		return nil
	}
	next, err := place.Start(ctx, estate)
	if err != nil {
		return err
	}
	listeners[0].Close()
	<-ended
	return next.Execute(false)
}

// A process becomes its next program twice, under its pid, and a listener that both programs
// have accepts all the time. Nobody can take the lock in between.
func TestAProcessBecomesItsNextProgram(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), role+"=server", "LOCK_FOLDER="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	addr := lines.Text()
	var done atomic.Bool
	asked, free := 0, 0
	finished := make(chan error, 1)
	go func() {
		for !done.Load() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				finished <- err
				return
			}
			said, err := io.ReadAll(conn)
			_ = conn.Close()
			if err != nil || len(said) == 0 {
				finished <- fmt.Errorf("call %d: %q %w", asked, said, err)
				return
			}
			asked++
			if file, err := os.Open(filepath.Join(dir, "LOCK")); err == nil {
				if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
					free++
				}
				_ = file.Close()
			}
		}
		finished <- nil
	}()
	for range 2 {
		_, err = fmt.Fprintln(in, "next")
		require.NoError(t, err)
		require.True(t, lines.Scan(), "the next program begins")
		assert.Equal(t, addr, lines.Text())
	}
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	said, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	assert.Equal(t, fmt.Sprintln(cmd.Process.Pid), string(said))
	done.Store(true)
	require.NoError(t, <-finished)
	assert.NotZero(t, asked)
	assert.Zero(t, free, "of %d times", asked)
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait())
}

// When an heir fails, whatever it has been given is this process's again.
func TestAnHeirThatFailsGivesBack(t *testing.T) {
	lock, err := os.CreateTemp(t.TempDir(), "")
	require.NoError(t, err)
	defer lock.Close()
	for name, c := range map[string]struct {
		lent bool
		says string
	}{
		"never here":   {false, "exit status 3"},
		"takes, ends":  {true, "exit status 4"},
		"reaches less": {true, "too little"},
		"hangs":        {true, "canceled"},
	} {
		t.Setenv(role, name)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		place, err := NewPlace([]net.Listener{l})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		lent, reclaimed := false, false
		next, err := place.Start(ctx, Estate{
			Rest: func(context.Context) error { return nil },
			Lend: func() *os.File {
				lent = true
				if name == "hangs" {
					time.AfterFunc(10*time.Millisecond, cancel)
				}
				return lock
			},
			Suffices: func(reaches uint16) error { return fmt.Errorf("%d is too little", reaches) },
			Reclaim:  func() { reclaimed = true },
		})
		cancel()
		require.Error(t, err, name)
		assert.Nil(t, next, name)
		if name != "hangs" {
			assert.Contains(t, err.Error(), c.says, name)
		}
		assert.Equal(t, c.lent, lent, name)
		assert.True(t, reclaimed, name)
		require.NoError(t, l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Millisecond)))
		_, err = l.Accept()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "it does not block")
		place.Close()
		require.NoError(t, l.Close())
	}
}

func TestWhatIsInheritedIsChecked(t *testing.T) {
	for _, text := range []string{"", "x", "[]", `{"control":1,"listeners":[]}`, `{"control":99999}`, `{"listeners":[0]}`, `{"listeners":[99999]}`} {
		t.Setenv(variable, text)
		heir, err := Inherit()
		require.Error(t, err, text)
		assert.Nil(t, heir)
		_, found := os.LookupEnv(variable)
		assert.False(t, found, "no child gets it")
	}
	require.NoError(t, os.Unsetenv(variable))
	heir, err := Inherit()
	require.NoError(t, err)
	assert.Nil(t, heir)
}

func TestNotifyTellsTheServiceManager(t *testing.T) {
	t.Setenv(notifySocket, "")
	require.NoError(t, Notify("READY=1"))
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	require.NoError(t, err)
	defer l.Close()
	t.Setenv(notifySocket, name)
	require.NoError(t, Notify("READY=1", "STATUS=well"))
	var text [64]byte
	n, err := l.Read(text[:])
	require.NoError(t, err)
	assert.Equal(t, "READY=1\nSTATUS=well", string(text[:n]))
}
