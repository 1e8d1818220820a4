package poll

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Poll tells of what happens to descriptors, each of which stands for a T. What is watched
// costs a system call when it begins, and nothing while nothing happens. The zero value,
// with Tell, is ready; Tell may be called until Close returns, and must not block.
type Poll[T any] struct {
	Tell func(T)

	mu      sync.Mutex // guards the fields below:
	file    *os.File   // nil: there is no epoll, or not yet
	watched map[uint64]T
	last    uint64
	closed  bool
	done    chan struct{} // closed when nothing is watched any longer
}

// Left watches until the other end has closed its side, or tells at once if it has already.
// It returns 0 if it cannot, as when the descriptor is watched already.
func (p *Poll[T]) Left(descriptor Control, who T) (watch uint64) {
	return p.add(descriptor, unix.EPOLLRDHUP|unix.EPOLLET, who)
}

// Once watches until there is something to read, or the other end has left, and tells once.
// It returns 0 if it cannot. A descriptor may be watched again after that.
func (p *Poll[T]) Once(descriptor Control, who T) (watch uint64) {
	return p.add(descriptor, unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLONESHOT, who)
}

func (p *Poll[T]) add(descriptor Control, events uint32, who T) (watch uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.file == nil && p.open() != nil {
		return 0
	}
	p.last++
	id := p.last
	event := unix.EpollEvent{Events: events, Fd: int32(id), Pad: int32(id >> 32)} //nolint:gosec // two halves
	p.control(descriptor, func(ep, fd int) {
		err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &event)
		if errors.Is(err, unix.EEXIST) && events&unix.EPOLLONESHOT != 0 { // it was told of
			err = unix.EpollCtl(ep, unix.EPOLL_CTL_MOD, fd, &event)
		}
		if err == nil {
			p.watched[id] = who
			watch = id
		}
	})
	return watch
}

// control calls do with a descriptor that is open. mu is held.
func (p *Poll[T]) control(descriptor Control, do func(ep, fd int)) {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return
	}
	descriptor(func(fd uintptr) {
		_ = raw.Control(func(ep uintptr) { do(int(ep), int(fd)) })
	})
}

// Forget ends a watch whose descriptor is closed, or about to be: the kernel forgets it by
// itself. So it does with one that was to be told of once, and was.
func (p *Poll[T]) Forget(watch uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watched, watch)
}

// End ends a watch whose descriptor stays open.
func (p *Poll[T]) End(watch uint64, descriptor Control) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, watched := p.watched[watch]; watched && !p.closed {
		p.control(descriptor, func(ep, fd int) { _ = unix.EpollCtl(ep, unix.EPOLL_CTL_DEL, fd, nil) })
		delete(p.watched, watch)
	}
}

// open begins to wait. mu is held.
func (p *Poll[T]) open() error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(fd, true); err != nil { // so that the runtime waits for it, too
		return errors.Join(err, unix.Close(fd))
	}
	p.file = os.NewFile(uintptr(fd), "epoll")
	p.watched, p.done = make(map[uint64]T), make(chan struct{})
	go p.wait(p.file)
	return nil
}

// wait tells what happens, until Close.
func (p *Poll[T]) wait(file *os.File) {
	defer close(p.done)
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
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
			p.mu.Lock()
			who, watched := p.watched[uint64(uint32(e.Fd))|uint64(uint32(e.Pad))<<32] //nolint:gosec // two halves
			p.mu.Unlock()
			if watched {
				p.Tell(who)
			}
		}
	}
}

// Close ends the wait.
func (p *Poll[T]) Close() {
	p.mu.Lock()
	p.closed = true
	file := p.file
	p.mu.Unlock()
	if file != nil {
		_ = file.Close()
		<-p.done
	}
}
