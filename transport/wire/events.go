package wire

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html),
// as far as they are used here: each message is one line of data. The last event may
// have a name: error holds an ErrorDetail, result the answer of the request.
const (
	EventStream = "text/event-stream"
	ErrorEvent  = "error"
	ResultEvent = "result"
)

// WriteEvent writes one event. data holds no line break: it is compact JSON.
func WriteEvent(w io.Writer, name string, data []byte) error {
	if name != "" {
		name = "event: " + name + "\n"
	}
	_, err := fmt.Fprintf(w, "%sdata: %s\n\n", name, data)
	return err
}

// NewEventScanner returns a scanner of the lines of a stream, each within MaxAnswer.
func NewEventScanner(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxAnswer)
	return lines
}

// ReadEvent reads the next event that has data. Its error is io.EOF at the end
// of the stream, where an unfinished event is ignored, and ErrTooLarge for an event
// over MaxAnswer.
func ReadEvent(lines *bufio.Scanner) (name string, data []byte, err error) {
	for lines.Scan() {
		key, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(key) {
		case "": // a blank line ends an event; with text it is a comment
			if len(lines.Bytes()) > 0 {
				continue
			}
			if data != nil {
				return name, data[1:], nil
			}
			name = ""
		case "event":
			name = string(value)
		case "data":
			if len(data)+len(value) > MaxAnswer {
				return "", nil, errEventTooLarge
			}
			data = append(append(data, '\n'), value...)
		}
	}
	switch err := lines.Err(); {
	case err == nil:
		return "", nil, io.EOF
	case errors.Is(err, bufio.ErrTooLong):
		return "", nil, errEventTooLarge
	default:
		return "", nil, err
	}
}

var errEventTooLarge = proto.Errorf(proto.ErrTooLarge, "an event is larger than %d bytes", MaxAnswer)
