package wire

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestReadEvent(t *testing.T) {
	lines := NewEventScanner(strings.NewReader(": comment\n\ndata: {\"a\":1}\n\nevent: error\r\ndata:x\r\ndata: y\r\nid: 7\r\n\r\nevent: lost\n\ndata: z\n\ndata: cut"))
	for _, want := range [][2]string{{"", `{"a":1}`}, {"error", "x\ny"}, {"", "z"}} {
		name, data, err := ReadEvent(lines)
		require.NoError(t, err)
		assert.Equal(t, want, [2]string{name, string(data)})
	}
	_, _, err := ReadEvent(lines)
	require.ErrorIs(t, err, io.EOF)
}

func TestEventsAreBounded(t *testing.T) {
	long := strings.Repeat("x", MaxAnswer/4)
	for name, stream := range map[string]string{
		"one line":   "data: " + strings.Repeat(long, 5) + "\n\n",
		"many lines": strings.Repeat("data: "+long+"\n", 5) + "\n",
	} {
		_, _, err := ReadEvent(NewEventScanner(strings.NewReader(stream)))
		require.ErrorIs(t, err, proto.ErrTooLarge, name)
	}
}

func FuzzReadEvent(f *testing.F) {
	for _, seed := range []string{"data: {}\n\n", "event: error\ndata: {\"code\":\"x\"}\n\n", ":\n\n\n", "data\n\n", "data:a\r\n\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		lines := NewEventScanner(bytes.NewReader(stream))
		for {
			name, data, err := ReadEvent(lines)
			if err != nil {
				return
			}
			if bytes.ContainsAny(data, "\r\n") || strings.ContainsAny(name, "\r\n") {
				continue // never written
			}
			var b bytes.Buffer
			require.NoError(t, WriteEvent(&b, name, data))
			again, same, err := ReadEvent(NewEventScanner(&b))
			require.NoError(t, err)
			assert.Equal(t, name, again)
			assert.Equal(t, string(data), string(same))
		}
	})
}
