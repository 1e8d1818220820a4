package door

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// The beginning of a connection of HTTP/2, in two parts: a server may speak after the first
// (RFC 9113 section 3.4).
const (
	opening     = "PRI * HTTP/2.0\r\n\r\n"
	openingRest = "SM\r\n\r\n"
)

// The frames by which calls begin and end (RFC 9113 section 6).
const (
	frameHead = 9 // bytes
	data      = 0
	headers   = 1
	reset     = 3
	endStream = 1 // a flag
)

// maxCalls bounds the calls that are remembered of a connection: four times as many as a
// function's server takes.
const maxCalls = 1000

// calls are those that are under way on a connection of HTTP/2. One of HTTP/1 is not read
// any further than its beginning.
type calls struct {
	begins int // bytes of opening that have come; negative: it is HTTP/1
	http2  atomic.Bool
	up     frames
	down   frames

	mu   sync.Mutex      // guards the fields below:
	last uint32          // the call that began last
	open map[uint32]bool // nil: there were none
}

// fromProxy notes what a proxy sends, before the function gets it.
func (c *calls) fromProxy(p []byte) {
	if c.begins >= 0 && c.begins < len(opening) {
		n := min(len(p), len(opening)-c.begins)
		if !bytes.Equal(p[:n], []byte(opening[c.begins:c.begins+n])) {
			c.begins = -1
			return
		}
		p, c.begins = p[n:], c.begins+n
		if c.begins == len(opening) {
			c.up.skip = len(openingRest)
			c.http2.Store(true)
		}
	}
	if !c.http2.Load() {
		return
	}
	c.up.read(p, func(kind, _ byte, call uint32) {
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case kind == headers && call > c.last && len(c.open) < maxCalls:
			if c.open == nil {
				c.open = make(map[uint32]bool)
			}
			c.last, c.open[call] = call, true
		case kind == reset:
			delete(c.open, call)
		}
	})
}

// fromFunction notes what a function sends, before the proxy gets it. A call ends with its
// answer.
func (c *calls) fromFunction(p []byte) {
	if !c.http2.Load() {
		return
	}
	c.down.read(p, func(kind, flags byte, call uint32) {
		if kind == reset || (kind == headers || kind == data) && flags&endStream != 0 {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.open, call)
		}
	})
}

// underWay returns how many there are.
func (c *calls) underWay() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// frames are the frames that one side sends.
type frames struct {
	head [frameHead]byte
	n    int // bytes of head that have come
	skip int // bytes that come before the next head
}

// read calls seen for each frame whose head ends in p.
func (f *frames) read(p []byte, seen func(kind, flags byte, call uint32)) {
	for len(p) > 0 {
		if n := min(len(p), f.skip); n > 0 {
			p, f.skip = p[n:], f.skip-n
			continue
		}
		n := copy(f.head[f.n:], p)
		p = p[n:]
		if f.n += n; f.n < frameHead {
			return
		}
		first := binary.BigEndian.Uint32(f.head[:])
		f.n, f.skip = 0, int(first>>8)
		seen(byte(first), f.head[4], binary.BigEndian.Uint32(f.head[5:])&^(1<<31))
	}
}
