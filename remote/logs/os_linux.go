package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// watch tells which files of a folder are written to.
type watch struct {
	file   *os.File
	raw    syscall.RawConn
	buffer []byte
}

// newWatch watches a folder.
func newWatch(dir string) (*watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1 (limit: sysctl fs.inotify.max_user_instances)", err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	w := &watch{file: file, buffer: make([]byte, 64<<10)}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CLOSE_WRITE|unix.IN_ONLYDIR); err != nil {
		file.Close()
		return nil, os.NewSyscallError("inotify_add_watch", err)
	}
	if w.raw, err = file.SyscallConn(); err != nil {
		file.Close()
		return nil, err
	}
	return w, nil
}

// close makes wait return an error.
func (w *watch) close() { w.file.Close() }

// wait blocks until there are changes.
func (w *watch) wait() error {
	return w.raw.Read(func(fd uintptr) bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0
	})
}

// changes calls tell for each file that was written to, or closed by a process that
// could write, since the last call; the same file may come several times. If there were
// too many, it calls overflow instead.
func (w *watch) changes(tell func(file string, closed bool), overflow func()) error {
	for {
		n, err := 0, error(nil)
		controlErr := w.raw.Control(func(fd uintptr) { n, err = unix.Read(int(fd), w.buffer) })
		switch {
		case controlErr != nil:
			return controlErr
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("read inotify", err)
		}
		for events := w.buffer[:n]; len(events) >= unix.SizeofInotifyEvent; {
			mask := binary.NativeEndian.Uint32(events[4:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
			name := bytes.TrimRight(events[unix.SizeofInotifyEvent:end], "\x00")
			events = events[end:]
			if mask&unix.IN_Q_OVERFLOW != 0 {
				overflow()
				continue
			}
			tell(string(name), mask&unix.IN_CLOSE_WRITE != 0)
		}
	}
}

// written reports whether a process has a file open for writing: then the kernel grants
// no lease for reading, see fcntl(2). Where there are no leases, it reports whether the
// process that the file was made for runs.
func written(file *os.File, pid int) bool {
	err := control(file, func(fd int) error {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
			return err
		}
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		return err
	})
	if err == nil || errors.Is(err, unix.EAGAIN) {
		return err != nil
	}
	return pid != 0 && !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// holeAt is the length of the freed part of a file that begins at an offset.
func holeAt(file *os.File, from int64) (int64, error) {
	data, err := file.Seek(from, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // all the rest is a hole, or from is the end
		end, err := file.Seek(0, io.SeekEnd)
		return max(end-from, 0), err
	case errors.Is(err, unix.EINVAL): // the file system has no holes
		return 0, nil
	case err != nil:
		return 0, err
	}
	return data - from, nil
}

// punch gives the blocks of a file between two offsets back to the disk.
func punch(file *os.File, from, to int64) error {
	return control(file, func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	})
}

func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = raw.Control(func(fd uintptr) { callErr = f(int(fd)) })
	return errors.Join(err, callErr)
}
