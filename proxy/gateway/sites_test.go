package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// sited is the row of a function with routes of its own.
func sited(name, address string, routes ...string) *proto.FunctionJsonRsp {
	row := deployed(name, address)
	row.Routes = routes
	return row
}

func TestTheLongestPathWins(t *testing.T) {
	tab := table(
		sited("All", "127.0.0.1:1", "example.com"), sited("V1", "127.0.0.1:2", "example.com/v1", "api.example.com"),
		sited("Deep", "127.0.0.1:3", "example.com/v1/deep"), sited("Part", "127.0.0.1:4", "part.example/a"),
	)
	for at, want := range map[string]site{
		"example.com/":            {"", "all"},
		"example.com/v1":          {"/v1", "v1"},
		"example.com/v1/":         {"/v1", "v1"},
		"example.com/v1/deepest":  {"/v1", "v1"},
		"example.com/v1/deep/a":   {"/v1/deep", "deep"},
		"example.com/v10":         {"", "all"},
		"example.com//v1":         {"", "all"},
		"api.example.com/v1/deep": {"", "v1"},
		"part.example/a/b":        {"/a", "part"},
		"part.example/":           {},
		"other.example/":          {},
		"v1.example.com/":         {},
	} {
		host, path := at[:indexSlash(at)], at[indexSlash(at):]
		got, ok := tab.sites.Load().find(host, []byte(path))
		assert.Equal(t, want, got, at)
		assert.Equal(t, want != site{}, ok, at)
	}
}

func indexSlash(s string) int {
	for i := range s {
		if s[i] == '/' {
			return i
		}
	}
	return len(s)
}

func TestARouteStaysWithTheFunctionThatHasIt(t *testing.T) {
	tab := NewTable()
	route := proto.Route{Host: "a.example"}
	update := func(name string, routes ...string) {
		tab.Update(map[string][]Replica{proto.Path(name): {{Row: sited(name, "127.0.0.1:1", routes...)}}})
	}
	assert.Empty(t, tab.Owner(route))
	update("Second", "a.example")
	assert.Equal(t, "Second", tab.Owner(route))
	update("First", "a.example", "b.example")
	assert.Equal(t, "Second", tab.Owner(route))
	assert.Equal(t, "First", tab.Owner(proto.Route{Host: "b.example"}))
	update("Second", "c.example")
	assert.Equal(t, "First", tab.Owner(route), "it is free for the other that wants it")
	tab.Update(map[string][]Replica{"first": nil})
	assert.Empty(t, tab.Owner(route))
}

func TestFunctionsBelieveThatTheyLiveAtTheRoot(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/login")
		w.Header().Add("Set-Cookie", "a=1; Path=/")
		w.Header().Set("Service-Worker-Allowed", "/")
		fmt.Fprintf(w, "%s host=%s prefix=%q", r.RequestURI, r.Host, r.Header["X-Forwarded-Prefix"])
	}))
	defer srv.Close()
	tab := table(sited("Hello", srv.Listener.Addr().String(), "api.example", "www.example/v1"))
	logger := hclog.NewNullLogger()
	g := New(Config{
		Table: tab, Logger: logger, AgentErr: func(string) *proto.Error { return nil }, Stranger: func(*http.Request) bool { return true },
		Admit:   func(*http.Request, string, bool) error { return nil },
		Unknown: func(string) error { return proto.Errorf(proto.ErrNotFound, "unknown") },
	})
	front := httptest.NewServer(g.Sites())
	t.Cleanup(func() {
		front.Close()
		tab.Clear()
	})
	for _, tt := range []struct {
		method, host, target, says, location, cookie string
		status                                       int
	}{
		{"GET", "api.example", "/", `/hello/ host=api.example prefix=[""]`, "/login", "a=1; Path=/", 200},
		{"GET", "API.example:8443", "/a%2fb//c?q=1", `/hello/a%2fb//c?q=1 host=API.example:8443 prefix=[""]`, "/login", "a=1; Path=/", 200},
		{"GET", "api.example.", "/functions/other", `/hello/functions/other host=api.example. prefix=[""]`, "/login", "a=1; Path=/", 200},
		{"GET", "www.example", "/v1", `/hello host=www.example prefix=["/v1"]`, "/v1/login", "a=1; Path=/v1", 200},
		{"GET", "www.example", "/v1/a/../b?q", `/hello/a/../b?q host=www.example prefix=["/v1"]`, "/v1/login", "a=1; Path=/v1", 200},
		{"POST", "www.example", "/v1/x", `/hello/x host=www.example prefix=["/v1"]`, "/v1/login", "a=1; Path=/v1", 200},
		{"GET", "www.example", "/v2", "", "", "", 404},
		{"GET", "other.example", "/", "", "", "", 404},
	} {
		for _, large := range []bool{false, true} { // both lanes
			var body io.Reader = http.NoBody
			if large && tt.method == "POST" {
				body = io.LimitReader(zeros{}, 1<<20)
			}
			req, err := http.NewRequestWithContext(t.Context(), tt.method, front.URL, body)
			require.NoError(t, err)
			req.Host, req.URL.Opaque = tt.host, tt.target
			rsp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			require.NoError(t, err)
			answer, err := io.ReadAll(rsp.Body)
			require.NoError(t, err)
			require.NoError(t, rsp.Body.Close())
			assert.Equal(t, tt.status, rsp.StatusCode, tt)
			if tt.status == 200 {
				assert.Equal(t, tt.says, string(answer))
				assert.Equal(t, tt.location, rsp.Header.Get("Location"))
				assert.Equal(t, tt.cookie, rsp.Header.Get("Set-Cookie"))
				assert.Equal(t, strings.TrimSuffix(tt.location, "login"), rsp.Header.Get("Service-Worker-Allowed"))
			}
		}
	}
}
