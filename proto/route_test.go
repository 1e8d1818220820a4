package proto

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRoutes(t *testing.T) {
	for text, want := range map[string]Route{
		"api.example.com":         {"api.example.com", ""},
		"API.Example.com/":        {"api.example.com", ""},
		"example.com/v1":          {"example.com", "/v1"},
		"example.com/V1/a.b~c/":   {"example.com", "/V1/a.b~c"},
		"localhost/functionsplus": {"localhost", "/functionsplus"},
		"127.0.0.1":               {"127.0.0.1", ""},
	} {
		got, err := ParseRoute(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "/", "/v1", "https://api.example.com", "api.example.com:443", "*.example.com", "api..example.com", ".example.com", "example.com.", "-a.example",
		"a_b.example", "example.com//a", "example.com/a//", "example.com/../a", "example.com/./a", "example.com/a?b", "example.com/a#b", "example.com/a%2fb",
		"example.com/a b", "exämple.com", "example.com/functions", "example.com/functions/hello", "example.com/.well-known/acme-challenge/x",
		strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 127) + "a", "example.com/" + strings.Repeat("a", 255), "[::1]", "user@example.com",
	} {
		_, err := ParseRoute(text)
		require.Error(t, err, "%q", text)
	}
	for says, routes := range map[string][]string{"routes: a.example/v1 is given twice": {"a.example/v1", "A.example/v1/"}, "more than the 32": make([]string, MaxRoutes+1), "api.example.com/v1": {"http://a"}} {
		err := (&FunctionJson{Name: "F", Routes: routes}).Check()
		require.ErrorIs(t, err, ErrInvalid)
		assert.ErrorContains(t, err, says)
	}
}

func FuzzParseRoute(f *testing.F) {
	for _, seed := range []string{"api.example.com", "example.com/v1", "https://a/b", "a/../b", "/", "a:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRoute(text)
		if err != nil {
			return
		}
		again, err := ParseRoute(r.String())
		require.NoError(t, err)
		assert.Equal(t, r, again)
		assert.NotContains(t, r.Path, "//")
		assert.False(t, strings.HasSuffix(r.Path, "/"))
	})
}
