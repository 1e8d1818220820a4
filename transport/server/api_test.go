package server_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// ask makes an HTTP call and returns the answer and its body.
func ask(t *testing.T, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := client(t).Do(req)
	require.NoError(t, err)
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return rsp, string(body)
}

func TestHeadAnswersAsGetWithoutABody(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{})
	code, _ := answer(t, "POST", base+"/deploy?wait", "", `[{"name": "HelloWorld", "dir": "`+source(t)+`"}]`)
	require.Equal(t, http.StatusOK, code)
	paths := []string{
		"/", "/healthz", "/readyz", "/openapi.json", "/details", "/log?entrypoint=HelloWorld", "/log?entrypoint=Missing", "/versions?name=HelloWorld",
		"/crashes?name=HelloWorld", "/usage", "/unknown", "/usage?x=1",
	}
	for _, path := range paths {
		get, body := ask(t, "GET", base+path)
		head, none := ask(t, "HEAD", base+path)
		assert.Equal(t, get.StatusCode, head.StatusCode, path)
		assert.Equal(t, get.Header.Get("Content-Type"), head.Header.Get("Content-Type"), path)
		assert.NotEmpty(t, body, path)
		assert.Empty(t, none, path)
	}
	for _, stream := range []string{"/watch", "/logs?name=HelloWorld&follow"} { // whose GET does not end
		head, _ := ask(t, "HEAD", base+stream)
		assert.Equal(t, http.StatusOK, head.StatusCode)
		assert.Equal(t, wire.EventStream, head.Header.Get("Content-Type"))
	}
}

func TestMethodsThatAreNotAllowedAreAnsweredWithThoseThatAre(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{
		Mounts: []server.Mount{{Path: "/metrics", Methods: []string{"GET", "HEAD"}, Scope: wire.ScopeRead, Handler: http.NotFoundHandler()}},
	})
	for call, want := range map[string]string{
		"POST /":              "GET, HEAD",
		"POST /healthz":       "GET, HEAD",
		"DELETE /readyz":      "GET, HEAD",
		"POST /metrics":       "GET, HEAD",
		"POST /details":       "GET, HEAD",
		"GET /deploy":         "POST",
		"HEAD /deploy":        "POST",
		"OPTIONS /stop":       "POST",
		"PATCH /log":          "GET, HEAD",
		"GET /packages/00":    "HEAD, PUT",
		"POST /programs/00":   "GET, HEAD, PUT",
		"POST /wake":          "", // not here: this is no agent
		"GET /unknown":        "404",
		"POST /packages/0/1":  "404",
		"POST /packages/":     "404",
		"GET /functions/x":    "404",
		"POST /details/":      "404",
		"BREW /details":       "GET, HEAD",
		"PROPFIND /nothing/x": "404",
	} {
		method, path, _ := strings.Cut(call, " ")
		var rsp *http.Response
		if path == "/wake" {
			req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(`{"name": "F"}`))
			require.NoError(t, err)
			rsp, err = client(t).Do(req)
			require.NoError(t, err)
			_ = rsp.Body.Close()
		} else {
			rsp, _ = ask(t, method, base+path)
		}
		if want == "404" {
			assert.Equal(t, http.StatusNotFound, rsp.StatusCode, call)
			assert.Empty(t, rsp.Header.Values("Allow"), call)
			continue
		}
		assert.Equal(t, http.StatusMethodNotAllowed, rsp.StatusCode, call)
		assert.Equal(t, []string{want}, rsp.Header.Values("Allow"), call)
	}
}

func TestUnknownPathsSayWhereToGo(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{})
	for path, hint := range map[string]string{
		"/detials":         "did you mean /details?",
		"/details/":        "did you mean /details?",
		"/functions/hello": "GET /details",
		"/something/else":  "GET / says what there is",
	} {
		_, body := ask(t, "GET", base+path)
		assert.Contains(t, body, hint, path)
	}
}

func TestEveryAnswerNamesItsRequest(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{Mounts: []server.Mount{
		{Path: "/metrics", Scope: wire.ScopeRead, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
	}})
	for _, call := range []string{
		"GET /", "GET /healthz", "GET /details", "GET /metrics", "HEAD /details", "GET /watch?x", "GET /log?entrypoint=Missing",
		"POST /details", "GET /unknown", "GET /versions",
	} {
		method, path, _ := strings.Cut(call, " ")
		rsp, body := ask(t, method, base+path, "X-Request-Id", "mine")
		assert.Equal(t, []string{"mine"}, rsp.Header.Values("X-Request-Id"), call)
		if rsp.StatusCode >= 400 && method != "HEAD" {
			assert.Contains(t, body, `"requestId":"mine"`, call)
		}
		other, _ := ask(t, method, base+path, "X-Request-Id", "not one\tid")
		assert.Len(t, other.Header.Get("X-Request-Id"), 26, call)
	}
	refused, body := ask(t, "GET", base+"/details", "X-Forwarded-For", "192.0.2.1", "X-Request-Id", "mine")
	assert.Equal(t, http.StatusUnauthorized, refused.StatusCode)
	assert.Equal(t, "mine", refused.Header.Get("X-Request-Id"))
	assert.Contains(t, body, `"requestId":"mine"`)
}

