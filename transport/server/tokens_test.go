package server_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func token(t *testing.T, k *auth.Keeper, scope wire.Scope, functions ...string) string {
	t.Helper()
	made, err := k.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{string(scope)}, Functions: functions})
	require.NoError(t, err)
	return made.GetSecret()
}

func TestATokenInTheClearIsRefused(t *testing.T) {
	k := transporttest.Keeper(t)
	far, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	fake := transporttest.NewFake(t)
	serve(t, fake, fake, server.Config{Tokens: k, Listeners: []net.Listener{abroad{far}}})
	rsp, body := ask(t, "GET", "http://"+far.Addr().String()+"/details", "Authorization", "Bearer "+token(t, k, wire.ScopeRead))
	assert.Equal(t, http.StatusForbidden, rsp.StatusCode)
	assert.Contains(t, body, "revoke it")
}

func TestWhoMayCallAFunction(t *testing.T) {
	k := transporttest.Keeper(t)
	fake := transporttest.NewFake(t)
	everybody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	functions := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/functions/")
		if err := server.Admit(r, name, name == "Public"); err != nil {
			wire.WriteError(w, err)
			return
		}
		_, _ = io.WriteString(w, strings.Join(r.Header.Values("Authorization"), ","))
	})
	main := serve(t, fake, fake, server.Config{
		Tokens: k, Public: []net.Listener{everybody}, Mounts: []server.Mount{{Path: "/functions/", Scope: wire.ScopeInvoke, Handler: functions}},
	})
	invoke, forHello, read := token(t, k, wire.ScopeInvoke), token(t, k, wire.ScopeInvoke, "Hello"), token(t, k, wire.ScopeRead)
	gone, err := k.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"invoke"}})
	require.NoError(t, err)
	_, err = k.RevokeToken(t.Context(), gone.GetToken().GetId())
	require.NoError(t, err)
	for _, c := range []struct {
		name, addr, path string
		header           []string
		want             int
		passes           string // of the header Authorization
	}{
		{"own", main, "Private", nil, 200, ""},
		{"own, with credentials of the function", main, "Private", []string{"Authorization", "Basic eDp5"}, 200, "Basic eDp5"},
		{"own, with a token of the function", main, "Private", []string{"Authorization", "Bearer other"}, 200, "Bearer other"},
		{"own, with a token", main, "Private", []string{"Authorization", "Bearer " + read}, 200, ""},
		{"gateway, public", main, "Public", []string{"Via", "1.1 g"}, 200, ""},
		{"gateway, private", main, "Private", []string{"Via", "1.1 g"}, 401, ""},
		{"gateway, private, token", main, "Private", []string{"Via", "1.1 g", "Authorization", "bearer " + invoke}, 200, ""},
		{"gateway, private, token to read", main, "Private", []string{"Via", "1.1 g", "Authorization", "Bearer " + read}, 403, ""},
		{"gateway, another function's", main, "Private", []string{"Via", "1.1 g", "Authorization", "Bearer " + forHello}, 403, ""},
		{"gateway, its function's", main, "hello", []string{"Via", "1.1 g", "Authorization", "Bearer " + forHello}, 200, ""},
		{"gateway, revoked", main, "Private", []string{"Via", "1.1 g", "Authorization", "Bearer " + gone.GetSecret()}, 401, ""},
		{"everybody, public", everybody.Addr().String(), "Public", nil, 200, ""},
		{"everybody, private", everybody.Addr().String(), "Private", nil, 404, ""},
		{"everybody, private, token", everybody.Addr().String(), "Private", []string{"Authorization", "Bearer " + invoke}, 200, ""},
		{"everybody, another function's", everybody.Addr().String(), "Private", []string{"Authorization", "Bearer " + forHello}, 403, ""},
		{"everybody, revoked", everybody.Addr().String(), "Public", []string{"Authorization", "Bearer " + gone.GetSecret()}, 401, ""},
	} {
		rsp, body := ask(t, "GET", "http://"+c.addr+"/functions/"+c.path, c.header...)
		assert.Equal(t, c.want, rsp.StatusCode, "%s: %s", c.name, body)
		if c.want == 200 {
			assert.Equal(t, c.passes, body, c.name)
		}
	}
}

func TestStrangersAreToldLittle(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{About: map[string]any{"toolchain": "go1"}})
	_, body := ask(t, "GET", "http://"+addr+"/readyz")
	assert.Contains(t, body, "toolchain")
	rsp, body := ask(t, "GET", "http://"+addr+"/readyz", "Via", "1.1 gateway")
	assert.Equal(t, http.StatusOK, rsp.StatusCode)
	assert.NotContains(t, body, "toolchain")
}

