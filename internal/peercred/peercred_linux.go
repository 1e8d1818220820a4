package peercred

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Of says whose the other end of c is. Call it before the first read. A connection
// that is neither TCP nor a unix socket is ErrElsewhere.
func Of(c net.Conn) (Peer, error) {
	if u, ok := c.(*net.UnixConn); ok {
		return ofUnix(u)
	}
	e, ok := local(c)
	if !ok {
		return Peer{}, ErrElsewhere
	}
	return ask(e)
}

func ofUnix(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, credErr); err != nil {
		return Peer{}, fmt.Errorf("ask whose a unix socket is: %w", err)
	}
	return Peer{UID: int(cred.Uid), unix: true, pid: int(cred.Pid)}, nil
}

// The messages of sock_diag(7), which the kernel's linux/inet_diag.h lays out.
const (
	headerSize   = unix.SizeofNlMsghdr
	requestSize  = headerSize + 56
	statesAll    = 0xffffffff
	noCookie     = 0xffffffff
	atState      = headerSize + 1
	atUID        = headerSize + 64
	atInode      = headerSize + 68
	answerSize   = headerSize + 72
	established  = 1 // TCP_ESTABLISHED
	askedByAddrs = 20
)

// ask asks the kernel for the socket with these ends.
func ask(e ends) (Peer, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return Peer{}, fmt.Errorf("ask whose a connection is: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, question(e), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return Peer{}, fmt.Errorf("ask whose a connection is: %w", err)
	}
	var buf [512]byte
	// The kernel has answered when the question is sent.
	n, from, err := unix.Recvfrom(fd, buf[:], unix.MSG_DONTWAIT)
	if err != nil {
		return Peer{}, fmt.Errorf("ask whose a connection is: %w", err)
	}
	if kernel, ok := from.(*unix.SockaddrNetlink); !ok || kernel.Pid != 0 {
		return Peer{}, errors.New("ask whose a connection is: the answer is not the kernel's")
	}
	return parse(buf[:n], e)
}

// question is a request for one socket by its addresses.
func question(e ends) []byte {
	b := make([]byte, requestSize)
	binary.NativeEndian.PutUint32(b, requestSize)
	binary.NativeEndian.PutUint16(b[4:], askedByAddrs)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	r := b[headerSize:]
	r[0], r[1] = unix.AF_INET6, unix.IPPROTO_TCP
	if e.own.Addr().Is4() { // the sockets of an IPv6 program, too, are found in this way
		r[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(r[4:], statesAll)
	binary.BigEndian.PutUint16(r[8:], e.own.Port())
	binary.BigEndian.PutUint16(r[10:], e.far.Port())
	copy(r[12:28], e.own.Addr().AsSlice())
	copy(r[28:44], e.far.Addr().AsSlice())
	binary.NativeEndian.PutUint32(r[48:], noCookie)
	binary.NativeEndian.PutUint32(r[52:], noCookie)
	return b
}

// parse reads an answer.
func parse(b []byte, e ends) (Peer, error) {
	if len(b) < headerSize {
		return Peer{}, errors.New("ask whose a connection is: the answer is too short")
	}
	switch kind := binary.NativeEndian.Uint16(b[4:]); {
	case kind == unix.NLMSG_ERROR && len(b) >= headerSize+4:
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[headerSize:])))
		if errno == unix.ENOENT {
			return Peer{}, ErrClosed
		}
		return Peer{}, fmt.Errorf("ask whose a connection is: %w", errno)
	case kind != askedByAddrs || len(b) < answerSize:
		return Peer{}, errors.New("ask whose a connection is: the answer is of another kind")
	}
	inode := binary.NativeEndian.Uint32(b[atInode:])
	if b[atState] != established || inode == 0 {
		return Peer{}, ErrClosed
	}
	return Peer{UID: int(binary.NativeEndian.Uint32(b[atUID:])), inode: inode, ends: e}, nil
}

// open reports whether a file still stands for the socket of p.
func (p Peer) open() bool {
	now, err := ask(p.ends)
	return err == nil && now.inode == p.inode
}
