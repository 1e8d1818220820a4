package http1

import (
	"bytes"
	"errors"
)

// Chunked reads a body that comes in chunks, as its bytes come.
type Chunked struct {
	place   chunkPlace
	digits  int
	left    int64  // bytes of the chunk
	extra   int    // bytes of extensions
	trailer []byte // the lines after the last chunk
}

type chunkPlace int

const (
	inSize chunkPlace = iota
	inSpace
	inExtension
	afterSize // LF
	inData
	afterData // CR
	atEnd     // LF
	inTrailer
	done
)

// The bytes beside data that are read of a body.
const (
	maxExtensions = 16 << 10
	maxTrailer    = 64 << 10
)

var errChunk = errors.New("malformed chunked encoding")

// Reset begins another body.
func (c *Chunked) Reset() { *c = Chunked{trailer: c.trailer[:0]} }

// Done says whether the body has come whole.
func (c *Chunked) Done() bool { return c.place == done }

// Next reads from p, the next bytes that came. It returns the first piece of data in
// them and how many bytes of p were read. It is to be called again with the rest until
// that is empty or the body is Done.
func (c *Chunked) Next(p []byte) (data []byte, n int, err error) {
	for i := range p {
		b := p[i]
		switch c.place {
		case inSize:
			switch {
			case kinds[b]&hexByte != 0 && c.digits < maxDigits:
				c.left = c.left<<4 | int64(digit(b))
				c.digits++
			case c.digits == 0:
				return nil, i, errChunk
			case b == '\r':
				c.place = afterSize
			case b == ';':
				c.place = inExtension
			case b == ' ' || b == '\t':
				c.place = inSpace
			default:
				return nil, i, errChunk
			}
		case inSpace:
			if c.extra++; b == '\r' {
				c.place = afterSize
			} else if b != ' ' && b != '\t' || c.extra > maxExtensions {
				return nil, i, errChunk
			}
		case inExtension:
			if c.extra++; kinds[b]&valueByte == 0 && b != '\r' || c.extra > maxExtensions {
				return nil, i, errChunk
			}
			if b == '\r' {
				c.place = afterSize
			}
		case afterSize:
			if b != '\n' {
				return nil, i, errChunk
			}
			if c.digits, c.place = 0, inData; c.left == 0 {
				c.place = inTrailer
			}
		case inData:
			size := int(min(c.left, int64(len(p)-i)))
			if c.left -= int64(size); c.left == 0 {
				c.place = afterData
			}
			return p[i : i+size], i + size, nil
		case afterData:
			if b != '\r' {
				return nil, i, errChunk
			}
			c.place = atEnd
		case atEnd:
			if b != '\n' {
				return nil, i, errChunk
			}
			c.place = inSize
		case inTrailer:
			if len(c.trailer) == maxTrailer {
				return nil, i, errChunk
			}
			if c.trailer = append(c.trailer, b); b != '\n' {
				continue
			}
			lines, whole := bytes.CutSuffix(c.trailer, []byte("\r\n"))
			if !whole {
				return nil, i, errChunk
			}
			if len(lines) == 0 || lines[len(lines)-1] == '\n' {
				c.place = done
				return nil, i + 1, nil
			}
		case done:
			return nil, i, nil
		}
	}
	return nil, len(p), nil
}

func digit(b byte) byte {
	switch {
	case b <= '9':
		return b - '0'
	case b <= 'F':
		return b - 'A' + 10
	}
	return b - 'a' + 10
}

// Trailer appends the headers that came after the body to list.
func (c *Chunked) Trailer(list []Header) ([]Header, error) {
	for at := 0; ; {
		line, next, whole := nextLine(c.trailer, at)
		if !whole || len(line) == 0 {
			return list, nil
		}
		if line, at, whole = join(c.trailer, line, next); !whole {
			return list, nil
		}
		h, ok := readHeader(line)
		if !ok {
			return list, errHeader
		}
		list = append(list, h)
	}
}
