package serve

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStrip(t *testing.T) {
	for _, c := range []struct{ mount, sent, path, raw string }{
		{"/f", "/f", "/", ""},
		{"/f", "/f/", "/", ""},
		{"/f", "/f?q=/x", "/", ""},
		{"/f", "/f/a", "/a", ""},
		{"/f", "/f//a//", "//a//", ""},
		{"/f", "/f/../f", "/../f", ""},
		{"/f", "/f/a%2Fb", "/a/b", "/a%2Fb"},
		{"/f", "/f/a|b", "/a|b", "/a|b"}, // never sent by browsers, but never refused either
		{"/f", "/f/%e4", "/\xe4", "/%e4"},
		{"/f", "/%66/a", "/a", ""},
		{"/über", "/%C3%BCber/x", "/x", ""},
		{"/über", "/%c3%bcber/%c3%bc", "/ü", "/%c3%bc"},
		{"/f", "http://host/f/a", "/a", ""},
		{"/f", "/", "", ""},
		{"/f", "/ff", "", ""},
		{"/f", "//f", "", ""},
		{"/f", "/F", "", ""},
		{"/f", "/f%2Fa", "", ""},
		{"/f", "%2Ff", "", ""},
		{"/f", "*", "", ""},
	} {
		u, err := url.ParseRequestURI(c.sent)
		if err != nil && c.path == "" {
			continue // refused by the server
		}
		require.NoError(t, err)
		got, ok := mount{path: c.mount}.strip(u)
		require.Equal(t, c.path != "", ok, c.sent)
		if ok {
			assert.Equal(t, [2]string{c.path, c.raw}, [2]string{got.Path, got.RawPath}, c.sent)
			assert.Equal(t, u.RawQuery, got.RawQuery)
		}
	}
}

func FuzzStrip(f *testing.F) {
	for _, rest := range []string{"", "/", "/a", "//a/../b/", "/a%2Fb", "/%", "/|\"<", "/\xff", "?q", "%2f", "x", "/;a=b", "/%c3%bc"} {
		f.Add(rest)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		u, err := url.ParseRequestURI("/f" + rest)
		if err != nil {
			t.Skip("refused by the server")
		}
		path, _, _ := strings.Cut(rest, "?")
		got, ok := mount{path: "/f"}.strip(u)
		if below := path == "" || path[0] == '/'; ok != below {
			t.Fatalf("%q below the mount: %t, want %t", rest, ok, below)
		}
		if !ok {
			return
		}
		if path == "" {
			path = "/"
		}
		raw := got.RawPath
		if raw == "" {
			raw = got.EscapedPath()
		}
		if raw != path {
			t.Fatalf("%q arrives as %q", path, raw)
		}
		if plain, err := url.PathUnescape(path); err != nil || got.Path != plain {
			t.Fatalf("%q arrives as the path %q", path, got.Path)
		}
	})
}
