package process

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// wakeBatch is how many events are taken at once.
const wakeBatch = 64

// Waker waits for callers of functions that have no process. It polls nothing and costs
// no thread.
type Waker struct {
	epoll *os.File

	// mu guards the fields below:
	mu     sync.Mutex
	closed bool            // Run has returned
	last   int32           // key
	waits  map[int32]*wait // by key
}

// wait is one call of Wait.
type wait struct {
	waker   *Waker
	sockets *Sockets
	key     int32 // the kernel tells of it
	ready   chan struct{}
}

// NewWaker returns a waker that waits once Run is called, which also closes it.
func NewWaker() (*Waker, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	// In the runtime's own epoll it becomes readable when an event waits in it.
	file := pollable(fd)
	if file == nil {
		return nil, errors.New("an epoll cannot be waited for")
	}
	return &Waker{epoll: file, waits: make(map[int32]*wait)}, nil
}

// Run tells callers of Wait, until ctx ends.
func (w *Waker) Run(ctx context.Context) error {
	defer w.close()
	stop := context.AfterFunc(ctx, func() {
		_ = w.epoll.SetReadDeadline(time.Unix(1, 0)) // wakes Read
	})
	defer stop()
	raw, err := w.epoll.SyscallConn()
	if err != nil {
		return err
	}
	events := make([]unix.EpollEvent, wakeBatch)
	for {
		var n int
		var waitErr error
		err := raw.Read(func(fd uintptr) bool {
			n, waitErr = unix.EpollWait(int(fd), events, 0)
			return n != 0
		})
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && waitErr != unix.EINTR {
			err = waitErr
		}
		if err != nil {
			return err
		}
		for _, event := range events[:max(n, 0)] {
			w.wake(event.Fd)
		}
	}
}

func (w *Waker) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	_ = w.epoll.Close()
}

func (w *Waker) wake(key int32) {
	w.mu.Lock()
	one := w.waits[key]
	w.mu.Unlock()
	if one != nil && one.cancel() {
		close(one.ready)
	}
}

// Wait waits for a caller on any of the sockets. ready is closed when one is in a
// backlog, now or later, unless the sockets are closed, cancel is called, or Wait is
// called again first. It is also closed when the kernel cannot wait: better a process
// for nothing than a call without an answer.
func (w *Waker) Wait(s *Sockets) (ready <-chan struct{}, cancel func()) {
	one := &wait{waker: w, sockets: s, ready: make(chan struct{})}
	w.mu.Lock()
	w.last++
	one.key = w.last
	w.waits[one.key] = one
	closed := w.closed
	w.mu.Unlock()

	s.mu.Lock()
	s.cancelWait()
	s.wait = one
	err := one.add()
	s.mu.Unlock()
	if err != nil && !closed && one.cancel() {
		close(one.ready)
	}
	return one.ready, func() { one.cancel() }
}

// cancel cancels a wait and reports whether it was still waiting.
func (o *wait) cancel() bool {
	o.sockets.mu.Lock()
	defer o.sockets.mu.Unlock()
	if o.sockets.wait != o {
		return false
	}
	o.sockets.cancelWait()
	return true
}

// add makes the kernel watch the sockets, whose mutex the caller holds.
func (o *wait) add() error {
	for _, fd := range o.sockets.fds {
		event := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT, Fd: o.key}
		if err := o.control(unix.EPOLL_CTL_ADD, fd, &event); err != nil {
			return err
		}
	}
	return nil
}

// remove reverts add, before the sockets' descriptors can be reused. The caller holds
// their mutex.
func (o *wait) remove() {
	for _, fd := range o.sockets.fds {
		_ = o.control(unix.EPOLL_CTL_DEL, fd, nil) // fails when the waker is closed
	}
	o.waker.mu.Lock()
	defer o.waker.mu.Unlock()
	delete(o.waker.waits, o.key)
}

func (o *wait) control(op, fd int, event *unix.EpollEvent) error {
	raw, err := o.waker.epoll.SyscallConn()
	if err != nil {
		return err
	}
	var ctlErr error
	err = raw.Control(func(epoll uintptr) { ctlErr = unix.EpollCtl(int(epoll), op, fd, event) })
	return errors.Join(err, ctlErr)
}
