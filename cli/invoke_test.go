package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
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

// later is a proxy whose calls of /async never end.
type later struct {
	*stage
	transport.Dispatcher
	waited func() // is told that somebody waits for the end of a call
}

func (l later) Call(ctx context.Context, _ string, _ time.Duration) (*proto.Call, error) {
	l.waited()
	<-ctx.Done()
	return nil, ctx.Err()
}

// The caller who is interrupted does not take a stored call along.
func TestAnInterruptLeavesAStoredCall(t *testing.T) {
	s, addr := openStage(t)
	functions := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/async/helloworld", r.URL.Path)
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(`{"id":"c_1","url":"/calls/c_1"}`))
	}))
	t.Cleanup(functions.Close)
	s.functions = functions.URL
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f.go"), []byte("package f\n\nimport \"net/http\"\n\nfunc HelloWorld(w http.ResponseWriter, r *http.Request) {}\n"), 0o600))
	c := newConsole(false)
	require.Equal(t, exitOK, c.run(t.Context(), []string{"deploy", "-wait", "-proxy", addr, dir}), c.stderr)

	ctx, interrupt := context.WithCancel(t.Context())
	addr = serve(t, later{stage: s, waited: interrupt})
	c = newConsole(false)
	assert.Equal(t, exitInterrupted, c.run(ctx, []string{"invoke", "HelloWorld", "-async", "-wait", "-proxy", addr}))
	assert.Equal(t, "call c_1\nerror: interrupted\nhint: the call is stored and goes on: proxyCli calls show c_1; proxyCli calls cancel ends it\n", c.stderr.String())
}
