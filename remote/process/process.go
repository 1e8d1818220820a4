package process

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// DefaultDrain is how long requests in flight may take after SIGTERM.
	DefaultDrain = 10 * time.Second

	// exitLag is how long a process may take to exit after its control connection
	// was closed, and its exit status to be known after that. The kernel needs far
	// less, also on a busy machine.
	exitLag = time.Second
)

// Spec says what to run.
type Spec struct {
	Path  string // the program, absolute
	Dir   string // its working directory
	Mount string // the path that the function is called under, such as "/helloworld"
	// Function is which of the program's functions to serve; "": its only one.
	Function string
	// Env is the environment, "NAME=value". The last of two with one name counts. The
	// RYO_ variables are added, and PORT, that of the TCP socket, unless Env has it.
	Env     []string
	Sockets *Sockets // where it serves; borrowed
	// Stdout and Stderr take what it prints, and should be in append mode; borrowed.
	// nil: /dev/null.
	Stdout, Stderr *os.File
	Drain          time.Duration // for requests in flight after SIGTERM; 0: DefaultDrain
	// Memory limits the process's memory, in bytes; 0: no limit. GOMEMLIMIT is set
	// to 90 % of it unless Env has it. A process that needs more crashes.
	Memory int64
	// Procs is how many processors it may keep busy; 0: as many as the machine has.
	// GOMAXPROCS is set to it, rounded up, unless Env has it.
	Procs float64
	// Concurrency is how many requests it may serve at a time; 0: any number.
	Concurrency int
	// Nonce is a text that no other process has, by which a later agent knows the
	// process; "": a random one.
	Nonce string
	// Fork starts the program, in place of syscall.ForkExec, which is the default. It limits
	// the process by DataLimit(Memory): a process of another user cannot be limited from here.
	// What it returns as exited is called when the process and its group have exited.
	Fork ForkExec
}

// ForkExec is like syscall.ForkExec, and also returns what is to be called when the process
// has exited.
type ForkExec func(path string, argv []string, attr *syscall.ProcAttr) (pid int, exited func(), err error)

func bareForkExec(path string, argv []string, attr *syscall.ProcAttr) (pid int, exited func(), err error) {
	pid, err = syscall.ForkExec(path, argv, attr)
	return pid, func() {}, err
}

// Identity tells a process from every other one, also from a later one with the
// same pid, before or after the machine's next start.
type Identity struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // of the process, in clock ticks since boot
	Boot  string `json:"boot"`  // the kernel's boot id
	Nonce string `json:"nonce"` // Spec.Nonce
}

// Process is a process that was started or adopted. All methods may be called
// concurrently.
type Process struct {
	id      Identity
	leader  leader
	control *control
	done    chan struct{}

	exit Exit // written before done closes
}

// leader is a process that leads a session and a group of its own.
type leader interface {
	// await blocks until the process has exited.
	await()
	// signal sends a signal to the process and its group. It never reaches others,
	// not even when all of them have exited.
	signal(sig syscall.Signal)
	// collect kills what remains of the process's group, and says how the process
	// exited. It is called once, after await.
	collect() Exit
}

// Start starts a program in a session of its own.
func Start(spec Spec) (*Process, error) {
	if spec.Nonce == "" {
		spec.Nonce = rand.Text()
	}
	ours, theirs, err := controlPair()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	defer unix.Close(theirs)
	c, err := fork(spec, theirs)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", spec.Path, err), ours.Close())
	}
	id, err := identity(c.pid)
	if spec.Memory > 0 && spec.Fork == nil {
		err = errors.Join(err, limitMemory(c.pid, spec.Memory))
	}
	id.Nonce = spec.Nonce
	p := own(id, c, newControl(ours))
	if err != nil {
		p.Stop(context.Background(), 0)
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	return p, nil
}

// own begins to wait for a process.
func own(id Identity, l leader, c *control) *Process {
	p := &Process{id: id, leader: l, control: c, done: make(chan struct{})}
	go p.wait()
	return p
}

