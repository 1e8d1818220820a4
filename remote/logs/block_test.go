package logs

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestParseLine(t *testing.T) {
	for name, c := range map[string]struct{ text, level, id string }{
		"no JSON":             {`level=error`, "", ""},
		"broken JSON":         {`{"level":"error"`, "", ""},
		"not an object":       {`["level"]`, "", ""},
		"level":               {`{"level":"error"}`, "error", ""},
		"severity":            {` {"severity":"WARNING"} `, "WARNING", ""},
		"lvl":                 {`{"lvl":"dbug"}`, "dbug", ""},
		"a number":            {`{"level":30}`, "30", ""},
		"another type":        {`{"level":{"is":["error"]},"severity":null}`, "", ""},
		"a novel":             {`{"level":"` + strings.Repeat("x", maxWord+1) + `"}`, "", ""},
		"framework":           {`{"message":"m","logging.googleapis.com/labels":{"execution_id":"e"}}`, "", "e"},
		"labels of no object": {`{"level":"info","logging.googleapis.com/labels":7}`, "info", ""},
		"execution id":        {`{"execution_id":"e"}`, "", "e"},
		"in camels":           {`{"executionId":"e","requestId":"r"}`, "", "e"},
		"request id":          {`{"request_id":"r"}`, "", "r"},
		"request id in camel": {`{"requestId":"r"}`, "", "r"},
	} {
		t.Run(name, func(t *testing.T) {
			l := parseLine([]byte(c.text))
			assert.Equal(t, c.level, string(l.level))
			assert.Equal(t, c.id, string(l.id))
			assert.Equal(t, c.text, string(l.text))
		})
	}
}

func TestABlockReadsAsItWasWritten(t *testing.T) {
	want := block{
		first: 1 << 60, time: 1 << 61, version: 1<<32 - 1, pid: 1 << 22, source: source{1 << 62, 2},
		end: 1 << 40, lost: loss{3, 4, tooFast},
	}
	lines := []line{
		{text: []byte("about 3"), level: []byte{}, id: []byte{}},
		{open: true, level: []byte("info"), id: []byte("e"), text: []byte("text")},
	}
	for _, l := range lines {
		want.add(l)
	}
	for end, got := range blocks(append([]byte("garbage\xf1ryo"), want.appendTo(nil)...)) {
		assert.Equal(t, len("garbage\xf1ryo")+len(want.appendTo(nil)), end)
		assert.Equal(t, &want, got)
		at, i := want.time, -1
		for when, l := range got.all() {
			assert.Equal(t, at, when)
			if i < 0 {
				assert.Equal(t, "[about 3 lines, 4 bytes, were lost here: they came too fast]", string(l.text))
			} else {
				assert.Equal(t, lines[i], l)
			}
			at, i = at+1, i+1
		}
		assert.Equal(t, want.last(), at-1)
	}
}

// FuzzBlocks reads damaged segments: it must come to an end, and find the blocks
// that are whole.
func FuzzBlocks(f *testing.F) {
	whole := block{first: 1, time: 2, source: source{3, 1}}
	whole.add(line{text: []byte("whole")})
	data := whole.appendTo(nil)
	f.Add([]byte{}, false)
	f.Add(data[:len(data)-1], true)
	f.Add(blockMark, true)
	f.Add(append(bytes.Clone(data), "\xf1ryo\xff\xff\xff\xff"...), true)
	f.Fuzz(func(t *testing.T, damage []byte, sealed bool) {
		if sealed { // as if by chance the checksum were right
			b := block{count: len(damage), body: damage}
			damage = b.appendTo(nil)
		}
		found := false
		for end, b := range blocks(append(bytes.Clone(damage), data...)) {
			for range b.all() {
				continue
			}
			found = found || end == len(damage)+len(data)
		}
		if !found {
			t.Error("the whole block was not found")
		}
	})
}

// FuzzCut cuts what processes print: nothing is lost, and no piece is too long.
func FuzzCut(f *testing.F) {
	f.Add([]byte("one\ntwo"))
	f.Add([]byte("\n\n"))
	f.Add(bytes.Repeat([]byte("é"), maxLine))
	f.Add(append(bytes.Repeat([]byte("x"), maxLine), '\n'))
	f.Add([]byte(`{"level":"info"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rest, whole := data, []byte{}
		for len(rest) > 0 {
			text, open, size := cut(rest, true)
			if size <= 0 || len(text) > maxLine {
				t.Fatalf("%d bytes of %d make a line of %d", size, len(rest), len(text))
			}
			whole = append(whole, text...)
			if !open {
				whole = append(whole, '\n')
			}
			if l := parseLine(text); !utf8.Valid(l.text) {
				t.Errorf("%q is not UTF-8", l.text)
			}
			rest = rest[size:]
		}
		if !bytes.Equal(whole, data) {
			t.Error("something was lost")
		}
	})
}

func FuzzTailText(f *testing.F) {
	f.Add([]byte("one\ntwo\n"), true)
	f.Add([]byte("\n"), true)
	f.Add([]byte("\xff\xfe\x00"), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, data []byte, cut bool) {
		text := tailText(data, cut)
		if !utf8.ValidString(text) {
			t.Errorf("%q is not UTF-8", text)
		}
		if !cut && utf8.Valid(data) && text != string(data) {
			t.Errorf("%q became %q", data, text)
		}
		if cut && len(data) > 1 && text == "" {
			t.Errorf("nothing is left of %q", data)
		}
	})
}
