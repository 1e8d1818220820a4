package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
)

// The PROXY protocol, by which a forwarder of connections says whose they are:
// https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
const (
	preludeV1     = "PROXY "
	preludeV2     = "\r\n\r\n\x00\r\nQUIT\n"
	preludeV1Size = 107     // bytes at most, with CR LF
	preludeV2Head = 16      // bytes before the addresses
	preludeV2Size = 4 << 10 // bytes at most: far more than the fields that there are
)

var errPrelude = errors.New("a PROXY protocol header that cannot be read")

// preludeConn is a connection of a trusted peer, which may begin with a header of the
// PROXY protocol. Other first bytes are the client's, as they are: no HTTP request and
// no TLS record begins like such a header. One goroutine reads it.
type preludeConn struct {
	net.Conn
	done   bool   // the header has been read, or there is none
	bad    error  // what is wrong with the header: no later read succeeds
	early  []byte // what was read and is not part of it
	origin atomic.Pointer[origin]
}

// Read implements net.Conn.
func (c *preludeConn) Read(p []byte) (int, error) {
	for !c.done {
		if err := c.readPrelude(); err != nil {
			return 0, err
		}
	}
	if c.bad != nil {
		return 0, c.bad
	}
	if len(c.early) > 0 {
		n := copy(p, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// readPrelude reads once and looks whether the header has come whole.
func (c *preludeConn) readPrelude() error {
	room := make([]byte, preludeV2Size)
	n, err := c.Conn.Read(room)
	c.early = append(c.early, room[:n]...)
	size, o, bad := parsePrelude(c.early)
	switch {
	case bad == nil && size >= 0:
		c.done, c.early = true, c.early[size:]
		if o.client.IsValid() {
			c.origin.Store(&o)
		}
		return nil
	case bad == nil && (err == nil || len(c.early) == 0 || errors.Is(err, os.ErrDeadlineExceeded)):
		return err // more is to come, or the client has sent nothing, or took too long
	}
	c.done, c.bad = true, bad // without bad the client closes in the middle of what is no header
	return nil
}

// CloseWrite says that no more is sent.
func (c *preludeConn) CloseWrite() error { return closeWrite(c.Conn) }

// SetLinger says how Close works: with 0 the connection is reset.
func (c *preludeConn) SetLinger(seconds int) error { return setLinger(c.Conn, seconds) }

// parsePrelude reads the header at the beginning of b. Its size is 0 when there is
// none, -1 when more bytes are needed to tell. The origin is the zero value where the
// forwarder speaks for itself, as in checks of our health, or does not know.
func parsePrelude(b []byte) (size int, o origin, err error) {
	switch {
	case bytes.HasPrefix(b, []byte(preludeV2)):
		return parsePreludeV2(b)
	case bytes.HasPrefix(b, []byte(preludeV1)):
		return parsePreludeV1(b)
	case strings.HasPrefix(preludeV2, string(b)), strings.HasPrefix(preludeV1, string(b)):
		return -1, o, nil
	}
	return 0, o, nil
}

func parsePreludeV1(b []byte) (int, origin, error) {
	line, _, whole := bytes.Cut(b[:min(len(b), preludeV1Size)], []byte("\r\n"))
	if !whole {
		if len(b) >= preludeV1Size {
			return 0, origin{}, errPrelude
		}
		return -1, origin{}, nil
	}
	size := len(line) + len("\r\n")
	words := strings.Split(string(line), " ")
	if len(words) > 1 && words[1] == "UNKNOWN" {
		return size, origin{}, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return 0, origin{}, errPrelude
	}
	addr, err := netip.ParseAddr(words[2])
	port, ok := number([]byte(words[4]), 10)
	if err != nil || addr.Is4() != (words[1] == "TCP4") || addr.Zone() != "" || !ok || port > 1<<16-1 {
		return 0, origin{}, errPrelude
	}
	return size, origin{client: netip.AddrPortFrom(addr.Unmap(), uint16(port))}, nil
}

func parsePreludeV2(b []byte) (int, origin, error) {
	if len(b) < preludeV2Head {
		return -1, origin{}, nil
	}
	version, command, family := b[12]>>4, b[12]&0xf, b[13]
	size := preludeV2Head + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case version != 2, command > 1, size > preludeV2Size:
		return 0, origin{}, errPrelude
	case len(b) < size:
		return -1, origin{}, nil
	}
	const local, tcp4, tcp6 = 0, 0x11, 0x21
	ip := map[byte]int{tcp4: 4, tcp6: 16}[family]
	rest := b[preludeV2Head:size]
	switch {
	case command == local, ip == 0:
		return size, origin{}, nil
	case len(rest) < 2*ip+4:
		return 0, origin{}, errPrelude
	}
	addr, _ := netip.AddrFromSlice(rest[:ip])
	o := origin{client: netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(rest[2*ip:]))}
	for fields := rest[2*ip+4:]; len(fields) >= 3; {
		const tls, byTLS = 0x20, 1
		kind, value := fields[0], fields[3:]
		length := int(binary.BigEndian.Uint16(fields[1:]))
		if length > len(value) {
			return 0, origin{}, errPrelude
		}
		if kind == tls && length > 0 && value[0]&byTLS != 0 {
			o.scheme = "https"
		}
		fields = value[length:]
	}
	return size, o, nil
}
