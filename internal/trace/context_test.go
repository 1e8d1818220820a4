package trace

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

const (
	someTrace  = "0af7651916cd43dd8448eb211c80319c"
	someParent = "00-" + someTrace + "-b7ad6b7169203331-01"
)

func TestTraceparentsThatAreValid(t *testing.T) {
	for header, want := range map[string]string{
		someParent: someTrace + " true",
		"00-" + someTrace + "-b7ad6b7169203331-00":                someTrace + " false",
		"00-" + someTrace + "-b7ad6b7169203331-0b":                someTrace + " true",
		"00-" + someTrace + "-b7ad6b7169203331-0a":                someTrace + " false",
		"cc-" + someTrace + "-b7ad6b7169203331-01-what":           someTrace + " true",
		"00-" + someTrace + "-b7ad6b7169203331-01-what":           "",
		"cc-" + someTrace + "-b7ad6b7169203331-01.what":           "",
		"ff-" + someTrace + "-b7ad6b7169203331-01":                "",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": "",
		"00-" + someTrace + "-0000000000000000-01":                "",
		"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01": "",
		"00-" + someTrace + "\"b7ad6b7169203331-01":               "",
		"00-" + someTrace: "",
		"":                "",
	} {
		c, ok := Parse([]byte(header))
		got := ""
		if ok {
			got = hex.EncodeToString(c.Trace[:]) + map[bool]string{true: " true", false: " false"}[c.Sampled]
		}
		assert.Equal(t, want, got, header)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(someParent))
	f.Add([]byte("cc-" + someTrace + "-b7ad6b7169203331-01-what"))
	f.Fuzz(func(t *testing.T, header []byte) {
		c, ok := Parse(header)
		if !ok {
			return
		}
		again := string(c.Append(nil))
		assert.Len(t, again, HeaderSize)
		assert.True(t, strings.HasPrefix(string(header[2:]), again[2:HeaderSize-2]), "%q gives %q", header, again)
		same, ok := Parse([]byte(again))
		assert.True(t, ok)
		assert.Equal(t, c, same)
	})
}

func TestAChildIsOfItsParentsTrace(t *testing.T) {
	parent, ok := Parse([]byte(someParent))
	assert.True(t, ok)
	seen := map[[8]byte]bool{parent.Span: true}
	for range 100 {
		c := parent.child()
		assert.Equal(t, parent.Trace, c.Trace)
		assert.False(t, seen[c.Span])
		seen[c.Span] = true
	}
	a, b := Context{}.child(), Context{}.child()
	assert.NotEqual(t, a.Trace, b.Trace)
	_, ok = Parse(a.Append(nil))
	assert.True(t, ok)
}
