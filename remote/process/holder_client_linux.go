package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// holderName is what a holder is started as.
	holderName = "ryo-holder"
	// self is this program, even when its file has been replaced.
	self = "/proc/self/exe"

	// maxHeldName and maxHeldFiles bound a name, in bytes, and the files that it has:
	// a function's sockets, or the control connection of a process.
	maxHeldName  = 64
	maxHeldFiles = 8
	// maxHeld is how many names there can be, for the 1,000 functions that a machine
	// may have, some with several versions and processes.
	maxHeld = 8192
	// backlog is how many may connect at a time; more are refused for a moment.
	backlog = 128
	// maxReply is how much of an answer is read, in bytes.
	maxReply = 256
	// holderPatience is how long a holder may take to answer; it needs no time.
	holderPatience = 5 * time.Second
)

// A question to a holder is one packet: the first byte is one of these, the rest a
// name. It answers with a packet that begins with held or refused.
const (
	askPid    = '?' // answered with its pid
	askPut    = '+' // hold the files of this packet instead of those of that name
	askRemove = '-' // close the files of that name
	askNext   = '>' // answered with the first name after that one, and its files
	askStop   = '.'
	// keep each file in the folder of this packet below a size, which the name says, in bytes
	askBound = '='

	held    = '+'
	refused = '!'
)

// HolderClient is a connection to a holder, a process that keeps files open while no
// agent runs: listening sockets, on which callers wait meanwhile, and control
// connections, by which the next agent knows the processes. Its methods may be
// called concurrently.
type HolderClient struct {
	conn    chan *net.UnixConn // has the connection while no call uses it
	life    *net.UnixConn      // carries nothing; it is closed when the holder exits
	pid     int
	done    chan struct{}
	watched chan struct{} // closed when watch has returned
}

// OpenHolder connects to the holder at the path of a socket or starts one: this
// program, which must call HolderMain, in a session of its own and in the folder
// dir, so that it goes on when the agent is killed.
func OpenHolder(ctx context.Context, path, dir string) (*HolderClient, error) {
	h, err := connectHolder(ctx, path)
	if errors.Is(err, errNoHolder) {
		h, err = newHolder(ctx, path, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the holder at %s: %w", path, err)
	}
	return h, nil
}

var errNoHolder = errors.New("no holder answers")

func newHolder(ctx context.Context, path, dir string) (*HolderClient, error) {
	pid, err := startHolder(path, dir)
	if err != nil {
		return nil, err
	}
	h, err := connectHolder(ctx, path)
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL) // a child that was not reaped
		reapHolder(pid)
	}
	return h, err
}

func connectHolder(ctx context.Context, path string) (*HolderClient, error) {
	conn, err := dialHolder(ctx, path)
	if err != nil {
		return nil, err
	}
	life, err := dialHolder(ctx, path)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	h := &HolderClient{conn: make(chan *net.UnixConn, 1), life: life, done: make(chan struct{}), watched: make(chan struct{})}
	h.conn <- conn
	pid, _, err := h.ask(askPid, "")
	if err == nil {
		h.pid, err = strconv.Atoi(pid)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		err = errNoHolder // it was exiting
	}
	if err != nil {
		_, _ = conn.Close(), life.Close()
		return nil, err
	}
	go h.watch()
	return h, nil
}

func dialHolder(ctx context.Context, path string) (*net.UnixConn, error) {
	short, dir, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unixpacket", short)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNoHolder
	}
	if err != nil {
		return nil, err
	}
	unixConn := conn.(*net.UnixConn)
	if err := ownPeer(unixConn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return unixConn, nil
}

// shorten returns a path of a socket that fits any address, valid until dir is closed.
func shorten(path string) (short string, dir *os.File, err error) {
	if dir, err = os.Open(filepath.Dir(path)); err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)), dir, nil
}

// ownPeer checks that another process of this user is at the other end.
func ownPeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, peerErr); err != nil {
		return err
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to the user %d", peer.Uid)
	}
	return nil
}

// startHolder starts a holder on a socket that is opened here, so that clients can
// connect at once.
func startHolder(path, dir string) (pid int, err error) {
	if !canHold.Load() {
		return 0, errors.New("a program that starts holders has to call process.HolderMain")
	}
	if path, err = filepath.Abs(path); err != nil {
		return 0, err
	}
	listener, err := listenHolder(path)
	if err != nil {
		return 0, err
	}
	defer unix.Close(listener)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	if err := closeInherited(); err != nil {
		return 0, err
	}
	return syscall.ForkExec(self, []string{holderName, path}, &syscall.ProcAttr{
		Dir: dir,
		// It mostly waits: one processor is enough, and little memory matters more than speed.
		Env:   []string{"GOMAXPROCS=1", "GOGC=10"},
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd(), uintptr(listener)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
}

// listenHolder opens the socket at a path, in place of one of an earlier holder, and
// returns its descriptor.
func listenHolder(path string) (int, error) {
	if err := removeSocket(path); err != nil {
		return 0, err
	}
	short, dir, err := shorten(path)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: short})
	if err == nil {
		err = errors.Join(os.Chmod(path, 0o600), unix.Listen(fd, backlog))
	}
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// watch waits until the holder has exited, and reaps it if it is a child.
func (h *HolderClient) watch() {
	defer close(h.watched)
	_, err := h.life.Read(make([]byte, 1))
	close(h.done)
	if !errors.Is(err, net.ErrClosed) {
		reapHolder(h.pid)
	}
}

// reapHolder reaps a holder, unless an earlier agent is its parent.
func reapHolder(pid int) {
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); err != unix.EINTR {
			return
		}
	}
}

