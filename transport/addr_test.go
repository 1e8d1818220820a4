package transport

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestNormalizeAddr(t *testing.T) {
	for addr, want := range map[string]string{
		"localhost:9000":         "localhost:9000",
		"http://localhost:9000":  "localhost:9000",
		"http://localhost:9000/": "localhost:9000",
		"HTTP://Node-A:9000":     "node-a:9000",
		":9000":                  "localhost:9000",
		" 10.0.0.7:9000 ":        "10.0.0.7:9000",
		"[::1]:9000":             "[::1]:9000",
		"[fe80::1%eth0]:9000":    "[fe80::1%eth0]:9000",
		"a_b.example:1":          "a_b.example:1",
	} {
		got, err := NormalizeAddr(addr)
		require.NoError(t, err, addr)
		assert.Equal(t, want, got)
	}
	for _, addr := range []string{
		"", "localhost", "9000", "localhost:", "localhost:0", "localhost:65536", "localhost:http", "https://localhost:9000", "https://localhost", "ftp://h:1",
		"http://localhost:9000/deploy", "::1:9000", "user@host:9000", "host name:9000", "host\n:9000", "h:9000?x", "h:+9",
	} {
		_, err := NormalizeAddr(addr)
		require.ErrorIs(t, err, proto.ErrInvalid, "%q", addr)
		assert.NotEmpty(t, proto.AsError(err).Hint)
	}
}

func TestParseAddr(t *testing.T) {
	for addr, want := range map[string]string{"https://Node-A:9001/": "node-a:9001", "https://:9001": "localhost:9001"} {
		host, secure, err := ParseAddr(addr)
		require.NoError(t, err)
		assert.True(t, secure)
		assert.Equal(t, want, host)
	}
	_, secure, err := ParseAddr("http://localhost:9000")
	require.NoError(t, err)
	assert.False(t, secure)
}

func FuzzNormalizeAddr(f *testing.F) {
	for _, seed := range []string{"localhost:9000", "http://[::1]:1/", ":1", "x", "http://http://a:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		got, err := NormalizeAddr(addr)
		if err != nil {
			return
		}
		again, err := NormalizeAddr(got)
		require.NoError(t, err)
		assert.Equal(t, got, again, "an address that was normalised stays as it is")
	})
}
