package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/http1"
)

// relay passes the answer on, each part as it comes.
func (c *fastCall) relay() (err error) {
	a := &c.answer
	c.status = a.Status
	method := string(c.request.Method)
	bodiless := a.Bodiless(method)
	closes, nominates, dated := a.Old, false, false
	b := appendStatus(c.out[:0], a.Status)
	for _, h := range a.Headers {
		if len(h.Name) == len("connection") && http1.Equal(h.Name, "connection") {
			closes = closes && !http1.Holds(h.Value, "keep-alive") || http1.Holds(h.Value, "close")
			nominates = nominates || !http1.Equal(h.Value, "close") && !http1.Equal(h.Value, "keep-alive")
		}
	}
	for _, h := range a.Headers {
		switch {
		case forward.FateOf(h.Name) == forward.Hop:
			if a.Until == http1.Chunks && http1.Equal(h.Name, "trailer") {
				if b, err = appendTrailerNames(b, h.Value); err != nil {
					return err
				}
			}
			continue
		case http1.Equal(h.Name, "x-request-id"), forward.Widens(h.Name), nominates && nominated(a.Headers, h.Name):
			continue
		case a.Status == http.StatusNotModified && http1.Equal(h.Name, "content-type"): // as net/http's server does
			continue
		case len(h.Name) == len("date") && http1.Equal(h.Name, "date"):
			dated = true
		}
		b = appendHeader(b, h)
	}
	b = c.appendOurs(b, dated)
	switch {
	case a.Length >= 0 && a.Status != http.StatusNoContent && a.Status != http.StatusNotModified:
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, a.Length, 10)
		b = append(b, "\r\n"...)
	case !bodiless:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	if c.closes = c.closes || c.caller.Closing(); c.closes {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "\r\n"...)
	c.out = b
	switch {
	case bodiless:
		// What announces a body where there can be none may be followed by one.
		none := a.Status == http.StatusNoContent || a.Status == http.StatusNotModified
		announced := a.Length > 0 || a.Until == http1.Chunks
		c.done(!closes && len(c.early) == 0 && (!none || !announced))
		_, err = c.caller.Write(c.out)
		return err
	case a.Until == http1.Length:
		return c.copy(closes)
	}
	return c.copyChunks(closes)
}

// appendOurs appends the headers that the gateway adds to an answer.
func (c *fastCall) appendOurs(b []byte, dated bool) []byte {
	if !dated {
		b = append(b, "Date: "...)
		b = c.begun.UTC().AppendFormat(b, http.TimeFormat)
		b = append(b, "\r\n"...)
	}
	if value, strict := c.caller.Strict(); strict {
		b = appendLine(b, "Strict-Transport-Security", value)
	}
	return appendLine(b, "X-Request-Id", c.id)
}

