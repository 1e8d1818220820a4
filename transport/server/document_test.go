package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// The document has the calls that a server answers, and no others.
func TestTheDocumentHasWhatIsAnswered(t *testing.T) {
	fake := transporttest.NewFake(t)
	metrics := server.Mount{Path: "/metrics", Methods: []string{"GET"}, Scope: wire.ScopeRead, Does: "counts", Handler: http.NotFoundHandler()}
	hidden := server.Mount{Path: "/hidden", Scope: wire.ScopeRead, Handler: http.NotFoundHandler()}
	for name, cfg := range map[string]server.Config{
		"neither":    {},
		"an agent":   {Worker: fake, Tokens: transporttest.Keeper(t)},
		"with mount": {Mounts: []server.Mount{metrics, hidden, {Path: "/functions/", Scope: wire.ScopeInvoke, Does: "calls", Handler: http.NotFoundHandler()}}},
	} {
		base := "http://" + serve(t, fake, fake, cfg)
		rsp, body := ask(t, "GET", base+"/openapi.json")
		require.Equal(t, http.StatusOK, rsp.StatusCode, name)
		assert.Equal(t, "application/json", rsp.Header.Get("Content-Type"))
		var doc struct{ Paths map[string]map[string]any }
		require.NoError(t, json.Unmarshal([]byte(body), &doc))
		for _, rt := range wire.Routes {
			path, _, last := strings.Cut(rt.Path, ":")
			at := path
			if last {
				at, path = path+"{"+strings.TrimPrefix(rt.Path[len(path):], ":")+"}", path+"x"
			}
			described := doc.Paths[at][strings.ToLower(rt.Method)] != nil
			if rt.Method == http.MethodHead { // an answer without a text
				assert.Equal(t, cfg.Worker != nil || strings.HasPrefix(path, "/packages"), described, path)
				continue
			}
			if described && (path == "/watch" || path == "/logs") { // which do not end
				continue
			}
			req, err := http.NewRequestWithContext(t.Context(), rt.Method, base+path, strings.NewReader("{}"))
			require.NoError(t, err)
			rsp, err := client(t).Do(req)
			require.NoError(t, err)
			require.NoError(t, rsp.Body.Close())
			unsupported := rsp.StatusCode == http.StatusMethodNotAllowed
			if strings.HasPrefix(path, "/tokens") && rt.Scope == wire.ScopeAdmin && cfg.Tokens == nil || path == "/audit" {
				continue // each program has both
			}
			assert.Equal(t, !unsupported, described, "%s: %s %s answers %d", name, rt.Method, path, rsp.StatusCode)
		}
		assert.Equal(t, cfg.Mounts != nil, doc.Paths["/metrics"] != nil)
		assert.Equal(t, cfg.Mounts != nil, doc.Paths["/functions/{name}"] != nil)
		for _, path := range []string{"/", "/healthz", "/readyz", "/openapi.json"} {
			assert.Contains(t, doc.Paths, path)
		}
		assert.NotContains(t, doc.Paths, "/hidden")
	}
}
