package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// DefaultDrain is how long requests in flight may take after SIGTERM.
	DefaultDrain = 10 * time.Second

	healthRequest = "GET /_ryo/healthz HTTP/1.1\r\nHost: ryo\r\n\r\n"
	// maxAnswer bounds what is read of an answer to it, in bytes; a real one has 100.
	maxAnswer = 64 << 10
	// exitLag is how long the end of a process may come after the end of its
	// control connection. The kernel needs far less, also on a busy machine.
	exitLag = time.Second
)

// Spec says what to run.
type Spec struct {
	Path  string // the program, absolute
	Dir   string // its working directory
	Mount string // the path that the function is called under, such as "/helloworld"
	// Env is the environment, "NAME=value", to which the RYO_ variables are added,
	// and nothing else. Of two with one name the last counts.
	Env     []string
	Sockets *Sockets      // where it serves; borrowed
	Log     *Log          // takes its standard output and error; borrowed
	Drain   time.Duration // for requests in flight after SIGTERM; 0: DefaultDrain
	// Memory limits the process's memory, in bytes; 0: no limit. GOMEMLIMIT is set
	// to 90 % of it unless Env holds that. A process that needs more dies.
	Memory int64
}

// Process is a process that was started. All methods but Ready may be called
// concurrently.
type Process struct {
	child   *child
	control net.Conn
	limit   *io.LimitedReader // of control
	answers *bufio.Reader     // of limit
	done    chan struct{}

	exit Exit // written before done closes

	mu     sync.Mutex // guards the below
	reaped bool       // the process's number may be somebody else's
}

// Start starts a program in a session of its own.
func Start(spec Spec) (*Process, error) {
	ours, theirs, err := controlPair()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	defer unix.Close(theirs)
	c, err := fork(spec, theirs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.Path, err), ours.Close())
	}
	p := &Process{child: c, control: ours, done: make(chan struct{})}
	p.limit = &io.LimitedReader{R: ours}
	p.answers = bufio.NewReader(p.limit)
	if spec.Memory > 0 {
		err = limitMemory(c.pid, spec.Memory)
	}
	go p.wait()
	if err != nil {
		p.Stop(context.Background(), 0)
		return nil, fmt.Errorf("limit the memory of %s: %w", spec.Path, err)
	}
	return p, nil
}

// controlPair returns the two ends of a control connection; the descriptor of
// the second one is the caller's to close.
func controlPair() (ours net.Conn, theirs int, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, 0, err
	}
	file := os.NewFile(uintptr(fds[0]), "control")
	defer file.Close()
	if ours, err = net.FileConn(file); err != nil {
		return nil, 0, errors.Join(err, unix.Close(fds[1]))
	}
	return ours, fds[1], nil
}