func TestErrorsOverGRPCNameTheirRequest(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	for _, host := range []string{"localhost", "elsewhere"} { // answered, and refused before
		calls := proto.NewFunctionsClient(dial(t, addr, host))
		var header metadata.MD
		_, err := calls.Log(metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "mine"), &proto.LogRequest{Entrypoint: "Missing"}, grpc.Header(&header))
		require.Error(t, err)
		require.NotEmpty(t, status.Convert(err).Details(), host)
		assert.Equal(t, "mine", status.Convert(err).Details()[0].(*proto.ErrorDetail).GetRequestId(), host)
		if host == "localhost" {
			assert.Equal(t, []string{"mine"}, header.Get("x-request-id"))
		}
		stream, err := calls.Logs(context.WithoutCancel(metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "mine")), &proto.LogsRequest{Name: "Missing"})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NotEmpty(t, status.Convert(err).Details(), "%s: %v", host, err)
		assert.Equal(t, "mine", status.Convert(err).Details()[0].(*proto.ErrorDetail).GetRequestId(), host)
	}
}

func TestTheFrontPageSaysWhatThisIs(t *testing.T) {
	fake := transporttest.NewFake(t)
	functions := server.Mount{Path: "/functions/", Scope: wire.ScopeInvoke, Does: "calls a function", Handler: http.NotFoundHandler()}
	addr := serve(t, fake, fake, server.Config{Program: "proxy", Version: "v1.2.3", Mounts: []server.Mount{functions}})

	page, text := ask(t, "GET", "http://"+addr+"/")
	assert.Equal(t, "text/plain; charset=utf-8", page.Header.Get("Content-Type"))
	assert.Contains(t, text, "the proxy of a function platform, version v1.2.3")
	assert.Contains(t, text, "proxyCli -transport http -proxy "+addr)
	for line := range strings.Lines(text) {
		assert.LessOrEqual(t, len(line), 101, line)
	}

	_, body := ask(t, "GET", "http://"+addr+"/", "Accept", "application/json")
	assert.Contains(t, body, `{"method":"ANY","path":"/functions/NAME","does":"calls a function"}`)
	assert.Contains(t, body, `"program":"proxy","version":"v1.2.3"`)
	for _, internal := range []string{"/wake", "/programs", "/packages", "/build"} {
		assert.NotContains(t, text+body, internal)
	}

	// What the page names is there.
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 2 && (fields[0] == "GET" || fields[0] == "POST") {
			path, _, _ := strings.Cut(fields[1], "?")
			_, known := wire.RouteFor(fields[0], path)
			assert.True(t, known || slices.Contains([]string{"/healthz", "/readyz", "/openapi.json"}, path), line)
		}
	}
}

func TestDeploysOfTooManyFunctionsAreRefusedAtOnce(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	code, v := answer(t, "POST", "http://"+addr+"/deploy", "", "["+strings.Repeat("{},", 300_000)+"{}]")
	assert.Equal(t, http.StatusRequestEntityTooLarge, code)
	assert.Contains(t, v.(map[string]any)["error"].(map[string]any)["message"], "300001 functions in one deploy; it takes 1000 at most")

	many := make([]*proto.FunctionJson, wire.MaxFunctions+1)
	for i := range many {
		many[i] = new(proto.FunctionJson)
	}
	_, err := proto.NewFunctionsClient(dial(t, addr, "localhost")).Deploy(t.Context(), &proto.DeployRequest{Functions: many})
	require.ErrorContains(t, err, "1001 functions in one deploy")
}

// The words of the libraries that read JSON name types of Go, which say nothing to a caller.
func TestWrongBodiesAreSaidInPlainWords(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{})
	for _, rt := range wire.Routes {
		if rt.Body == "" {
			continue
		}
		bodies := []string{"7", "null", `"x"`, "[]", "[7]", "{", "[", `{"name": {}}`, `[{"name": {}}]`, `[{"env": []}]`, `[{"min": "x"}]`, `{"name": 7, "entrypoint": 7}`, "{}}", `{"": 1}`, "{\"name\": \"\xff\"}"}
		for _, body := range bodies {
			code, v := answer(t, rt.Method, base+rt.Path, "", body)
			if code == http.StatusOK {
				continue
			}
			failure, _ := v.(map[string]any)["error"].(map[string]any)
			require.NotEmpty(t, failure["message"], "%s %s", rt.Path, body)
			assert.NotRegexp(t, `Go |unmarshal|json:|proto:|RawMessage|map\[`, failure["message"], "%s %s", rt.Path, body)
		}
	}
}

// What proxies alone do is said by an agent with where to ask for it.
func TestAnAgentSaysWhoDoesWhatItDoesNot(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	for _, kind := range bothKinds {
		cli := clientOf(t, kind, addr)
		for what, ask := range map[string]func() error{
			"agents":    func() error { _, err := cli.Agents(t.Context()); return err },
			"scale":     func() error { _, err := cli.Scale(t.Context(), "F", "2"); return err },
			"calls":     func() error { _, err := cli.Calls(t.Context(), &proto.CallsRequest{}); return err },
			"schedules": func() error { _, err := cli.Schedules(t.Context(), ""); return err },
		} {
			err := ask()
			require.ErrorIs(t, err, proto.ErrUnsupported, what)
			assert.Contains(t, err.Error(), "this is not a proxy", what)
			assert.Equal(t, "ask the proxy that the agent belongs to: proxyCli -proxy ADDR", proto.AsError(err).Hint, what)
		}
	}
}

func TestTheFrontPageNamesWhatStandsInAPath(t *testing.T) {
	fake := transporttest.NewFake(t)
	_, page := ask(t, "GET", "http://"+serve(t, fake, fake, server.Config{Mounts: []server.Mount{
		{Path: "/functions/", Does: "calls a function", Scope: wire.ScopeInvoke, Handler: http.NotFoundHandler()},
		{Path: "/calls/", Rest: "ID", Does: "what became of a call", Scope: wire.ScopeInvoke, Handler: http.NotFoundHandler()},
	}})+"/")
	assert.Regexp(t, `\nANY +/functions/NAME +calls a function\n`, page)
	assert.Regexp(t, `\nANY +/calls/ID +what became of a call\n`, page)
}
