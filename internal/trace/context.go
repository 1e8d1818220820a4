package trace

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// Context is what a traceparent says (W3C Trace Context, section 3.2).
type Context struct {
	Trace   [16]byte
	Span    [8]byte
	Sampled bool // its span is recorded
}

// HeaderSize is the length of a traceparent.
const HeaderSize = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// Parse reads a traceparent; ok is false when it is not valid.
func Parse(header []byte) (c Context, ok bool) {
	if len(header) < HeaderSize || len(header) > HeaderSize && (header[HeaderSize] != '-' || string(header[:2]) == "00") || string(header[:2]) == "ff" {
		return c, false
	}
	for i, b := range header[:HeaderSize] {
		switch {
		case i == 2 || i == 35 || i == 52:
			if b != '-' {
				return c, false
			}
		case '0' <= b && b <= '9' || 'a' <= b && b <= 'f':
		default:
			return c, false
		}
	}
	var flags [1]byte
	_, _ = hex.Decode(c.Trace[:], header[3:35]) // the digits were looked at
	_, _ = hex.Decode(c.Span[:], header[36:52])
	_, _ = hex.Decode(flags[:], header[53:55])
	c.Sampled = flags[0]&1 == 1
	return c, c.Trace != [16]byte{} && c.Span != [8]byte{}
}

// Append appends the traceparent.
func (c Context) Append(b []byte) []byte {
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, c.Trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, c.Span[:])
	if c.Sampled {
		return append(b, "-01"...)
	}
	return append(b, "-00"...)
}

// child returns the context of a span below another, or, if that is none, of a new trace.
func (c Context) child() Context {
	for c.Trace == [16]byte{} {
		binary.NativeEndian.PutUint64(c.Trace[:], rand.Uint64())
		binary.NativeEndian.PutUint64(c.Trace[8:], rand.Uint64())
	}
	for c.Span = [8]byte{}; c.Span == [8]byte{}; {
		binary.NativeEndian.PutUint64(c.Span[:], rand.Uint64())
	}
	return c
}
