package forward

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRedirectsAndCookiesStayBelowThePrefix(t *testing.T) {
	for text, want := range map[string]string{
		"/":                        "/v1/",
		"/login?next=/":            "/v1/login?next=/",
		"/v1":                      "/v1",
		"/v1/a":                    "/v1/a",
		"/v1?a":                    "/v1?a",
		"/v10":                     "/v1/v10",
		"//other.example/a":        "//other.example/a",
		"login":                    "login",
		"?a":                       "?a",
		"":                         "",
		"https://example.com":      "https://example.com/v1",
		"https://example.com/a#b":  "https://example.com/v1/a#b",
		"http://EXAMPLE.com?a":     "http://EXAMPLE.com/v1?a",
		"https://example.com/v1/a": "https://example.com/v1/a",
		"https://example.com:8/a":  "https://example.com:8/a",
		"https://other.example/a":  "https://other.example/a",
		"mailto:a@example.com":     "mailto:a@example.com",
		"://%zz":                   "://%zz",
	} {
		h := http.Header{"Location": {text}}
		Relocate(h, "example.com", "/v1")
		if text == "http://EXAMPLE.com?a" {
			want = "http://EXAMPLE.com/v1?a"
		}
		assert.Equal(t, want, h.Get("Location"), "%q", text)
	}
	for cookie, want := range map[string]string{
		"a=1":                         "a=1",
		"a=1; Path=/; HttpOnly":       "a=1; Path=/v1; HttpOnly",
		"a=1;path=/b/ ; Secure":       "a=1; Path=/v1/b; Secure",
		"a=1; Path=/v1/b":             "a=1; Path=/v1/b",
		"a=1; Path=; Secure":          "a=1; Path=; Secure",
		"a=Path=/; Max-Age=1; Path=/": "a=Path=/; Max-Age=1; Path=/v1",
		"Path=/":                      "Path=/",
	} {
		h := http.Header{"Set-Cookie": {cookie}}
		Relocate(h, "example.com", "/v1")
		assert.Equal(t, want, h.Get("Set-Cookie"))
	}
	h := http.Header{"Location": {"/"}, "Set-Cookie": {"a=1; Path=/"}}
	Relocate(h, "example.com", "")
	assert.Equal(t, http.Header{"Location": {"/"}, "Set-Cookie": {"a=1; Path=/"}}, h)
}

func FuzzRelocate(f *testing.F) {
	f.Add("/a", "a=1; Path=/")
	f.Add("https://example.com", ";;=Path")
	f.Fuzz(func(t *testing.T, location, cookie string) {
		h := http.Header{"Location": {location}, "Set-Cookie": {cookie}}
		Relocate(h, "example.com", "/v1")
		once := h.Clone()
		Relocate(h, "example.com", "/v1")
		assert.Equal(t, once, h, "what was moved stays where it is")
	})
}
