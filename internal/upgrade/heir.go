package upgrade

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// variable tells a process what it takes over: a legacy.
const variable = "RYO_HANDOVER"

// legacy is what a process hands to the next one, by the numbers of its descriptors.
type legacy struct {
	Control   int   `json:"control,omitempty"` // 0: nobody has the state
	Listeners []int `json:"listeners"`
	// StandIn is the pid of the stand-in, which is a child of the next one; 0: the next one
	// is the stand-in itself.
	StandIn int `json:"standIn,omitempty"`
	// Again says that the program was to be replaced once more meanwhile.
	Again bool `json:"again,omitempty"`
}

// The words of the conversation, a byte each, in their order.
const (
	here  = 'h' // the heir has understood its arguments and has the listeners
	yours = 'y' // the state is the heir's; its lock comes along
	ready = 'r' // the heir could serve now; how much it reaches follows, in two bytes
	serve = 's' // the heir serves, and the giver accepts no more connections
)

const (
	// HereLimit is how long an heir may take to begin. It has nothing to wait for; a
	// machine may be busy.
	HereLimit = 10 * time.Second
	// ReadyLimit is how long it may take from then on until it could serve: it tries each
	// agent once.
	ReadyLimit = 30 * time.Second
)

// Heir is this process as one that takes another's place.
type Heir struct {
	Listeners []net.Listener // in the order of the other process
	Again     bool           // the program was to be replaced once more meanwhile
	control   *net.UnixConn  // nil: nobody has the state
	standIn   int
}

// Inherit returns what this process takes over, nil if it takes no one's place.
func Inherit() (*Heir, error) {
	text, found := os.LookupEnv(variable)
	if !found {
		return nil, nil //nolint:nilnil // nobody before is no error
	}
	if err := os.Unsetenv(variable); err != nil {
		return nil, err
	}
	var l legacy
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return nil, fmt.Errorf("%s=%q: %w", variable, text, err)
	}
	h := &Heir{Again: l.Again, standIn: l.StandIn}
	if l.Control != 0 {
		file, err := descriptor(l.Control)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		conn, err := net.FileConn(file)
		if err != nil {
			return nil, fmt.Errorf("take over from the process before: %w", err)
		}
		var ok bool
		if h.control, ok = conn.(*net.UnixConn); !ok {
			_ = conn.Close()
			return nil, fmt.Errorf("%s=%q: the control is no socket of a process", variable, text)
		}
	}
	for _, fd := range l.Listeners {
		file, err := descriptor(fd)
		if err != nil {
			h.Close()
			return nil, err
		}
		listener, err := net.FileListener(file)
		_ = file.Close()
		if err != nil {
			h.Close()
			return nil, fmt.Errorf("take over a listener of the process before: %w", err)
		}
		h.Listeners = append(h.Listeners, listener)
	}
	return h, nil
}

// descriptor is an inherited one. What this process starts does not get it.
func descriptor(fd int) (*os.File, error) {
	if fd <= 2 {
		return nil, fmt.Errorf("%s: %d is not a descriptor", variable, fd)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "inherited"), nil
}

// Close gives up.
func (h *Heir) Close() {
	if h.control != nil {
		_ = h.control.Close()
	}
	for _, l := range h.Listeners {
		_ = l.Close()
	}
}

// StandsIn says that this process holds another's place until that has its new program.
func (h *Heir) StandsIn() bool { return h.standIn == 0 }

// Take waits until the state belongs to this process, and returns its lock, which the
// caller closes; nil if nobody has it.
func (h *Heir) Take(ctx context.Context) (lock *os.File, err error) {
	if h.control == nil {
		return nil, nil //nolint:nilnil // the folder is opened as ever
	}
	defer during(ctx, h.control)()
	if err := say(h.control, here, nil); err != nil {
		return nil, err
	}
	lock, err = hear(h.control, yours)
	if err == nil && lock == nil {
		err = errors.New("the process before gave no lock")
	}
	return lock, err
}

// Ready tells the process before that this one could serve, and how much of what both need
// it reaches, and returns when it is to.
func (h *Heir) Ready(ctx context.Context, reaches uint16) error {
	if h.control == nil {
		return nil
	}
	defer during(ctx, h.control)()
	if err := say(h.control, ready, nil); err != nil {
		return err
	}
	if _, err := h.control.Write(binary.BigEndian.AppendUint16(nil, reaches)); err != nil {
		return err
	}
	_, err := hear(h.control, serve)
	return err
}

