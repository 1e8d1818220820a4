package forward

import (
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// Relocate makes the redirects and cookies of an answer, and what a service worker may rule
// over, those of a function that lives below a prefix of a host, though it believes to live
// at its root. What begins with the
// prefix already is left alone.
func Relocate(h http.Header, host, prefix string) {
	if prefix == "" {
		return
	}
	for _, name := range []string{"Location", "Content-Location", "Service-Worker-Allowed"} {
		for i, text := range h[name] {
			h[name][i] = relocateURL(text, host, prefix)
		}
	}
	for i, cookie := range h["Set-Cookie"] {
		h["Set-Cookie"][i] = relocateCookie(cookie, prefix)
	}
}

func relocateURL(text, host, prefix string) string {
	if strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") {
		return below(text, prefix)
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || !strings.EqualFold(u.Host, host) {
		return text
	}
	origin, rest, _ := strings.Cut(text, "://")
	at := strings.IndexAny(rest, "/?#")
	if at < 0 {
		at = len(rest)
	}
	return origin + "://" + rest[:at] + below(rest[at:], prefix)
}

func below(path, prefix string) string {
	if rest, ok := strings.CutPrefix(path, prefix); ok && (rest == "" || strings.ContainsRune("/?#", rune(rest[0]))) {
		return path
	}
	return prefix + path
}

// relocateCookie changes the path for which a browser keeps a cookie. Without one it is
// that of the request, which the browser knows.
func relocateCookie(cookie, prefix string) string {
	parts := strings.Split(cookie, ";")
	for i, part := range parts[1:] {
		name, value, _ := strings.Cut(part, "=")
		if value = textproto.TrimString(value); !strings.EqualFold(textproto.TrimString(name), "Path") || !strings.HasPrefix(value, "/") {
			continue
		}
		parts[i+1] = " Path=" + below(strings.TrimSuffix(value, "/"), prefix)
	}
	return strings.Join(parts, ";")
}
