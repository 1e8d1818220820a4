package logs

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

const (
	// maxLine is how long a line may be, in bytes. Longer ones are cut into pieces.
	maxLine = 64 << 10
	// maxWord bounds a level and an execution id, in bytes: who gives a longer one
	// means something else.
	maxWord = 128
)

// cut takes the first line off data, which may be a piece of a long one; then, or
// when a line is taken although its end has not come, open is true. size is what
// it takes of data, 0 when the first line's end is missing.
func cut(data []byte, flush bool) (text []byte, open bool, size int) {
	if i := bytes.IndexByte(data[:min(len(data), maxLine+1)], '\n'); i >= 0 {
		return data[:i], false, i + 1
	}
	switch {
	case len(data) > maxLine:
		size = maxLine
		for size > maxLine-utf8.UTFMax && !utf8.RuneStart(data[size]) {
			size--
		}
	case flush:
		size = len(data)
	}
	return data[:size], true, size
}

// parseLine finds what a line that is JSON says of itself.
func parseLine(text []byte) line {
	l := line{text: bytes.ToValidUTF8(text, []byte("\uFFFD"))}
	object := bytes.TrimSpace(text)
	if len(object) < 2 || object[0] != '{' || object[len(object)-1] != '}' {
		return l
	}
	var says struct {
		Level    word `json:"level"`
		Severity word `json:"severity"`
		Lvl      word `json:"lvl"`
		Labels   struct {
			Execution word `json:"execution_id"`
		} `json:"logging.googleapis.com/labels"`
		Execution      word `json:"execution_id"`
		ExecutionCamel word `json:"executionId"`
		Request        word `json:"request_id"`
		RequestCamel   word `json:"requestId"`
	}
	var other *json.UnmarshalTypeError // of one field; the rest is read all the same
	if err := json.Unmarshal(object, &says); err != nil && !errors.As(err, &other) {
		return l
	}
	l.level = []byte(cmp.Or(says.Level, says.Severity, says.Lvl))
	l.id = []byte(cmp.Or(says.Labels.Execution, says.Execution, says.ExecutionCamel, says.Request, says.RequestCamel))
	return l
}

// word is a short string or number; all else in JSON is none.
type word string

func (w *word) UnmarshalJSON(data []byte) error {
	var s string
	switch {
	case len(data) > maxWord:
	case data[0] == '"' && json.Unmarshal(data, &s) == nil:
		*w = word(s)
	case data[0] >= '0' && data[0] <= '9':
		*w = word(data)
	}
	return nil
}