// Outlive waits until the stand-in has ended that this process has taken over from. It is
// killed after a limit. When ctx ends, it is told to end.
func (h *Heir) Outlive(ctx context.Context, limit time.Duration) error {
	if h.control == nil {
		return nil
	}
	child, err := os.FindProcess(h.standIn)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = h.control.Close() })
	defer stop()
	late := time.AfterFunc(limit, func() { _ = child.Kill() })
	defer late.Stop()
	_, err = child.Wait()
	return errors.Join(err, h.control.Close())
}

// Await waits, in a stand-in, until the process whose place it holds has its new program.
// An error means that this process has ended.
func (h *Heir) Await(ctx context.Context) error {
	defer during(ctx, h.control)()
	_, err := hear(h.control, here)
	return err
}

// Give hands the stand-in's place back, after Await. From then on Gone tells of the end of
// the process that has it.
func (h *Heir) Give(ctx context.Context, e Estate) error {
	e.Suffices = func(uint16) error { return nil }
	return give(ctx, h.control, e)
}

// Gone returns when the process that took over from this one has ended, or closed its side,
// or ctx is done.
func (h *Heir) Gone(ctx context.Context) {
	defer during(ctx, h.control)()
	_, _ = io.Copy(io.Discard, h.control)
}

// Estate is what a process hands over besides its listeners.
type Estate struct {
	// Rest returns once nothing is under way that would change the state, and begins
	// nothing of the kind until Reclaim.
	Rest func(context.Context) error
	// Lend returns the lock of the state. From then on this process stores nothing.
	Lend func() *os.File
	// Suffices says what is wrong with a stand-in that reaches so much, nil if nothing is. It
	// is not asked about the process that takes over from the stand-in, which had it before.
	Suffices func(reaches uint16) error
	// Reclaim lets this process go on as before, whether or not something was lent.
	Reclaim func()
}

// give is the giver's part of the conversation, after here. If it fails, and the other
// process has ended, the estate is to be reclaimed.
func give(ctx context.Context, control *net.UnixConn, e Estate) error {
	if err := e.Rest(ctx); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, ReadyLimit)
	defer cancel()
	defer during(limited, control)()
	if err := say(control, yours, e.Lend()); err != nil {
		return err
	}
	if _, err := hear(control, ready); err != nil {
		return err
	}
	var reaches [2]byte
	if _, err := io.ReadFull(control, reaches[:]); err != nil {
		return err
	}
	if err := e.Suffices(binary.BigEndian.Uint16(reaches[:])); err != nil {
		return err
	}
	return say(control, serve, nil)
}

// during lets reads and writes of a connection end with ctx. What it returns undoes that.
func during(ctx context.Context, conn net.Conn) (done func()) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			return
		}
		_ = conn.SetDeadline(time.Time{})
	}
}

// say sends a word, with a file if there is one.
func say(conn *net.UnixConn, word byte, file *os.File) error {
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	_, _, err := conn.WriteMsgUnix([]byte{word}, rights, nil)
	return err
}

// hear waits for a word, and returns the file that came with it.
func hear(conn *net.UnixConn, word byte) (*os.File, error) {
	var text [1]byte
	oob := make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(text[:], oob)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	file, err := received(oob[:oobn])
	if err == nil && text[0] != word {
		err = fmt.Errorf("the other process says %q where %q is next", text[0], word)
	}
	if err != nil && file != nil {
		_ = file.Close()
		file = nil
	}
	return file, err
}

// received returns the file that a message has brought, if any.
func received(oob []byte) (*os.File, error) {
	if len(oob) == 0 {
		return nil, nil //nolint:nilnil // most words come alone
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			return os.NewFile(uintptr(fd), "lock"), nil
		}
	}
	return nil, nil //nolint:nilnil // as above
}

// Place is what a process hands to the next one of its program: its path, and listeners
// that stay open meanwhile.
type Place struct {
	Program Program
	files   []*os.File
}

// NewPlace returns the place of the process on some listeners.
func NewPlace(listeners []net.Listener) (*Place, error) {
	program, err := ThisProgram()
	if err != nil {
		return nil, err
	}
	p := &Place{Program: program}
	for _, l := range listeners {
		file, ok := l.(interface{ File() (*os.File, error) })
		if !ok {
			p.Close()
			return nil, errNoFile
		}
		f, err := file.File()
		if err != nil {
			p.Close()
			return nil, err
		}
		p.files = append(p.files, f)
	}
	return p, nil
}

// Close closes the listeners, as far as they are the place's.
func (p *Place) Close() {
	for _, f := range p.files {
		_ = f.Close()
	}
}

// Next is a process that has this one's place, or is about to.
type Next struct {
	place   *Place
	process *os.Process
	control *net.UnixConn
	exited  chan struct{} // closed once it has exited, in the state
	state   *os.ProcessState
}

