package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
)

// envListener hands the agent's listener over to the agent that takes its place in
// the same process: the number of its descriptor.
const envListener = "RYO_LISTENER"

// inherited is the listener that the agent before this one has left, nil when there
// was none.
func inherited() (net.Listener, error) {
	text, found := os.LookupEnv(envListener)
	if !found {
		return nil, nil
	}
	if err := os.Unsetenv(envListener); err != nil {
		return nil, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd <= 2 {
		return nil, fmt.Errorf("%s=%q is not a descriptor", envListener, text)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take over the listener of the agent before: %w", err)
	}
	return listener, nil
}

const (
	// portLag is how long the port of an agent that was killed may be taken: a process
	// that it was about to start has its descriptors until execve(2).
	portLag = 500 * time.Millisecond
	// portRetry is how often it is tried meanwhile; nothing tells of its end.
	portRetry = 20 * time.Millisecond
)

// listen opens the listener of an agent, or takes over that of the one before.
func listen(ctx context.Context, addr string) (net.Listener, error) {
	listener, err := inherited()
	if listener != nil || err != nil {
		return listener, err
	}
	ctx, cancel := context.WithTimeout(ctx, portLag)
	defer cancel()
	retry := time.NewTicker(portRetry)
	defer retry.Stop()
	for {
		listener, err = flags.Listen("port", addr)
		if !errors.Is(err, proto.ErrConflict) {
			return listener, err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// bequest is what an agent leaves to the one that takes its place.
type bequest struct {
	program  string
	listener *os.File // keeps callers waiting instead of being refused
}

// newBequest is what the agent on a listener leaves.
func newBequest(listener net.Listener) (*bequest, error) {
	program, err := os.Executable() // as it was named at the start: by now it may be a new one
	if err != nil {
		return nil, err
	}
	tcp, ok := listener.(*net.TCPListener)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	file, err := tcp.File()
	if err != nil {
		return nil, err
	}
	return &bequest{program, file}, nil
}

// execute has the program take this one's place: process, arguments, environment
// and listener stay. It returns when that fails.
func (b *bequest) execute() error {
	fd, err := unix.FcntlInt(b.listener.Fd(), unix.F_DUPFD, 3) // open over execve(2)
	if err != nil {
		return err
	}
	env := append(os.Environ(), envListener+"="+strconv.Itoa(fd))
	err = syscall.Exec(b.program, os.Args, env)
	return errors.Join(fmt.Errorf("become %s: %w", b.program, err), unix.Close(fd))
}
