package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/internal/upgrade"
	"github.com/Ishan27g/ryo-faas/proto"
)

// envListener hands the listener to the agent that takes this one's place in the same
// process: the number of its descriptor.
const envListener = "RYO_LISTENER"

// inherited is the listener of the agent before this one, nil if there was none.
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
	// portLag is how long the port of an agent that was killed may stay in use: a process
	// that it was about to start has its descriptors until execve(2).
	portLag = 500 * time.Millisecond
	// portRetry is how often it is tried meanwhile; nothing tells when it is free.
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

// bequest is what an agent hands to the one that takes its place.
type bequest struct {
	program  upgrade.Program
	listener *os.File // keeps callers waiting instead of being refused
}

// newBequest is what the agent on a listener hands over.
func newBequest(listener net.Listener) (*bequest, error) {
	program, err := upgrade.ThisProgram()
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

// execute replaces this program: process, arguments, environment and listener stay. It
// returns only an error.
func (b *bequest) execute() error {
	fd, err := unix.FcntlInt(b.listener.Fd(), unix.F_DUPFD, 3) // open over execve(2)
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGHUP) // until the next agent listens for it: it would end it
	env := append(os.Environ(), envListener+"="+strconv.Itoa(fd))
	err = syscall.Exec(string(b.program), os.Args, env)
	return errors.Join(fmt.Errorf("become %s: %w", b.program, err), unix.Close(fd))
}
