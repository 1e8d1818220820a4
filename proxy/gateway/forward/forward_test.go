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