// copy passes a body of known length on.
func (c *fastCall) copy(closes bool) error {
	left := c.answer.Length
	first := c.early[:min(int64(len(c.early)), left)]
	reusable := !closes && len(first) == len(c.early)
	c.out = append(c.out, first...)
	c.bytes = int64(len(first))
	if left -= c.bytes; left == 0 {
		c.done(reusable)
	}
	if _, err := c.caller.Write(c.out); err != nil || left == 0 {
		return err
	}
	buf := buffers{}.Get()
	defer buffers{}.Put(buf)
	for left > 0 {
		n, err := c.used.read(buf[:min(int64(len(buf)), left)])
		if left -= int64(n); left == 0 {
			c.done(reusable)
		}
		if n > 0 {
			c.bytes += int64(n)
			if _, err := c.caller.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil && left > 0 {
			return errors.Join(errCut, err)
		}
	}
	return nil
}

// Room around a part of a body for the lines of its chunk, and the last one.
const (
	chunkFront = 16
	chunkBack  = 8
)

// copyChunks passes on a body that comes in chunks, or until the connection ends.
func (c *fastCall) copyChunks(closes bool) error {
	c.chunked.Reset()
	part, rest, err := c.decode(c.early)
	if len(part) > 0 {
		c.out = strconv.AppendInt(c.out, int64(len(part)), 16)
		c.out = append(c.out, "\r\n"...)
		c.out = append(c.out, part...)
		c.out = append(c.out, "\r\n"...)
		c.bytes = int64(len(part))
	}
	if c.chunked.Done() || err != nil {
		return c.sendLast(c.out, !closes && len(rest) == 0, err)
	}
	if _, err := c.caller.Write(c.out); err != nil {
		return err
	}
	buf := buffers{}.Get()
	defer buffers{}.Put(buf)
	for {
		n, failed := c.used.read(buf[chunkFront : len(buf)-chunkBack])
		part, rest, err = c.decode(buf[chunkFront : chunkFront+n])
		out := buf[:0]
		if len(part) > 0 {
			out = enclose(buf, len(part))
			c.bytes += int64(len(part))
		}
		switch {
		case c.chunked.Done() || err != nil:
			return c.sendLast(out, !closes && len(rest) == 0, err)
		case failed != nil && c.answer.Until == http1.Close && errors.Is(failed, io.EOF):
			return c.sendLast(out, false, nil)
		case failed != nil:
			return c.sendLast(out, false, errors.Join(errCut, failed))
		}
		if _, err := c.caller.Write(out); err != nil {
			return err
		}
	}
}

// sendLast sends the last part of a body that comes in chunks, and the end if nothing is
// wrong.
func (c *fastCall) sendLast(out []byte, reusable bool, bad error) error {
	if bad == nil {
		out, bad = c.appendEnd(out)
	}
	if bad == nil {
		c.done(reusable)
	}
	_, err := c.caller.Write(out)
	return errors.Join(bad, err)
}

// decode returns the data in p, moved to its beginning, and what follows the body.
func (c *fastCall) decode(p []byte) (data, rest []byte, err error) {
	if c.answer.Until == http1.Close {
		return p, nil, nil
	}
	size := 0
	for at := 0; at < len(p) && !c.chunked.Done(); {
		part, n, err := c.chunked.Next(p[at:])
		size += copy(p[size:], part)
		at += n
		if err != nil {
			return p[:size], nil, err
		}
		rest = p[at:]
	}
	return p[:size], rest, nil
}

// enclose makes a chunk of the size bytes that lie behind the front of buf.
func enclose(buf []byte, size int) []byte {
	var line [chunkFront]byte
	first := append(strconv.AppendInt(line[:0], int64(size), 16), "\r\n"...)
	begin := chunkFront - len(first)
	copy(buf[begin:], first)
	return append(buf[begin:chunkFront+size], "\r\n"...)
}

// appendEnd appends the last chunk and the trailers.
func (c *fastCall) appendEnd(b []byte) (_ []byte, err error) {
	if c.trailer, err = c.chunked.Trailer(c.trailer[:0]); err != nil {
		return b, err
	}
	b = append(b, "0\r\n"...)
	for _, h := range c.trailer {
		if forward.Trails(http.CanonicalHeaderKey(string(h.Name))) {
			b = appendHeader(b, h)
		}
	}
	return append(b, "\r\n"...), nil
}

// appendTrailerNames appends the announcement of trailers, without those that may not
// pass.
func appendTrailerNames(b, value []byte) ([]byte, error) {
	first := true
	for name := range bytes.SplitSeq(value, []byte(",")) {
		key := http.CanonicalHeaderKey(string(bytes.TrimSpace(name)))
		switch key {
		case "Transfer-Encoding", "Trailer", "Content-Length":
			return b, errTrailer
		}
		if key == "" || !forward.Trails(key) {
			continue
		}
		if first {
			b = append(b, "Trailer: "...)
		} else {
			b = append(b, ", "...)
		}
		first = false
		b = append(b, key...)
	}
	if !first {
		b = append(b, "\r\n"...)
	}
	return b, nil
}

func appendLine(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

func appendHeader(b []byte, h http1.Header) []byte {
	b = append(b, h.Name...)
	b = append(b, ": "...)
	b = append(b, h.Value...)
	return append(b, "\r\n"...)
}

func appendStatus(b []byte, status int) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = append(b, "status code "...)
		b = strconv.AppendInt(b, int64(status), 10)
	}
	return append(b, "\r\n"...)
}

// nominated says whether a Connection header is about a header.
func nominated(list []http1.Header, name []byte) bool {
	for _, h := range list {
		if http1.Equal(h.Name, "connection") && http1.Holds(h.Value, string(http1.Lower(nil, name))) {
			return true
		}
	}
	return false
}
