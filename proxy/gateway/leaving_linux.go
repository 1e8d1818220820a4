package gateway

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// leaving tells calls of the fast lane that their callers have closed their side. The
// goroutine of a call waits for the function then, and nobody reads the caller's
// connection, so the kernel is asked: one epoll(7) has all of them. It costs a system
// call per connection, and nothing per call.
type leaving struct {
	mu     sync.Mutex // guards the fields below:
	file   *os.File   // nil: there is no epoll, or not yet
	lanes  map[uint64]*Fast
	last   uint64
	closed bool
	done   chan struct{} // closed when nothing is watched any longer
}

// watch begins to watch the connection of a lane, if it has not begun.
func (w *leaving) watch(f *Fast) {
	if f.watch != 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.file == nil && w.open() != nil {
		return
	}
	w.last++
	id := w.last
	// Once, when it happens: a lane remembers it.
	event := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(id), Pad: int32(id >> 32)}
	raw, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	f.caller.Descriptor(func(fd uintptr) {
		_ = raw.Control(func(ep uintptr) {
			if unix.EpollCtl(int(ep), unix.EPOLL_CTL_ADD, int(fd), &event) == nil {
				f.watch = id
				w.lanes[id] = f
			}
		})
	})
}

// forget ends that. The kernel forgets a descriptor that is closed.
func (w *leaving) forget(f *Fast) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.lanes, f.watch)
}

// open begins to wait. mu is held.
func (w *leaving) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime waits for it, too
		return errors.Join(err, unix.Close(fd))
	}
	w.file = os.NewFile(uintptr(fd), "epoll")
	w.lanes, w.done = make(map[uint64]*Fast), make(chan struct{})
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	go w.wait(raw)
	return nil
}

// wait tells lanes that their callers have left, until close.
func (w *leaving) wait(raw syscall.RawConn) {
	defer close(w.done)
	var events [64]unix.EpollEvent
	for {
		n := 0
		err := raw.Read(func(ep uintptr) bool {
			var err error
			if n, err = unix.EpollWait(int(ep), events[:], 0); err != nil {
				n = 0
				return !errors.Is(err, unix.EINTR)
			}
			return n > 0
		})
		if err != nil || n == 0 {
			return
		}
		for _, e := range events[:n] {
			w.tell(uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32)
		}
	}
}

func (w *leaving) tell(id uint64) {
	w.mu.Lock()
	f := w.lanes[id]
	w.mu.Unlock()
	if f != nil {
		f.left()
	}
}

// close ends the wait.
func (w *leaving) close() {
	w.mu.Lock()
	w.closed = true
	file := w.file
	w.mu.Unlock()
	if file != nil {
		_ = file.Close()
		<-w.done
	}
}