// fork starts the program with the sockets and its end of the control connection.
func fork(spec Spec, control int) (*child, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	if err := closeInherited(); err != nil {
		return nil, err
	}
	spec.Sockets.mu.RLock()
	defer spec.Sockets.mu.RUnlock()
	if spec.Sockets.fds == nil {
		return nil, errors.New("its sockets are closed")
	}
	out := spec.Log.file.Fd()
	files := []uintptr{null.Fd(), out, out}
	for _, fd := range append(slices.Clone(spec.Sockets.fds), control) {
		files = append(files, uintptr(fd))
	}
	return startChild(spec.Path, &syscall.ProcAttr{
		Dir:   spec.Dir,
		Env:   environment(spec),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// environment is Spec.Env with what is added to it; of equal names, the last counts.
func environment(spec Spec) []string {
	drain := spec.Drain
	if drain <= 0 {
		drain = DefaultDrain
	}
	var all []string
	if spec.Memory > 0 {
		all = append(all, "GOMEMLIMIT="+strconv.FormatInt(spec.Memory/10*9, 10))
	}
	all = append(all, spec.Env...)
	all = append(all,
		"RYO_MOUNT="+spec.Mount,
		"RYO_LISTEN="+strconv.Itoa(len(spec.Sockets.fds)),
		"RYO_DRAIN="+drain.String(),
	)
	seen := make(map[string]bool, len(all))
	env := make([]string, 0, len(all))
	for _, entry := range slices.Backward(all) {
		if name, _, _ := strings.Cut(entry, "="); !seen[name] {
			seen[name] = true
			env = append(env, entry)
		}
	}
	slices.Reverse(env)
	return env
}

// wait is the one goroutine that waits for the process.
func (p *Process) wait() {
	p.child.await()
	p.mu.Lock()
	_ = unix.Kill(-p.child.pid, unix.SIGKILL) // fails when it had no children
	killSession(p.child.pid)
	p.exit = p.child.reap()
	p.reaped = true
	p.mu.Unlock()
	close(p.done)
	_ = p.control.Close()
}

// signal sends a signal to the process and its children, unless it has ended.
func (p *Process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(-p.child.pid, sig) // fails when all of them have just ended
	}
}

// Ready returns nil once the process has said that it serves. It fails when the
// process ends, when it leaves or garbles the control connection, or with ctx.
// After an error the process is of no use and should be stopped. After success
// it may be asked again. Not to be called concurrently.
func (p *Process) Ready(ctx context.Context) error {
	if err := p.control.SetDeadline(time.Time{}); err != nil {
		return p.notReady(ctx, err)
	}
	late := make(chan struct{})
	inTime := context.AfterFunc(ctx, func() {
		_ = p.control.SetDeadline(time.Unix(1, 0)) // wakes ask
		close(late)
	})
	err := p.ask()
	if !inTime() {
		<-late
	}
	if err != nil {
		return p.notReady(ctx, err)
	}
	return nil
}

// ask asks for the process's health once and waits for the answer.
func (p *Process) ask() error {
	if _, err := io.WriteString(p.control, healthRequest); err != nil {
		return err
	}
	p.limit.N = maxAnswer
	rsp, err := http.ReadResponse(p.answers, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, rsp.Body)
	if err := errors.Join(err, rsp.Body.Close()); err != nil {
		return err
	}
	if rsp.StatusCode != http.StatusOK {
		return errors.New("the answer is " + rsp.Status)
	}
	return nil
}

// notReady finds the reason behind a failed health check: the control connection
// of a process that ends is closed before its end is known.
func (p *Process) notReady(ctx context.Context, cause error) error {
	lag := time.NewTimer(exitLag)
	defer lag.Stop()
	select {
	case <-p.done:
	case <-ctx.Done():
	case <-lag.C:
	}
	select {
	case <-p.done:
		return proto.Errorf(proto.ErrUnavailable, "the process ended before it was ready: %s", p.exit)
	default:
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the process to be ready: %w", context.Cause(ctx))
	}
	return proto.Errorf(proto.ErrUnavailable, "the process did not answer its health check: %w", cause)
}

// Done is closed when the process has ended and its group has been killed.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit says how the process ended. It is the zero Exit until Done is closed.
func (p *Process) Exit() Exit {
	select {
	case <-p.done:
		return p.exit
	default:
		return Exit{}
	}
}

// Pid is the process's number, which is also that of its group and session.
func (p *Process) Pid() int { return p.child.pid }

// Drain asks the process to end, by SIGTERM, and returns when it has stopped
// taking calls, which a process says by closing its control connection, or with
// ctx. Calls that it has taken go on; Stop waits for them. Not to be called
// concurrently with Ready.
func (p *Process) Drain(ctx context.Context) error {
	p.signal(unix.SIGCONT) // a stopped process takes no other signal
	p.signal(unix.SIGTERM)
	stop := context.AfterFunc(ctx, func() {
		_ = p.control.SetReadDeadline(time.Unix(1, 0)) // wakes the copy
	})
	defer stop()
	if _, err := io.Copy(io.Discard, p.control); errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return nil // however the connection ended, nobody is at its other end
}

// Stop ends the process and its children and waits for its end: SIGTERM, and
// after grace, or at once when ctx ends, SIGKILL. It returns at once for a process
// that has ended.
func (p *Process) Stop(ctx context.Context, grace time.Duration) Exit {
	p.signal(unix.SIGCONT) // a stopped process takes no other signal
	p.signal(unix.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	p.signal(unix.SIGKILL)
	<-p.done // not only until ctx ends: nothing survives SIGKILL
	return p.exit
}

// Exit is how a process ended.
type Exit struct {
	Code   int            // what it returned; -1 when a signal ended it
	Signal syscall.Signal // the signal that ended it; 0 when none did
}

// String is such as "exit status 2" or "signal: killed".
func (e Exit) String() string {
	if e.Signal != 0 {
		return "signal: " + e.Signal.String()
	}
	return "exit status " + strconv.Itoa(e.Code)
}