// Done is closed when the connection is of no more use: the holder has exited, and
// what it held is closed, or it does not answer, or the connection was closed. The
// agent then closes this one, opens another, and puts everything again.
func (h *HolderClient) Done() <-chan struct{} { return h.done }

// Put gives the holder duplicates of files to keep under a name, in place of those
// that it kept under that name before.
func (h *HolderClient) Put(name string, files ...*os.File) error {
	switch {
	case name == "" || len(name) > maxHeldName:
		return fmt.Errorf("hold %q: the name must have 1 to %d bytes", name, maxHeldName)
	case len(files) == 0 || len(files) > maxHeldFiles:
		return fmt.Errorf("hold %s: 1 to %d files can have one name, not %d", name, maxHeldFiles, len(files))
	}
	if _, _, err := h.ask(askPut, name, files...); err != nil {
		return fmt.Errorf("hold %s: %w", name, err)
	}
	return nil
}

// Bound makes the holder bound each file in a folder, to which processes append, to
// limit bytes on the disk, also while no agent runs: it frees what was written first.
// What is written within a moment may come on top. The caller closes the folder.
func (h *HolderClient) Bound(dir *os.File, limit int64) error {
	if _, _, err := h.ask(askBound, strconv.FormatInt(limit, 10), dir); err != nil {
		return fmt.Errorf("bound the files in %s: %w", dir.Name(), err)
	}
	return nil
}

// Remove closes what the holder keeps under a name, if anything.
func (h *HolderClient) Remove(name string) error {
	if _, _, err := h.ask(askRemove, name); err != nil {
		return fmt.Errorf("close what is held as %s: %w", name, err)
	}
	return nil
}

// All returns what the holder keeps, by name. The files are duplicates, which the caller
// closes.
func (h *HolderClient) All() (map[string][]*os.File, error) {
	all := make(map[string][]*os.File)
	for last := ""; ; {
		name, files, err := h.ask(askNext, last)
		if err == nil && name == "" {
			return all, nil
		}
		all[name] = append(all[name], files...)
		if err == nil && name <= last {
			err = errors.New("its names are out of order")
		}
		if err != nil {
			for _, files := range all {
				closeAll(files)
			}
			return nil, fmt.Errorf("list what is held: %w", err)
		}
		last = name
	}
}

// Close closes the connection. The holder goes on. Close may be called again.
func (h *HolderClient) Close() {
	_ = h.life.Close()
	<-h.watched
	conn := <-h.conn
	h.conn <- conn // later calls fail on it
	_ = conn.Close()
}

// Stop stops the holder and closes the connection.
func (h *HolderClient) Stop() error {
	_, _, err := h.ask(askStop, "")
	if err == nil {
		<-h.watched
	}
	h.Close()
	return err
}

// ask asks the holder for something and returns its answer.
func (h *HolderClient) ask(what byte, name string, files ...*os.File) (answer string, got []*os.File, err error) {
	conn := <-h.conn
	defer func() { h.conn <- conn }()
	answer, got, err = exchange(conn, append([]byte{what}, name...), files)
	if err != nil {
		closeAll(got)
		return "", nil, errors.Join(err, conn.Close(), h.life.Close()) // a late answer would be taken for the next one's
	}
	if kind := answer[0]; kind != held {
		closeAll(got)
		return "", nil, errors.New("the holder refuses: " + answer[1:])
	}
	return answer[1:], got, nil
}

func exchange(conn *net.UnixConn, packet []byte, files []*os.File) (answer string, got []*os.File, err error) {
	fds := make([]int, 0, maxHeldFiles)
	defer func() { _ = closeFDs(fds) }()
	for _, file := range files {
		fd, err := duplicate(file) // File.Fd would set the socket to blocking
		if err != nil {
			return "", nil, err
		}
		fds = append(fds, fd)
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := conn.SetDeadline(time.Now().Add(holderPatience)); err != nil {
		return "", nil, err
	}
	if _, _, err := conn.WriteMsgUnix(packet, rights, nil); err != nil {
		return "", nil, err
	}
	buf, oob := make([]byte, maxReply), make([]byte, rightsSpace)
	n, oobn, flags, _, err := conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return "", nil, err
	}
	for _, fd := range receivedFDs(oob[:oobn]) {
		got = append(got, os.NewFile(uintptr(fd), "held"))
	}
	switch {
	case n == 0:
		return "", got, io.EOF
	case flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		return "", got, errors.New("there is no room for what it sends; the limit of open files may be too low")
	}
	return string(buf[:n]), got, nil
}