func TestATokenThatAsksTooFastIsToldSo(t *testing.T) {
	k := transporttest.Keeper(t)
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{Tokens: k, Mounts: []server.Mount{functions}})
	greedy := "Bearer " + token(t, k, wire.ScopeRead)
	web := client(t)
	get := func(path, token string) (*http.Response, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", token)
		rsp, err := web.Do(req)
		require.NoError(t, err)
		defer rsp.Body.Close()
		body, err := io.ReadAll(rsp.Body)
		require.NoError(t, err)
		return rsp, string(body)
	}
	var rsp *http.Response
	var body string
	for range 20_000 { // many more than at once
		if rsp, body = get("/whoami", greedy); rsp.StatusCode != http.StatusOK {
			break
		}
	}
	require.Equal(t, http.StatusTooManyRequests, rsp.StatusCode)
	assert.Equal(t, "1", rsp.Header.Get("Retry-After"))
	assert.Contains(t, body, `"code":"too_many"`)
	assert.Contains(t, body, "asks more than 100 times a second")

	rsp, _ = get(publicFunction, greedy)
	assert.Equal(t, http.StatusTeapot, rsp.StatusCode, "functions are not counted")
	rsp, _ = get("/healthz", greedy)
	assert.Equal(t, http.StatusOK, rsp.StatusCode)
	rsp, _ = get("/whoami", "Bearer "+token(t, k, wire.ScopeRead))
	assert.Equal(t, http.StatusOK, rsp.StatusCode, "another token")
	rsp, _ = get("/details", "")
	assert.Equal(t, http.StatusOK, rsp.StatusCode, "the own user")

	conn := dial(t, addr, "localhost")
	for range 200 { // some may have come back meanwhile
		var header metadata.MD
		err := conn.Invoke(metadata.AppendToOutgoingContext(t.Context(), "authorization", greedy), proto.Functions_WhoAmI_FullMethodName, &proto.WhoAmIRequest{}, &proto.Caller{}, grpc.Trailer(&header))
		if err != nil {
			require.Equal(t, codes.ResourceExhausted, status.Code(err))
			assert.Equal(t, []string{"1"}, header.Get("Retry-After"))
			return
		}
	}
	t.Error("the two protocols count apart")
}

func TestATokenForAFunctionUsesNoPackagesOfOthers(t *testing.T) {
	k := transporttest.Keeper(t)
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{Tokens: k})
	packed := string(archive(t))
	stored, err := fake.Store().Put(t.Context(), "", strings.NewReader(packed))
	require.NoError(t, err)
	secret := token(t, k, wire.ScopeDeploy, "HelloWorld")
	call := func(secret, method, path, kind, body string) (int, string) {
		return sent(t, method, base+path, body, "Via", "1.1 gateway", "Authorization", "Bearer "+secret, "Content-Type", kind)
	}
	const js = "application/json"
	path := "/packages/" + stored.Digest
	deploy := `[{"name": "HelloWorld", "filePath": "helloWorld.go", "package": "` + stored.Digest + `"}]`

	status, _ := call(secret, "HEAD", path, "", "")
	assert.Equal(t, http.StatusNotFound, status, "what others have sent is not told")
	status, body := call(secret, "POST", "/deploy", js, deploy)
	assert.Equal(t, http.StatusForbidden, status, body)
	assert.Contains(t, body, "has not sent the package")
	status, body = call(secret, "POST", "/deploy", js, `[{"name": "HelloWorld", "package": "`+stored.Digest+`", "program": "`+someKey+`"}]`)
	assert.Equal(t, http.StatusForbidden, status, body)
	status, body = call(secret, "PUT", path, "application/zip", "")
	assert.Equal(t, http.StatusBadRequest, status, "a digest proves nothing: %s", body)
	status, body = call(secret, "POST", "/deploy?plan", js, deploy)
	assert.Equal(t, http.StatusOK, status, "a plan compares digests: %s", body)

	status, body = call(secret, "PUT", path, "application/zip", packed)
	require.Equal(t, http.StatusOK, status, body)
	status, _ = call(secret, "HEAD", path, "", "")
	assert.Equal(t, http.StatusOK, status)
	status, body = call(secret, "POST", "/deploy?wait", js, deploy)
	require.Equal(t, http.StatusOK, status, body)

	other := token(t, k, wire.ScopeDeploy, "HelloWorld")
	status, _ = call(other, "HEAD", path, "", "")
	assert.Equal(t, http.StatusNotFound, status)
	status, body = call(other, "POST", "/deploy", js, deploy)
	assert.Equal(t, http.StatusOK, status, "a version of its function has it: %s", body)
	status, body = call(token(t, k, wire.ScopeDeploy, "Other"), "POST", "/deploy", js, strings.ReplaceAll(deploy, "HelloWorld", "Other"))
	assert.Equal(t, http.StatusForbidden, status, body)
	status, body = call(token(t, k, wire.ScopeDeploy), "POST", "/deploy", js, deploy)
	assert.Equal(t, http.StatusOK, status, "a token for all functions: %s", body)

	kind, parts := form(t, [2]string{"definition", `[{"name": "HelloWorld", "filePath": "helloWorld.go"}]`}, [2]string{"package", packed})
	status, body = call(token(t, k, wire.ScopeDeploy, "HelloWorld"), "POST", "/deploy", kind, parts)
	assert.Equal(t, http.StatusOK, status, "what comes with the deploy: %s", body)
}