// Start starts a stand-in with the arguments, the environment and the output of this process,
// and hands the estate over to it. When it returns an error, the stand-in has ended, and the
// estate is this process's again.
func (p *Place) Start(ctx context.Context, e Estate) (*Next, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	n := &Next{place: p, control: ours, exited: make(chan struct{})}
	n.process, err = p.fork(theirs)
	_ = theirs.Close() // so that its end is seen
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	go func() {
		defer close(n.exited)
		n.state, _ = n.process.Wait()
	}()
	if err := n.take(ctx, e); err != nil {
		err = n.end(err)
		e.Reclaim()
		return nil, err
	}
	return n, nil
}

// fork starts the stand-in. Package os would make each listener block on its way, for this
// process as well: accepting from it could then not be ended.
func (p *Place) fork(control *os.File) (*os.Process, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	l := legacy{Control: 3}
	files := []*os.File{null, nil, nil, control}
	for i, f := range p.files {
		files = append(files, f)
		l.Listeners = append(l.Listeners, 4+i)
	}
	numbers := []uintptr{0, 1, 2}
	for i, f := range files {
		if i == 1 || i == 2 {
			continue
		}
		fd, err := number(f)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			numbers[0] = fd
		} else {
			numbers = append(numbers, fd)
		}
	}
	text, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, notifySocket+"=") { // systemd listens to its main process
			env = append(env, kv)
		}
	}
	pid, err := syscall.ForkExec(string(p.Program), os.Args, &syscall.ProcAttr{Env: append(env, variable+"="+string(text)), Files: numbers})
	runtime.KeepAlive(files)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Program, err)
	}
	return os.FindProcess(pid)
}

// number is the descriptor of a file, which stays as it is: (*os.File).Fd would make it block.
func number(f *os.File) (fd uintptr, err error) {
	raw, err := f.SyscallConn()
	if err == nil {
		err = raw.Control(func(n uintptr) { fd = n })
	}
	return fd, err
}

// take is the conversation with a stand-in that was just started.
func (n *Next) take(ctx context.Context, e Estate) error {
	begun, cancel := context.WithTimeout(ctx, HereLimit)
	defer cancel()
	done := during(begun, n.control)
	_, err := hear(n.control, here)
	done()
	if err == nil {
		err = give(ctx, n.control, e)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("it does not become ready in time")
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return errors.New("it has ended before it was ready")
	}
	return err
}

// end kills the process, and returns why it has failed: as it has ended by itself, if it has.
func (n *Next) end(why error) error {
	_ = n.control.Close()
	killed := n.process.Kill() == nil
	<-n.exited
	if n.state == nil {
		return why
	}
	if status, ok := n.state.Sys().(syscall.WaitStatus); ok && killed && status.Signaled() && status.Signal() == syscall.SIGKILL {
		return why
	}
	return fmt.Errorf("%w: %s", why, n.state)
}

// Pid is the pid of the process.
func (n *Next) Pid() int { return n.process.Pid }

// Exited is closed once the process has exited.
func (n *Next) Exited() <-chan struct{} { return n.exited }

// Stop tells the process to end, as SIGTERM would, and waits for that.
func (n *Next) Stop() {
	_ = n.control.Close()
	<-n.exited
}

// Execute replaces the program of this process, which takes its place back from the
// stand-in, or begins anew if that has ended: process, arguments and environment stay. It
// returns only an error.
func (n *Next) Execute(again bool) error {
	l := legacy{StandIn: n.Pid(), Again: again}
	select {
	case <-n.exited:
	default:
		file, err := n.control.File()
		if err != nil {
			return err
		}
		if l.Control, err = open(file); err != nil {
			return err
		}
	}
	for _, f := range n.place.files {
		fd, err := open(f)
		if err != nil {
			return err
		}
		l.Listeners = append(l.Listeners, fd)
	}
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	program := string(n.place.Program)
	// The program that has proved itself; the file may be another one by now.
	if proved := fmt.Sprintf("/proc/%d/exe", n.Pid()); exists(proved) && !same(proved, program) {
		program = proved
	}
	err = syscall.Exec(program, os.Args, append(os.Environ(), variable+"="+string(text)))
	return fmt.Errorf("become %s: %w", program, err)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// open returns a copy of a descriptor that is open over execve(2).
func open(f *os.File) (int, error) {
	fd, err := number(f)
	if err != nil {
		return 0, err
	}
	defer runtime.KeepAlive(f)
	return unix.FcntlInt(fd, unix.F_DUPFD, 3)
}

// pair returns the two ends of a control, the second for another process.
func pair() (*net.UnixConn, *os.File, error) {
	syscall.ForkLock.RLock() // not every system makes sockets that close on exec
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}
