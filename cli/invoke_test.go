package cli

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestATokenGoesToTheGatewayAlone(t *testing.T) {
	for _, c := range []struct {
		proxy, url string
		insecure   bool
		want       bool
	}{
		{"localhost:9001", "http://localhost:9002/functions/hello", false, true},
		{"127.0.0.1:9001", "http://127.0.0.1:9002/functions/hello@3", false, true},
		{"localhost:9000", "http://localhost:5003/hello", false, false},     // the function itself, at an agent
		{"localhost:9000", "http://localhost:5003/functions", false, false}, // named Functions
		{"faas.example:9001", "https://faas.example:9002/functions/hello", false, true},
		{"faas.example:9001", "http://faas.example:9002/functions/hello", false, false},
		{"faas.example:9001", "http://faas.example:9002/functions/hello", true, true},
		{"faas.example:9001", "https://evil.example/functions/hello", true, false},
	} {
		a := &app{proxy: c.proxy, insecure: c.insecure}
		assert.Equal(t, c.want, a.servesFunctions(c.url), "%s of %s", c.url, c.proxy)
	}
}
