package forward

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPrivateHeadersInAnySpelling(t *testing.T) {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Prefix", "x_forwarded_for", "X_Forwarded-Host", "X-Ryo-Auth", "X_ryo_auth", "x-RYO-a"} {
		assert.Equal(t, Ours, FateOf(name), name)
		assert.Equal(t, Ours, FateOf(http.CanonicalHeaderKey(name)), name)
	}
	for _, name := range []string{"", "Forwarded-By", "X-Forward", "X-Real", "Xryo", "Host"} {
		assert.NotEqual(t, Ours, FateOf(name), name)
	}
}

func TestMethodsAreTokens(t *testing.T) {
	for method, ok := range map[string]bool{"GET": true, "M-SEARCH": true, "x!#$%&'*+-.^_`|~9": true, "": false, "G T": false, "GET\r\n": false, "G(T": false, "GÉT": false} {
		assert.Equal(t, ok, IsToken(method), method)
	}
}

func TestHopsAreCountedForThoseWhoTraceThem(t *testing.T) {
	for _, tt := range []struct {
		method, limit string
		last          bool
		left          string
	}{
		{"OPTIONS", "0", true, "0"}, {"TRACE", "0", true, "0"}, {"OPTIONS", "10", false, "9"}, {"GET", "0", false, "0"},
		{"TRACE", "-1", false, "-1"}, {"TRACE", "", false, ""}, {"TRACE", "99999999999", false, "99999999999"},
	} {
		r := &http.Request{Method: tt.method, Header: http.Header{"Max-Forwards": {tt.limit}}}
		assert.Equal(t, tt.last, LastHop(r), tt)
		assert.Equal(t, tt.left, r.Header.Get("Max-Forwards"), tt)
	}
}
