package http1

import (
	"bytes"
	"errors"
)

// Until says where the body of an answer ends.
type Until int

// The ends.
const (
	Length Until = iota // after a number of bytes
	Chunks              // with the last chunk
	Close               // with the connection
)

// Answer is the head of an answer. Its parts lie in the bytes that it was read from.
type Answer struct {
	Status  int
	Old     bool     // it is of HTTP/1.0
	Headers []Header // in the order in which they came, without those about its length
	Until   Until    // as the head says; answers to HEAD, 1xx, 204 and 304 have no body
	Length  int64    // of the body, in bytes; -1: the head does not say
	Size    int      // of the head, in bytes
}

var (
	errFirstLine = errors.New("malformed HTTP status line")
	errHeader    = errors.New("malformed MIME header line")
	errLength    = errors.New("bad Content-Length")
	errCoding    = errors.New("unsupported transfer encoding")
)

// Read reads a head from the beginning of b, which it may change: a line that belongs to
// the one before is joined to it. The verdict is Good or More.
func (a *Answer) Read(b []byte) (Verdict, error) {
	*a = Answer{Headers: a.Headers[:0], Length: -1}
	line, at, whole := nextLine(b, 0)
	if !whole {
		return More, nil
	}
	if !a.readFirst(line) {
		return Good, errFirstLine
	}
	lengths, codings := 0, 0
	for {
		line, next, whole := nextLine(b, at)
		if !whole {
			return More, nil
		}
		at = next
		if len(line) == 0 {
			break
		}
		if line, at, whole = join(b, line, at); !whole {
			return More, nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 1 || line[0] == ' ' {
			return Good, errHeader
		}
		h := Header{line[:colon], trim(line[colon+1:])}
		if !all(h.Name, tokenByte|spaceByte) || !all(h.Value, valueByte) {
			return Good, errHeader
		}
		switch {
		case bytes.IndexByte(h.Name, ' ') >= 0: // net/http's server does not send it
		case Equal(h.Name, "content-length"):
			n, ok := decimal(h.Value)
			if !ok || lengths > 0 && n != a.Length {
				return Good, errLength
			}
			a.Length = n
			lengths++
		case Equal(h.Name, "transfer-encoding"):
			if codings++; !a.Old && (codings > 1 || !Equal(h.Value, "chunked")) {
				return Good, errCoding
			}
		default:
			a.Headers = append(a.Headers, h)
		}
	}
	a.Size = at
	switch {
	case codings > 0 && !a.Old:
		a.Until, a.Length = Chunks, -1
	case lengths == 0:
		a.Until = Close
	}
	return Good, nil
}

// nextLine returns the line at a place of b, and the place after it.
func nextLine(b []byte, at int) (line []byte, next int, whole bool) {
	end := bytes.IndexByte(b[at:], '\n')
	if end < 0 {
		return nil, at, false
	}
	line = b[at : at+end]
	if end > 0 && line[end-1] == '\r' {
		line = line[:end-1]
	}
	return line, at + end + 1, true
}

// join joins to a line of b, which begins a header, those that belong to it: they begin
// with a space.
func join(b, line []byte, at int) (joined []byte, next int, whole bool) {
	for {
		if at == len(b) {
			return nil, at, false
		}
		if b[at] != ' ' && b[at] != '\t' {
			return line, at, true
		}
		more, after, whole := nextLine(b, at)
		if !whole {
			return nil, at, false
		}
		// What is joined is no longer than both lines were.
		line = append(trimEnd(line), ' ')
		line = append(line, trim(more)...)
		at = after
	}
}

func trimEnd(p []byte) []byte {
	for len(p) > 0 && (p[len(p)-1] == ' ' || p[len(p)-1] == '\t') {
		p = p[:len(p)-1]
	}
	return p
}

// readFirst reads the first line.
func (a *Answer) readFirst(line []byte) bool {
	version, rest, ok := bytes.Cut(line, []byte(" "))
	code, _, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
	a.Old = string(version) == "HTTP/1.0"
	if !ok || !a.Old && string(version) != "HTTP/1.1" || len(code) != len("200") {
		return false
	}
	status, ok := decimal(code)
	a.Status = int(status)
	return ok
}

// Bodiless says whether an answer to a request with this method has no body, whatever
// its head says (RFC 9112 section 6.3).
func (a *Answer) Bodiless(method string) bool {
	return method == "HEAD" || a.Status == 204 || a.Status == 304
}
