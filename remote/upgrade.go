package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/internal/flags"
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
	program  string
	listener *os.File // keeps callers waiting instead of being refused
}

// newBequest is what the agent on a listener hands over.
func newBequest(listener net.Listener) (*bequest, error) {
	program, err := os.Executable() // by its name at the start: by now it may be another file
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

const (
	// proofLimit is how long a program may take to say its version. It has nothing
	// to wait for; a machine may be busy.
	proofLimit = 10 * time.Second
	// proofOutput is how much it may say, in bytes; a version has 100.
	proofOutput = 4 << 10
)

// prove checks that the program is an agent that takes the arguments of this one: it is
// run with these and -version, which starts nothing. Otherwise the error is ErrInvalid.
func (b *bequest) prove(ctx context.Context, args []string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var said bounded
	cmd := exec.CommandContext(ctx, b.program, append(slices.Clone(args), "-version")...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &said, &said, time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("it did not tell its version within %s", limit)
	}
	if err == nil && !bytes.HasPrefix(said.text, []byte("agent ")) {
		err = errors.New("it is no agent")
	}
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "%s %s: %w: %.200q", b.program, strings.Join(append(slices.Clone(args), "-version"), " "), err, said.text)
	}
	return nil
}

// bounded keeps the beginning of what is written; writing more is an error.
type bounded struct{ text []byte }

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), proofOutput-len(b.text))
	if b.text = append(b.text, p[:n]...); n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

// execute replaces this program: process, arguments, environment and listener stay. It
// returns only an error.
func (b *bequest) execute() error {
	fd, err := unix.FcntlInt(b.listener.Fd(), unix.F_DUPFD, 3) // open over execve(2)
	if err != nil {
		return err
	}
	env := append(os.Environ(), envListener+"="+strconv.Itoa(fd))
	err = syscall.Exec(b.program, os.Args, env)
	return errors.Join(fmt.Errorf("become %s: %w", b.program, err), unix.Close(fd))
}
