package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxUnixPath is what the kernel's address of a unix socket holds, less the zero
// that ends it: 107 bytes on Linux.
const maxUnixPath = len(unix.RawSockaddrUnix{}.Path) - 1

// ErrPathTooLong is the error of a unix socket path that the system cannot hold.
var ErrPathTooLong = errors.New("path is too long for a unix socket")

// Sockets are the listening sockets of one function. They are opened once and
// lent to each generation of its processes. All methods may be called
// concurrently.
type Sockets struct {
	addr string
	path string

	// mu, read-locked while a process is forked, guards the fields below:
	mu   sync.RWMutex
	fds  []int // TCP, then unix; nil once closed
	wait *wait // for callers; nil: none
}

// Listen opens a TCP socket at an address such as "127.0.0.1:5001" and, unless
// unixPath is empty, a unix socket, in place of an old one at that path. A port in
// use is syscall.EADDRINUSE, and a path that is too long is ErrPathTooLong, both for
// errors.Is. After an error nothing is open.
func Listen(tcp, unixPath string) (*Sockets, error) {
	if len(unixPath) > maxUnixPath {
		return nil, fmt.Errorf("listen on %s: %w (%d bytes, at most %d)", unixPath, ErrPathTooLong, len(unixPath), maxUnixPath)
	}
	s := &Sockets{}
	var config net.ListenConfig
	// Callers that speak MPTCP are rare, and a sandboxed process may not know it.
	config.SetMultipathTCP(false)
	l, err := config.Listen(context.Background(), "tcp", tcp)
	if err != nil {
		return nil, err
	}
	s.addr = l.Addr().String()
	if err := s.keep(l); err != nil {
		return nil, err
	}
	if unixPath == "" {
		return s, nil
	}
	if err := s.listenUnix(unixPath); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Sockets) listenUnix(path string) error {
	if err := removeSocket(path); err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	s.path = path
	return s.keep(l)
}

// removeSocket removes a socket, but nothing else, at a path.
func removeSocket(path string) error {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		return os.Remove(path)
	}
	return nil
}

// keep replaces l by a copy of its descriptor outside the runtime's poller: there each
// connection to the function would wake this program.
func (s *Sockets) keep(l net.Listener) error {
	fd, err := duplicate(l.(syscall.Conn))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s.fds = append(s.fds, fd)
	return l.Close()
}

// duplicate copies the descriptor of a file, connection or listener.
func duplicate(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var dupErr error
	err = raw.Control(func(orig uintptr) {
		fd, dupErr = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(err, dupErr)
}

// Addr is the TCP address, with the port that was chosen if 0 was asked for.
func (s *Sockets) Addr() string { return s.addr }

// Path is the path of the unix socket, "" when there is none.
func (s *Sockets) Path() string { return s.path }

// Close closes the sockets and removes the unix socket's path. Callers are refused as
// soon as no process has the sockets either.
func (s *Sockets) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fds == nil {
		return nil
	}
	s.cancelWait()
	errs := []error{s.closeFiles()}
	if s.path != "" {
		errs = append(errs, os.Remove(s.path))
	}
	return errors.Join(errs...)
}

// cancelWait cancels the wait for callers, if there is one. The caller holds mu.
func (s *Sockets) cancelWait() {
	if s.wait != nil {
		s.wait.remove()
		s.wait = nil
	}
}

func (s *Sockets) closeFiles() error {
	err := closeFDs(s.fds)
	s.fds = nil
	return err
}

func closeFDs(fds []int) error {
	var errs []error
	for _, fd := range fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

// Files are duplicates of the sockets, TCP first, for Adopted. The caller closes them.
func (s *Sockets) Files() ([]*os.File, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fds == nil {
		return nil, net.ErrClosed
	}
	var files []*os.File
	for _, fd := range s.fds {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			closeAll(files)
			return nil, fmt.Errorf("copy the sockets of %s: %w", s.addr, err)
		}
		files = append(files, os.NewFile(uintptr(copied), "listener"))
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, file := range files {
		_ = file.Close()
	}
}

// Adopted takes over the sockets of which files are duplicates, as Files returns
// them; the caller closes the files. It fails when they are anything else, or when
// the unix socket's path was removed, since no caller could connect.
func Adopted(files []*os.File) (*Sockets, error) {
	s := &Sockets{}
	if err := s.adopt(files); err != nil {
		return nil, errors.Join(fmt.Errorf("adopt sockets: %w", err), s.closeFiles())
	}
	return s, nil
}

func (s *Sockets) adopt(files []*os.File) error {
	for i, file := range files {
		l, err := net.FileListener(file)
		if err != nil {
			return err
		}
		if err := s.keep(l); err != nil {
			return err
		}
		if listens, err := unix.GetsockoptInt(s.fds[i], unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
			return errors.Join(fmt.Errorf("%s does not listen", l.Addr()), err)
		}
		switch at := l.Addr().(type) {
		case *net.TCPAddr:
			s.addr = at.String()
		case *net.UnixAddr:
			s.path = at.Name
		}
	}
	if s.addr == "" || len(s.fds) > 2 || (len(s.fds) == 2) != (s.path != "") {
		return errors.New("they are not a TCP and perhaps a unix socket")
	}
	if s.path == "" {
		return nil
	}
	_, err := os.Lstat(s.path)
	return err
}
