package serve

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
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

func TestMountSaysWhoCallsAndWhere(t *testing.T) {
	var got *http.Request
	m := mount{path: "/f", next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r })}
	tcp, unix := net.Addr(&net.TCPAddr{}), net.Addr(&net.UnixAddr{})
	for _, c := range []struct {
		at              net.Addr
		says, prefix    string // in headers
		caller, mount   string // seen by the function
		target, target2 string
	}{
		{unix, "192.0.2.1:99", "/functions/f", "192.0.2.1:99", "/functions/f", "/f/a%2Fb?q=%2f&&", "/a%2Fb?q=%2f&&"},
		{unix, "[2001:db8::1]:99", "", "[2001:db8::1]:99", "/f", "/f?", "/?"},
		{unix, "192.0.2.1", "", "@", "/f", "/f", "/"},
		{unix, "", "", "@", "/f", "http://other/f/a?q", "http://other/a?q"},
		{tcp, "192.0.2.1:99", "/x", "@", "/x", "/%66//x/", "//x/"},
	} {
		r := httptest.NewRequest(http.MethodGet, c.target, http.NoBody)
		r = r.WithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, c.at))
		r.RemoteAddr = "@"
		for name, value := range map[string]string{callerHeader: c.says, prefixHeader: c.prefix} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		m.ServeHTTP(httptest.NewRecorder(), r)
		require.Same(t, r, got, "it is the server's own")
		assert.Equal(t, c.caller, got.RemoteAddr)
		assert.Equal(t, http.Header{prefixHeader: {c.mount}}, got.Header)
		assert.Equal(t, c.target2, got.RequestURI)
	}
}
