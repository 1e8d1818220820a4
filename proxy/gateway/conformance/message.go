package conformance

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// field is one line of a head or of trailers.
type field struct{ name, value string }

// message is a request or an answer. A zero message stands for one that did not come.
type message struct {
	first    string // the request line or the status line
	fields   []field
	interim  []message // the answers before the final one
	body     string
	trailers []field
	framing  framing
	whole    bool // it ended where it said that it would
}

// framing says how the end of a body is found (RFC 9112 section 6.3).
type framing int

const (
	bodiless framing = iota
	byLength
	chunked
	byClose
)

// errMalformed is why a message cannot be read, if it is not just cut.
var errMalformed = errors.New("malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
}

// status returns the status of an answer, 0 for none.
func (m message) status() int {
	_, rest, _ := strings.Cut(m.first, " ")
	code, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(code)
	if err != nil {
		return 0
	}
	return n
}

// values returns the values of all fields with a name.
func (m message) values(name string) []string { return valuesOf(m.fields, name) }

// joined returns the values of a field as one list (RFC 9110 section 5.3).
func (m message) joined(name string) string { return strings.Join(m.values(name), ", ") }

func valuesOf(fields []field, name string) (values []string) {
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			values = append(values, f.value)
		}
	}
	return values
}

// readHead reads a head. It returns io.EOF when nothing came, and
// io.ErrUnexpectedEOF when it is cut.
func readHead(in *bufio.Reader) (m message, err error) {
	m.first, err = readLine(in)
	if errors.Is(err, io.ErrUnexpectedEOF) && m.first == "" {
		err = io.EOF
	}
	if err == nil {
		m.fields, err = readFields(in)
	}
	return m, err
}

// readLine reads a line and returns it without its end, which must be CRLF.
func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return line, err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(text, "\r\x00") {
		return "", malformed("the line %.100q", line)
	}
	return text, nil
}

func readFields(in *bufio.Reader) (fields []field, err error) {
	for {
		line, err := readLine(in)
		if err != nil || line == "" {
			return fields, err
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return nil, malformed("the field %.100q", line)
		}
		fields = append(fields, field{name, strings.Trim(value, " \t")})
	}
}

// framingOf returns how the end of a message's body is found. method is that of the
// request which an answer is for, "" for a request.
func framingOf(m message, method string) (f framing, length int64, err error) {
	coding, lengths := m.joined("Transfer-Encoding"), m.values("Content-Length")
	status := m.status()
	switch {
	case coding != "" && len(lengths) > 0:
		return 0, 0, malformed("a length beside the coding %q", coding)
	case len(lengths) > 1:
		return 0, 0, malformed("the lengths %q", lengths)
	case method != "" && (method == "HEAD" || status < 200 || status == 204 || status == 304):
		return bodiless, 0, nil
	case strings.EqualFold(coding, "chunked"):
		return chunked, 0, nil
	case coding != "":
		return 0, 0, malformed("the coding %q", coding)
	case len(lengths) == 1:
		if length, err = strconv.ParseInt(lengths[0], 10, 64); err != nil || strings.ContainsAny(lengths[0], "+-") {
			return 0, 0, malformed("the length %q", lengths[0])
		}
		return byLength, length, nil
	case method == "":
		return bodiless, 0, nil
	}
	return byClose, 0, nil
}

// bodyReader reads the body of one message. At its end, where that is certain, Read
// returns io.EOF; where it is cut, io.ErrUnexpectedEOF.
type bodyReader struct {
	in       *bufio.Reader
	framing  framing
	left     int64 // of the length, or of the chunk
	begun    bool  // a chunk has come
	done     bool
	trailers []field
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if !b.done && b.framing == chunked && b.left == 0 {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
	}
	if b.done || b.framing == bodiless || b.framing == byLength && b.left == 0 {
		return 0, io.EOF
	}
	if b.framing == byClose {
		return b.in.Read(p)
	}
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// nextChunk reads up to the data of the next chunk, or to the end of the message.
func (b *bodyReader) nextChunk() error {
	if b.begun {
		if line, err := readLine(b.in); err != nil || line != "" {
			return errors.Join(err, malformed("%.100q after a chunk", line))
		}
	}
	b.begun = true
	line, err := readLine(b.in)
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	if b.left, err = strconv.ParseInt(size, 16, 64); err != nil || strings.ContainsAny(size, "+-") {
		return malformed("the chunk size %.100q", line)
	}
	if b.left == 0 {
		b.done = true
		b.trailers, err = readFields(b.in)
	}
	return err
}
