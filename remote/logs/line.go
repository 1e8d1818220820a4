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
	// maxWord bounds a level and an execution id, in bytes: a longer one is something
	// else.
	maxWord = 128
)

// cut returns the first line of data, and how many bytes of data it takes: 0 when its
// newline is missing, unless flush is set. open is true for a piece of a long line and
// for a line without its newline.
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

// parseLine finds the level and the execution id of a line that is JSON.
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
	var other *json.UnmarshalTypeError // of one field; the others are read
	if err := json.Unmarshal(object, &says); err != nil && !errors.As(err, &other) {
		return l
	}
	l.level = []byte(cmp.Or(says.Level, says.Severity, says.Lvl))
	l.id = []byte(cmp.Or(says.Labels.Execution, says.Execution, says.ExecutionCamel, says.Request, says.RequestCamel))
	return l
}

// word is a short string or a number in JSON; it is "" for all else.
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
