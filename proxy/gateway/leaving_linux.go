package gateway

import (
	"errors"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// leaving tells calls that their callers have closed their side, where nobody reads the
// caller's connection, so that the kernel has to be asked: one epoll(7) has all of them.
// It costs a system call when a connection is first watched, and nothing per call.
type leaving struct {
	mu     sync.Mutex // guards the fields below:
	file   *os.File   // nil: there is no epoll, or not yet
	calls  map[uint64]leaver
	last   uint64
	closed bool
	done   chan struct{} // closed when nothing is watched any longer
}

// watch begins to watch a connection, whose descriptor is asked for, and tells who once,
// when its caller has closed its side or if it has already. It returns 0 if it cannot.
func (w *leaving) watch(descriptor func(do func(fd uintptr)), who leaver) (watch uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.file == nil && w.open() != nil {
		return 0
	}
	w.last++
	id := w.last
	event := unix.EpollEvent{Events: unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(id), Pad: int32(id >> 32)}
	w.control(descriptor, unix.EPOLL_CTL_ADD, &event, func() {
		w.calls[id] = who
		watch = id
	})
	return watch
}

// control changes what the kernel knows of a connection that is open, and calls done if
// it did. mu is held.
func (w *leaving) control(descriptor func(do func(fd uintptr)), op int, event *unix.EpollEvent, done func()) {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	descriptor(func(fd uintptr) {
		_ = raw.Control(func(ep uintptr) {
			if unix.EpollCtl(int(ep), op, int(fd), event) == nil {
				done()
			}
		})
	})
}

// forget ends a watch whose connection is closed, or about to be: the kernel forgets it
// by itself.
func (w *leaving) forget(watch uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.calls, watch)
}

// end ends a watch whose connection goes on.
func (w *leaving) end(watch uint64, descriptor func(do func(fd uintptr))) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, watched := w.calls[watch]; watched && !w.closed {
		w.control(descriptor, unix.EPOLL_CTL_DEL, nil, func() {})
		delete(w.calls, watch)
	}
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
	w.calls, w.done = make(map[uint64]leaver), make(chan struct{})
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	go w.wait(raw)
	return nil
}

// wait tells calls that their callers have left, until close.
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
	who := w.calls[id]
	w.mu.Unlock()
	if who != nil {
		who.hasLeft()
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
