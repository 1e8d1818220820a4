package door

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
)

// frame is one of HTTP/2, with a body of some bytes.
func frame(kind, flags byte, call uint32, body int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(body)<<8|uint32(kind))
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, call)
	return append(b, make([]byte, body)...)
}

// FuzzCalls sends calls in pieces of any size: what is under way does not depend on them.
func FuzzCalls(f *testing.F) {
	f.Add(3, 7, 100)
	f.Fuzz(func(t *testing.T, n, size, body int) {
		n, size, body = 1+max(0, n)%50, 1+max(0, size)%200, max(0, body)%5000
		up := []byte(opening + openingRest)
		up = append(up, frame(4, 0, 0, 6)...)
		var down []byte
		for i := range n {
			call := uint32(2*i + 1)
			up = append(up, frame(headers, 4, call, body)...)
			up = append(up, frame(data, endStream, call, body)...)
			down = append(down, frame(headers, 4, call, body)...)
			down = append(down, frame(data, 0, call, body)...)
			up = append(up, frame(headers, 4|endStream, call, 1)...) // trailers
			if i%3 == 0 {
				down = append(down, frame(headers, 4|endStream, call, 1)...)
			}
			if i%5 == 0 {
				up = append(up, frame(reset, 0, call, 4)...)
			}
		}
		var c calls
		in := func(b []byte, note func([]byte)) {
			for len(b) > 0 {
				n := min(size, len(b))
				note(b[:n])
				b = b[n:]
			}
		}
		in(up, c.fromProxy)
		in(down, c.fromFunction)
		want := 0
		for i := range n {
			if i%3 != 0 && i%5 != 0 {
				want++
			}
		}
		assert.Equal(t, want, c.underWay())
	})
}

// FuzzFrames reads anything.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(opening+openingRest), []byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), bytes.Repeat([]byte{0}, 100))
	f.Fuzz(func(t *testing.T, up, down []byte) {
		var c calls
		c.fromProxy(up)
		c.fromFunction(down)
		assert.LessOrEqual(t, c.underWay(), maxCalls)
		assert.True(t, c.http2.Load() || c.underWay() == 0)
	})
}
