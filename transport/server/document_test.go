package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
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

// typedFake says what the typed functions among those of a fake take, and counts how often
// it is asked.
type typedFake struct {
	*transporttest.Fake
	asked atomic.Int32
}

func (f *typedFake) Details(ctx context.Context) ([]*proto.FunctionJsonRsp, error) {
	rows, err := f.Fake.Details(ctx)
	for _, row := range rows {
		row.Kind = proto.KindTyped
	}
	return rows, err
}

func (f *typedFake) Versions(ctx context.Context, name string) ([]*proto.Version, error) {
	f.asked.Add(1)
	list, err := f.Fake.Versions(ctx, name)
	for _, v := range list {
		v.Types = fmt.Sprintf(`{"properties": {"request": {"const": "%s %d"}}}`, name, v.GetVersion())
	}
	return list, err
}

// Of the functions each caller sees in the document those that it may see, with the types of
// the version that serves, which are asked for once.
func TestTheDocumentHasTheFunctionsThatItsReaderMaySee(t *testing.T) {
	fake, keeper := &typedFake{Fake: transporttest.NewFake(t)}, transporttest.Keeper(t)
	functions := server.Mount{Path: "/functions/", Scope: wire.ScopeInvoke, Does: "calls", Handler: http.NotFoundHandler()}
	base := "http://" + serve(t, fake, fake.Fake, server.Config{Tokens: keeper, Mounts: []server.Mount{functions}})
	alone := "http://" + serve(t, fake, fake.Fake, server.Config{})
	deploy := func(env string) {
		dir := testkit.Files(t, map[string]string{"fn.go": strings.Replace(testkit.Says("First", env), "\nfunc", "\nfunc Second(w http.ResponseWriter, r *http.Request) {}\n\nfunc", 1)})
		code, text := answer(t, "POST", base+"/deploy?wait", "", fmt.Sprintf(`[{"name": "First", "dir": %q}, {"name": "Second", "dir": %[1]q}]`, dir))
		require.Equal(t, http.StatusOK, code, text)
	}
	document := func(base string, header ...string) (paths map[string]string) {
		rsp, text := ask(t, "GET", base+"/openapi.json", header...)
		require.Equal(t, http.StatusOK, rsp.StatusCode, text)
		var doc struct {
			Paths map[string]struct {
				Servers []struct{ URL string }
				Post    struct {
					RequestBody struct {
						Content map[string]struct{ Schema struct{ Const string } }
					}
				}
			}
		}
		require.NoError(t, json.Unmarshal([]byte(text), &doc))
		paths = map[string]string{}
		for path, item := range doc.Paths {
			if at := item.Post.RequestBody.Content["application/json"].Schema.Const; at != "" {
				paths[path] = at
				for _, s := range item.Servers {
					paths[path] += " " + s.URL
				}
			}
		}
		return paths
	}
	deploy("1")
	assert.Equal(t, map[string]string{"/functions/first": "First 1", "/functions/second": "Second 1"}, document(base))
	assert.Equal(t, int32(2), fake.asked.Load())
	assert.Equal(t, map[string]string{"/functions/second": "Second 1"}, document(base, "Authorization", "Bearer "+token(t, keeper, wire.ScopeRead, "Second"), "X-Forwarded-For", "192.0.2.7"))
	assert.Equal(t, int32(2), fake.asked.Load(), "the types of a program are asked for once")
	deploy("2")
	assert.Equal(t, map[string]string{"/functions/first": "First 2", "/functions/second": "Second 2"}, document(base))

	// An agent's functions have services of their own.
	rows, err := fake.Details(t.Context())
	require.NoError(t, err)
	at := document(alone)
	require.Contains(t, at, "/first")
	assert.Equal(t, "First 2 "+strings.TrimSuffix(rows[0].GetUrl(), "/first"), at["/first"])
}
