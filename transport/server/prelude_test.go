package server

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// preludeOf is a header of version 2.
func preludeOf(versionCommand, family byte, rest string) string {
	return preludeV2 + string([]byte{versionCommand, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(rest)))) + rest
}

const (
	four = "\xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x67\x00\x50"                                                                                                 // 192.0.2.7:4711 to 10.0.0.1:80
	six  = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x12\x67\x00\x50" // [2001:db8::1]:4711 to [fd00::1]:80
)

var preludes = map[string]struct {
	header string
	client string // "": the header does not say
	scheme string
	bad    bool
}{
	"version 1":                            {header: "PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n", client: "192.0.2.7:4711"},
	"version 1, IPv6":                      {header: "PROXY TCP6 2001:db8::1 fd00::1 4711 80\r\n", client: "[2001:db8::1]:4711"},
	"version 1, unknown":                   {header: "PROXY UNKNOWN\r\n"},
	"version 1, unknown, with addresses":   {header: "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"},
	"version 1, the longest":               {header: "PROXY UNKNOWN " + strings.Repeat("f", preludeV1Size-len("PROXY UNKNOWN \r\n")) + "\r\n"},
	"version 1, too long":                  {header: "PROXY UNKNOWN " + strings.Repeat("f", preludeV1Size) + "\r\n", bad: true},
	"version 1, the wrong family":          {header: "PROXY TCP4 2001:db8::1 fd00::1 4711 80\r\n", bad: true},
	"version 1, no address":                {header: "PROXY TCP4 a.example 10.0.0.1 4711 80\r\n", bad: true},
	"version 1, a port beyond all":         {header: "PROXY TCP4 192.0.2.7 10.0.0.1 65536 80\r\n", bad: true},
	"version 1, a sign":                    {header: "PROXY TCP4 192.0.2.7 10.0.0.1 +80 80\r\n", bad: true},
	"version 1, a zone":                    {header: "PROXY TCP6 fe80::1%eth0 fd00::1 1 80\r\n", bad: true},
	"version 1, too few words":             {header: "PROXY TCP4 192.0.2.7\r\n", bad: true},
	"a request with the method PROXY":      {header: "PROXY / HTTP/1.1\r\n", bad: true},
	"version 2":                            {header: preludeOf(0x21, 0x11, four), client: "192.0.2.7:4711"},
	"version 2, IPv6":                      {header: preludeOf(0x21, 0x21, six), client: "[2001:db8::1]:4711"},
	"version 2, local":                     {header: preludeOf(0x20, 0x11, four)},
	"version 2, local, without addresses":  {header: preludeOf(0x20, 0, "")},
	"version 2, a unix socket":             {header: preludeOf(0x21, 0x31, strings.Repeat("a", 216))},
	"version 2, with fields":               {header: preludeOf(0x21, 0x11, four+"\x04\x00\x02ab\x20\x00\x01\x00"), client: "192.0.2.7:4711"},
	"version 2, by TLS":                    {header: preludeOf(0x21, 0x11, four+"\x04\x00\x00\x20\x00\x05\x01\x00\x00\x00\x00"), client: "192.0.2.7:4711", scheme: "https"},
	"version 2, a field beyond the end":    {header: preludeOf(0x21, 0x11, four+"\x04\x00\x09a"), bad: true},
	"version 2, half an address":           {header: preludeOf(0x21, 0x21, four), bad: true},
	"version 2, the longest":               {header: preludeOf(0x21, 0x11, four+"\x04\x0f\xe1"+strings.Repeat("a", 0xfe1)), client: "192.0.2.7:4711"},
	"version 2, longer than there is need": {header: preludeOf(0x21, 0x11, four+"\x04\x0f\xe2"+strings.Repeat("a", 0xfe2)), bad: true},
	"version 3":                            {header: preludeOf(0x31, 0x11, four), bad: true},
	"version 2, an unknown command":        {header: preludeOf(0x22, 0x11, four), bad: true},
	"none":                                 {header: ""},
}

const afterPrelude = "GET / HTTP/1.1\r\n\r\n"

func TestForwardersSayWhoseAConnectionIs(t *testing.T) {
	for name, tt := range preludes {
		t.Run(name, func(t *testing.T) {
			size, o, err := parsePrelude([]byte(tt.header + afterPrelude))
			if tt.bad {
				require.ErrorIs(t, err, errPrelude)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, len(tt.header), size)
			if tt.client == "" {
				assert.Zero(t, o)
			} else {
				assert.Equal(t, tt.client, o.client.String())
			}
			assert.Equal(t, tt.scheme, o.scheme)

			whole := size
			for i := range whole {
				size, _, err := parsePrelude([]byte(tt.header[:i]))
				require.NoError(t, err)
				require.Equal(t, -1, size, "after %d bytes more are needed", i)
			}
		})
	}
}

// trickle is a connection that brings one byte at a time.
type trickle struct {
	net.Conn
	in io.Reader
}

func (c trickle) Read(p []byte) (int, error) { return c.in.Read(p[:min(1, len(p))]) }

func TestWhatFollowsThePreludePassesUnchanged(t *testing.T) {
	for name, tt := range preludes {
		for _, rest := range []string{afterPrelude, "", "P", "PROXY", "\r\n\r\n", "\x16\x03\x01"} {
			conn := &preludeConn{Conn: trickle{in: strings.NewReader(tt.header + rest)}}
			got, err := io.ReadAll(conn)
			if tt.bad {
				require.ErrorIs(t, err, errPrelude, name)
				continue
			}
			require.NoError(t, err, name)
			assert.Equal(t, rest, string(got), name)
		}
	}
}

// stalling sends some bytes, and then nothing until the time is over.
type stalling struct {
	net.Conn
	sent io.Reader
}

func (c stalling) Read(p []byte) (int, error) {
	n, err := c.sent.Read(p)
	if err != nil {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

func TestAPreludeThatStallsIsNoRequest(t *testing.T) {
	for _, half := range []string{"PROXY TCP4 192.0.2.7", preludeV2[:5], ""} {
		conn := &preludeConn{Conn: stalling{sent: strings.NewReader(half)}}
		n, err := conn.Read(make([]byte, 100))
		assert.Zero(t, n, "else its time would begin anew, as that of a request")
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}
}

func FuzzPrelude(f *testing.F) {
	for _, tt := range preludes {
		f.Add([]byte(tt.header + afterPrelude))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		size, o, err := parsePrelude(b)
		if err != nil {
			return
		}
		require.LessOrEqual(t, size, min(len(b), preludeV2Size))
		if size < 0 {
			require.Less(t, len(b), preludeV2Size)
		}
		if size <= 0 {
			require.Zero(t, o)
		}
	})
}
