package process

import (
	"cmp"
	"errors"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxClients bounds the connections to a holder; an agent has two, and those of an
	// agent that was killed may stay for a moment.
	maxClients = 8
	// holderLook is how often a holder checks whether it is still needed.
	holderLook = 15 * time.Second
)

// rightsSpace is how large a message of the most files is, in bytes.
var rightsSpace = unix.CmsgSpace(maxHeldFiles * 4)

// canHold is set by HolderMain.
var canHold atomic.Bool

// HolderMain is the holder's main. A program that opens holders calls it first of all
// with its arguments; in a holder it returns the exit code when the holder stops.
//
// A holder stops when a client says so, when it has held nothing and had no client
// for 15 to 30 seconds, when its socket was removed or replaced, and on SIGTERM,
// since that goes to all processes of a machine or service. It ignores SIGHUP and
// SIGINT. It serves agents of later versions, so questions may be added but never
// changed.
func HolderMain(args []string) (code int, holder bool) {
	canHold.Store(true)
	if len(args) != 2 || args[0] != holderName {
		return 0, false
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT)
	debug.FreeOSMemory() // the start made garbage, and little more will come
	h := holderServer{listener: 3, path: args[1], look: holderLook}
	if err := h.run(); err != nil {
		return 1, true
	}
	return 0, true
}

// holderServer is a holder's state. One goroutine answers each question at once, or
// closes the client's connection. Package os has raised the limit of open files to
// the most that is allowed.
type holderServer struct {
	listener int
	path     string        // of the listener
	socket   unix.Stat_t   // at path
	look     time.Duration // how often it checks whether it is needed

	clients []int
	kept    []kept // by name
	bound   *bound
}

type kept struct {
	name string
	fds  []int
}

func (h *holderServer) run() error {
	defer h.close()
	if err := unix.Lstat(h.path, &h.socket); err != nil {
		return err
	}
	var polled []unix.PollFd
	next, used := time.Now().Add(h.look), true
	for {
		polled = append(polled[:0],
			unix.PollFd{Fd: int32(h.listener), Events: unix.POLLIN}, //nolint:gosec // a descriptor
			h.bound.poll(),
		)
		for _, fd := range h.clients {
			polled = append(polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}) //nolint:gosec // a descriptor
		}
		_, err := unix.Poll(polled, int(max(time.Until(h.bound.before(next)).Milliseconds(), 0))+1)
		if err != nil && err != unix.EINTR {
			return err
		}
		if err == nil {
			if polled[1].Revents != 0 {
				h.bound.told()
			}
			for _, p := range polled[2:] {
				if p.Revents != 0 && !h.serve(int(p.Fd)) {
					return h.remove()
				}
			}
			if polled[0].Revents != 0 {
				h.accept()
			}
		}
		h.bound.tend()
		needed := len(h.clients)+len(h.kept) > 0
		used = used || needed
		if time.Now().Before(next) {
			continue
		}
		if !used || !h.reachable() {
			return h.remove()
		}
		next, used = time.Now().Add(h.look), needed
	}
}

// reachable reports whether the path still leads to the listener.
func (h *holderServer) reachable() bool {
	var is unix.Stat_t
	return unix.Lstat(h.path, &is) == nil && is.Dev == h.socket.Dev && is.Ino == h.socket.Ino
}

// remove removes the path, unless it is another holder's by now.
func (h *holderServer) remove() error {
	if !h.reachable() {
		return nil
	}
	return os.Remove(h.path)
}

func (h *holderServer) close() {
	_ = unix.Close(h.listener)
	h.bound.close()
	_ = closeFDs(h.clients)
	for _, k := range h.kept {
		_ = closeFDs(k.fds)
	}
}

// accept takes a connection of the same user.
func (h *holderServer) accept() {
	fd, _, err := unix.Accept4(h.listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return // it was closed again, or the limit of open files is reached
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || int(peer.Uid) != os.Geteuid() {
		_ = unix.Close(fd)
		return
	}
	if len(h.clients) == maxClients {
		h.reply(fd, refusal("there are too many connections"), nil)
		_ = unix.Close(fd)
		return
	}
	h.clients = append(h.clients, fd)
}

// serve answers one question of a client. It reports whether the holder goes on.
func (h *holderServer) serve(client int) bool {
	var buf [1 + maxHeldName]byte
	oob := make([]byte, rightsSpace)
	n, oobn, flags, _, err := unix.Recvmsg(client, buf[:], oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return true
	}
	fds := receivedFDs(oob[:max(oobn, 0)])
	if err != nil || n <= 0 {
		_ = closeFDs(fds)
		h.closeClient(client)
		return true
	}
	reply, files, goOn := refusal("that is too long, or the limit of open files is reached"), []int(nil), true
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		_ = closeFDs(fds)
	} else {
		reply, files, goOn = h.answer(buf[0], string(buf[1:n]), fds)
	}
	if !h.reply(client, reply, files) {
		h.closeClient(client)
	}
	return goOn
}

// receivedFDs are the descriptors that came with a message.
func receivedFDs(oob []byte) (fds []int) {
	messages, _ := unix.ParseSocketControlMessage(oob) // the kernel writes them
	for _, m := range messages {
		got, _ := unix.ParseUnixRights(&m)
		fds = append(fds, got...)
	}
	return fds
}

// answer does what a question says. It owns the descriptors that came with it.
func (h *holderServer) answer(what byte, name string, fds []int) (reply []byte, files []int, goOn bool) {
	reply, goOn = []byte{held}, true
	at, found := slices.BinarySearchFunc(h.kept, name, func(k kept, name string) int { return cmp.Compare(k.name, name) })
	if what != askPut && what != askBound {
		_ = closeFDs(fds)
	}
	switch what {
	case askPid:
		reply = strconv.AppendInt(reply, int64(os.Getpid()), 10)
	case askPut:
		switch {
		case name == "" || len(fds) == 0:
			_ = closeFDs(fds)
			reply = refusal("there is nothing to hold")
		case found:
			_ = closeFDs(h.kept[at].fds)
			h.kept[at].fds = fds
		case len(h.kept) == maxHeld:
			_ = closeFDs(fds)
			reply = refusal("it holds " + strconv.Itoa(maxHeld) + " names already")
		default:
			h.kept = slices.Insert(h.kept, at, kept{name, fds})
		}
	case askRemove:
		if found {
			_ = closeFDs(h.kept[at].fds)
			h.kept = slices.Delete(h.kept, at, at+1)
		}
	case askNext:
		if found {
			at++
		}
		if at < len(h.kept) {
			reply, files = append(reply, h.kept[at].name...), h.kept[at].fds
		}
	case askBound:
		if len(fds) != 1 {
			_ = closeFDs(fds)
			return refusal("there is no folder"), nil, true
		}
		limit, _ := strconv.ParseInt(name, 10, 64)
		next, err := newBound(fds[0], limit)
		if err != nil {
			return refusal(err.Error()), nil, true
		}
		h.bound.close()
		h.bound = next
	case askStop:
		goOn = false
	default:
		reply = refusal("this version does not know the question")
	}
	return reply, files, goOn
}

func refusal(text string) []byte { return append([]byte{refused}, text...) }

// reply sends an answer and reports whether it could. The client's socket has room for
// one answer; only a client that asks and does not read has none.
func (h *holderServer) reply(client int, packet []byte, fds []int) bool {
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	return unix.Sendmsg(client, packet, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL) == nil
}

func (h *holderServer) closeClient(client int) {
	_ = unix.Close(client)
	h.clients = slices.DeleteFunc(h.clients, func(fd int) bool { return fd == client })
}
