package http1

import "bytes"

// Request is the head of a request. Its parts lie in the bytes that it was read from.
type Request struct {
	Method, Target []byte
	Host           []byte
	Headers        []Header // in the order in which they came, Host and Content-Length too
	Length         int64    // of the body, in bytes
	Size           int      // of the head, in bytes
}

// Read reads a head of HTTP/1.1 from the beginning of b. It is Unusual if it has not
// exactly one Host and at most one length, if it is chunked, if a line ends without CR
// or belongs to the line before, or if a byte is where it should not be: whatever two
// readers could understand differently.
func (r *Request) Read(b []byte) Verdict {
	*r = Request{Headers: r.Headers[:0]}
	line, rest, whole := bytes.Cut(b, []byte("\n"))
	if !whole {
		return unfinished(b)
	}
	if !r.readFirst(line) {
		return Unusual
	}
	hosts, lengths := 0, 0
	for {
		line, rest, whole = bytes.Cut(rest, []byte("\n"))
		if !whole {
			return More
		}
		end := len(line) - 1
		if end < 0 || line[end] != '\r' {
			return Unusual
		}
		if end == 0 {
			break
		}
		h, ok := readHeader(line[:end])
		if !ok {
			return Unusual
		}
		r.Headers = append(r.Headers, h)
		switch len(h.Name) { // most lines are done with here
		case len("host"):
			if Equal(h.Name, "host") {
				r.Host = h.Value
				hosts++
			}
		case len("content-length"):
			if Equal(h.Name, "content-length") {
				if r.Length, ok = decimal(h.Value); !ok {
					return Unusual
				}
				lengths++
			}
		case len("transfer-encoding"):
			if Equal(h.Name, "transfer-encoding") {
				return Unusual
			}
		}
	}
	r.Size = len(b) - len(rest)
	if hosts != 1 || len(r.Host) == 0 || !all(r.Host, hostByte) || lengths > 1 {
		return Unusual
	}
	return Good
}

// unfinished says of the beginning of a first line whether it is worth waiting for more.
func unfinished(b []byte) Verdict {
	if len(b) > 0 && kinds[b[0]]&tokenByte == 0 || bytes.HasPrefix(b, []byte("PRI ")) {
		return Unusual // no request of HTTP/1, or an empty line before one
	}
	return More
}

// readFirst reads the first line.
func (r *Request) readFirst(line []byte) bool {
	const version = " HTTP/1.1\r"
	line, ok := bytes.CutSuffix(line, []byte(version))
	if !ok {
		return false
	}
	method, target, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(method) == 0 || !all(method, tokenByte) || len(target) == 0 || target[0] != '/' || !all(target, targetByte) {
		return false
	}
	r.Method, r.Target = method, target
	return string(method) != "CONNECT" && escaped(Path(target))
}

// Path returns a target without its query.
func Path(target []byte) []byte {
	path, _, _ := bytes.Cut(target, []byte("?"))
	return path
}

// escaped says whether each percent sign is followed by two digits.
func escaped(path []byte) bool {
	for {
		at := bytes.IndexByte(path, '%')
		if at < 0 {
			return true
		}
		if path = path[at+1:]; len(path) < 2 || !all(path[:2], hexByte) {
			return false
		}
	}
}

func readHeader(line []byte) (h Header, ok bool) {
	colon := bytes.IndexByte(line, ':')
	if colon < 1 {
		return h, false
	}
	h = Header{line[:colon], trim(line[colon+1:])}
	return h, all(h.Name, tokenByte) && all(h.Value, valueByte)
}
