package server

import (
	"bytes"
	"fmt"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// plainHead ends the head of an answer of net/http's own, with which it refuses bytes
// that are no request before any handler sees them. An answer of a handler says more.
const plainHead = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// maxPlain is more than such an answer has, in bytes.
const maxPlain = 1 << 10

// Write implements net.Conn. What net/http refuses by itself is answered in the form of
// all errors. What a tunnel carries passes unchanged.
func (c *framedConn) Write(p []byte) (int, error) {
	if c.hijacked.Load() {
		return c.Conn.Write(p)
	}
	instead := refusal(p)
	if instead == nil {
		return c.Conn.Write(p)
	}
	c.refused.Store(true) // net/http closes now, perhaps before it has read all that came
	if _, err := c.Conn.Write(instead); err != nil {
		return 0, err
	}
	return len(p), nil
}

// refusal returns an answer of net/http's own in our form, nil if p is none.
func refusal(p []byte) []byte {
	rest, ok := bytes.CutPrefix(p, []byte("HTTP/1.1 "))
	if !ok || len(p) > maxPlain || len(rest) == 0 || rest[0] < '4' {
		return nil
	}
	status, body, ok := bytes.Cut(rest, []byte(plainHead))
	if !ok || bytes.IndexByte(status, '\n') >= 0 {
		return nil
	}
	status, about, _ := bytes.Cut(status, []byte(": "))
	e := proto.Errorf(proto.ErrInvalid, "the request cannot be read: %s", about)
	switch {
	case bytes.HasPrefix(status, []byte("431 ")):
		e = proto.Errorf(proto.ErrTooLarge, "the head of the request is longer than %d bytes", wire.MaxHeader)
	case bytes.HasPrefix(status, []byte("501 ")):
		e = proto.Errorf(proto.ErrInvalid, "the request cannot be read: %s", bytes.ToLower(body))
	case len(about) == 0:
		e = proto.Errorf(proto.ErrInvalid, "the request cannot be read: it is not as HTTP says, or its target is no URI").
			WithHint("% in a target is followed by two hexadecimal digits, and is written %25 itself")
	}
	d := e.Detail()
	d.RequestId = proto.RequestID("")
	text, err := wire.Encode(d)
	if err != nil {
		return nil
	}
	const form = "HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n" +
		wire.APIHeader + ": " + wire.APIVersion + "\r\n" + proto.RequestIDHeader + ": %s\r\n\r\n{\"error\":%s}\n"
	return fmt.Appendf(nil, form, status, d.GetRequestId(), text)
}
