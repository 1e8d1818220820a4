package peercred

import (
	"errors"
	"net"
	"net/netip"
)

// What Of may answer in place of a Peer.
var (
	// ErrElsewhere says that the other end is on another machine, or in another
	// network namespace.
	ErrElsewhere = errors.New("the other end is not on this machine")
	// ErrClosed says that the other end is closed, or about to be.
	ErrClosed = errors.New("the other end is closed")
	// ErrUnknown says that this system does not tell whose the other end is.
	ErrUnknown = errors.New("this system does not tell whose a local connection is")
)

// Peer is the other end of a connection on this machine.
type Peer struct {
	UID   int // of the process that opened it, at that time
	inode uint32
	ends  ends // of TCP
	unix  bool // not TCP
	pid   int  // of a unix socket
}

// ends are the addresses of the other end's socket: its own, and the one it is
// connected to.
type ends struct{ own, far netip.AddrPort }

// local returns the ends of a TCP connection whose addresses can only be on this
// machine, from the other end's view.
func local(c net.Conn) (ends, bool) {
	remote, ok := c.RemoteAddr().(*net.TCPAddr)
	here, ok2 := c.LocalAddr().(*net.TCPAddr)
	if !ok || !ok2 {
		return ends{}, false
	}
	e := ends{own: remote.AddrPort(), far: here.AddrPort()}
	e.own = netip.AddrPortFrom(e.own.Addr().Unmap(), e.own.Port())
	e.far = netip.AddrPortFrom(e.far.Addr().Unmap(), e.far.Port())
	return e, e.own.Addr().IsLoopback() || e.own.Addr() == e.far.Addr()
}