// controlPair returns the two ends of a control connection; the caller closes both.
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
	files := []uintptr{null.Fd(), null.Fd(), null.Fd()}
	for i, file := range []*os.File{spec.Stdout, spec.Stderr} {
		if file != nil {
			files[1+i] = file.Fd()
		}
	}
	for _, fd := range append(slices.Clone(spec.Sockets.fds), control) {
		files = append(files, uintptr(fd))
	}
	fork := spec.Fork
	if fork == nil {
		fork = bareForkExec
	}
	return startChild(fork, spec.Path, &syscall.ProcAttr{
		Dir:   spec.Dir,
		Env:   environment(spec),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// environment is Spec.Env with what is added to it, each name once.
func environment(spec Spec) []string {
	drain := spec.Drain
	if drain <= 0 {
		drain = DefaultDrain
	}
	var all []string
	if spec.Memory > 0 {
		all = append(all, "GOMEMLIMIT="+strconv.FormatInt(spec.Memory/10*9, 10))
	}
	if spec.Procs > 0 {
		all = append(all, "GOMAXPROCS="+strconv.Itoa(int(math.Ceil(spec.Procs))))
	}
	if _, port, err := net.SplitHostPort(spec.Sockets.Addr()); err == nil {
		all = append(all, "PORT="+port)
	}
	all = append(all, spec.Env...)
	all = append(all,
		"RYO_MOUNT="+spec.Mount,
		"RYO_FUNCTION="+spec.Function,
		"RYO_NONCE="+spec.Nonce,
		"RYO_CONCURRENCY="+strconv.Itoa(spec.Concurrency),
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
	p.leader.await()
	p.exit = p.leader.collect()
	close(p.done)
	_ = p.control.conn.Close()
}

// Ready returns nil once the process has said that it serves. It fails when the
// process exits, when it closes or garbles the control connection, or with ctx;
// then it may be called again.
func (p *Process) Ready(ctx context.Context) error {
	return p.explain(ctx, p.control.health(ctx), " before it was ready")
}

// Health is Ready of a process that has been ready.
func (p *Process) Health(ctx context.Context) error {
	return p.explain(ctx, p.control.health(ctx), "")
}

// Stats asks the process about its work. It fails as Ready does.
func (p *Process) Stats(ctx context.Context) (Stats, error) {
	s, err := p.control.stats(ctx)
	if err != nil {
		return Stats{}, p.explain(ctx, err, "")
	}
	return s.stats(), nil
}

// explain finds the reason why a question has no answer: the control connection of
// a process that exits is closed before its exit is known.
func (p *Process) explain(ctx context.Context, cause error, when string) error {
	if cause == nil {
		return nil
	}
	lag := time.NewTimer(exitLag)
	defer lag.Stop()
	select {
	case <-p.done:
	case <-ctx.Done():
	case <-lag.C:
	}
	select {
	case <-p.done:
		return proto.Errorf(proto.ErrUnavailable, "the process exited%s: %s", when, p.exit)
	default:
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait for an answer of the process: %w", context.Cause(ctx))
	}
	return proto.Errorf(proto.ErrUnavailable, "the process did not answer its health check: %w", cause)
}

// ControlFile is a duplicate of this side's end of the control connection, for
// Adopt. The caller closes it.
func (p *Process) ControlFile() (*os.File, error) {
	fd, err := duplicate(p.control.conn.(syscall.Conn))
	if err != nil {
		return nil, fmt.Errorf("copy the control connection of process %d: %w", p.id.Pid, err)
	}
	return os.NewFile(uintptr(fd), "control"), nil
}

// Done is closed when the process has exited and its group has been killed.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit says how the process exited. It is the zero Exit until Done is closed.
func (p *Process) Exit() Exit {
	select {
	case <-p.done:
		return p.exit
	default:
		return Exit{}
	}
}

// Pid is also the id of the process's group and session.
func (p *Process) Pid() int { return p.id.Pid }

// Identity is what a later agent needs to know to adopt the process.
func (p *Process) Identity() Identity { return p.id }

// Drain sends SIGTERM and returns when the process takes no more calls, which it
// says by closing its control connection, or with ctx. Calls that it has taken go
// on; Stop waits for them.
func (p *Process) Drain(ctx context.Context) error {
	p.leader.signal(unix.SIGCONT) // a stopped process takes no other signal
	p.leader.signal(unix.SIGTERM)
	err := p.control.closed(ctx)
	if errors.Is(err, net.ErrClosed) {
		return nil // it has exited
	}
	return err
}

// Stop stops the process and its children and waits until it has exited: SIGTERM,
// and SIGKILL after grace or when ctx ends. It returns at once when the process has
// exited already.
func (p *Process) Stop(ctx context.Context, grace time.Duration) Exit {
	p.leader.signal(unix.SIGCONT) // a stopped process takes no other signal
	p.leader.signal(unix.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	p.leader.signal(unix.SIGKILL)
	<-p.done // also after ctx has ended: nothing survives SIGKILL
	return p.exit
}

// Kill stops a process that does not answer and waits until it has exited: SIGQUIT, on
// which a Go program prints what its goroutines do, and after grace SIGKILL.
func (p *Process) Kill(grace time.Duration) Exit {
	p.leader.signal(unix.SIGCONT) // a stopped process takes no other signal
	p.leader.signal(unix.SIGQUIT)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	p.leader.signal(unix.SIGKILL)
	<-p.done
	return p.exit
}

// Exit is how a process exited.
type Exit struct {
	Code    int            // its exit code; -1: a signal killed it, or Unknown
	Signal  syscall.Signal // that killed it; 0: none
	Unknown bool           // another process has reaped it, and the kernel tells Code and Signal once
	Peak    uint64         // the most memory that it had resident, in bytes; 0: not known
	// Starved says that the kernel killed it, or another process of its memory
	// cgroup in its lifetime, for lack of memory.
	Starved bool
}

// String is such as "exit status 2" or "signal: killed".
func (e Exit) String() string {
	switch {
	case e.Unknown:
		return "exit status unknown"
	case e.Signal != 0:
		return "signal: " + e.Signal.String()
	}
	return "exit status " + strconv.Itoa(e.Code)
}
