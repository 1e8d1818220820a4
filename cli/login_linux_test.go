package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// openTerminal opens a terminal: what the user types, and what programs read.
func openTerminal(t *testing.T) (user, program *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = user.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = program.Close() })
	return user, program
}

// shows reports whether a terminal shows what is typed.
func shows(terminal *os.File) bool {
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	return err == nil && state.Lflag&unix.ECHO != 0
}

// asked runs proxyCli login, and does something when the terminal hides what is typed.
func asked(t *testing.T, do func(user *os.File, interrupt func())) (code int, stderr string, user, terminal *os.File) {
	t.Helper()
	user, terminal = openTerminal(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	c := newConsole(true)
	c.stdin = terminal
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for shows(terminal) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		do(user, interrupt)
	}()
	code = c.run(ctx, []string{"login", "-proxy", "127.0.0.1:1"})
	interrupt()
	<-done
	return code, c.stderr.String(), user, terminal
}

func TestInterruptedLoginGivesTheTerminalBack(t *testing.T) {
	code, stderr, user, terminal := asked(t, func(_ *os.File, interrupt func()) { interrupt() })
	assert.Equal(t, exitInterrupted, code)
	assert.Contains(t, stderr, "interrupted")
	assert.True(t, shows(terminal))
	_, err := user.WriteString("\n") // ends the read that is left
	require.NoError(t, err)
	// It reads a number, not a file: were the terminal closed before, it could take what
	// is typed at the next one that gets the number.
	stacks := make([]byte, 1<<20)
	require.Eventually(t, func() bool {
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("term.ReadPassword"))
	}, callLimit, time.Millisecond)
}

func TestLoginHidesTheToken(t *testing.T) {
	code, stderr, _, terminal := asked(t, func(user *os.File, _ func()) { _, _ = user.WriteString("no token\n") })
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, stderr, "what was read is no token")
	assert.True(t, shows(terminal))
}
