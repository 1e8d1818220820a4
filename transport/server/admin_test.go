package server_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// clientOf returns a client that is closed with the test.
func clientOf(t *testing.T, kind transport.Kind, addr string, opts ...transport.Option) *transport.Client {
	t.Helper()
	cli := transport.NewAgent(kind, addr, opts...)
	t.Cleanup(func() { assert.NoError(t, cli.Close()) })
	return cli
}

func TestTokensAreManagedOverBothTransports(t *testing.T) {
	for _, kind := range bothKinds {
		fake := transporttest.NewFake(t)
		cli := clientOf(t, kind, serve(t, fake, fake, server.Config{Tokens: transporttest.Keeper(t)}))
		addr := serve(t, fake, fake, server.Config{})
		made, err := cli.CreateToken(t.Context(), &proto.TokenRequest{Name: "ci", Scopes: []string{"deploy"}, Functions: []string{"Hello"}, Ttl: "1h"})
		require.NoError(t, err)
		next, err := cli.RotateToken(t.Context(), &proto.RotateRequest{Id: made.GetToken().GetId()})
		require.NoError(t, err)
		assert.NotEqual(t, made.GetSecret(), next.GetSecret())
		list, err := cli.Tokens(t.Context())
		require.NoError(t, err)
		require.Len(t, list, 2)
		for _, token := range list {
			assert.Empty(t, token.GetHash())
			assert.NotEmpty(t, token.GetExpires())
		}
		_, err = cli.RevokeToken(t.Context(), made.GetToken().GetId())
		require.NoError(t, err)
		_, err = cli.RevokeToken(t.Context(), made.GetToken().GetId())
		require.ErrorIs(t, err, proto.ErrNotFound)
		require.ErrorIs(t, cli.ShareTokens(t.Context(), &proto.TokenShare{Issuer: "i_1"}), proto.ErrUnsupported, "to agents alone")

		none := clientOf(t, kind, addr)
		_, err = none.Tokens(t.Context())
		require.ErrorIs(t, err, proto.ErrUnsupported)
		_, err = none.Audit(t.Context(), 0)
		require.ErrorIs(t, err, proto.ErrUnsupported)
		who, err := none.WhoAmI(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "local", who.GetWho())
	}
}

func TestClientsSendTheirToken(t *testing.T) {
	k := transporttest.Keeper(t)
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{Tokens: k})
	secret := token(t, k, wire.ScopeRead)
	for _, kind := range bothKinds {
		who, err := clientOf(t, kind, addr, transport.WithToken(secret)).WhoAmI(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"read"}, who.GetToken().GetScopes())
		_, err = clientOf(t, kind, addr, transport.WithToken(secret[:20])).WhoAmI(t.Context())
		require.ErrorIs(t, err, proto.ErrUnauthenticated)
		_, err = clientOf(t, kind, "192.0.2.1:9001", transport.WithToken(secret)).Details(t.Context())
		require.ErrorIs(t, err, proto.ErrForbidden)
		assert.Contains(t, err.Error(), "in the clear")
	}
}

// sent makes a request and returns the status and the body of its answer.
func sent(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := client(t).Do(req)
	require.NoError(t, err)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return rsp.StatusCode, string(data)
}

// gateway is a client whose requests come through a gateway, so that they need a token.
func gateway(t *testing.T, addr, secret string) func(method, path, body string) (int, string) {
	return func(method, path, body string) (int, string) {
		return sent(t, method, "http://"+addr+path, body, "Via", "1.1 gateway", "Authorization", "Bearer "+secret)
	}
}

func TestATokenForOneFunctionShowsAndChangesThatAlone(t *testing.T) {
	k := transporttest.Keeper(t)
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{Tokens: k, Worker: fake, Mounts: []server.Mount{
		{Path: "/metrics", Scope: wire.ScopeRead, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
	}})
	dir := source(t)
	own := clientOf(t, transport.RPC, addr)
	for _, name := range []string{"HelloWorld", "Other"} {
		_, err := own.Deploy(t.Context(), &proto.FunctionJson{Name: name, Dir: dir, Target: "HelloWorld", Wait: true})
		require.NoError(t, err)
	}
	versions, err := own.Versions(t.Context(), "HelloWorld")
	require.NoError(t, err)
	pkg := versions[0].GetPackage()
	ask := gateway(t, addr, token(t, k, wire.ScopeDeploy, "HelloWorld"))
	for _, path := range []string{"/details", "/usage"} {
		code, body := ask("GET", path, "")
		assert.Equal(t, 200, code, path)
		assert.NotContains(t, body, "Other", path)
	}
	_, body := ask("GET", "/details", "")
	assert.Contains(t, body, "HelloWorld")
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/log?entrypoint=%", ""}, {"GET", "/logs?name=%", ""}, {"GET", "/versions?name=%", ""}, {"GET", "/crashes?name=%", ""}, {"GET", "/usage?name=%", ""},
		{"POST", "/pause", `{"name": "%"}`}, {"POST", "/resume", `{"name": "%"}`}, {"POST", "/rollback", `{"name": "%", "to": 1}`}, {"POST", "/shift", `{"name": "%", "canary": 1}`},
		{"POST", "/deploy", `[{"name": "%", "filePath": "helloWorld.go", "target": "HelloWorld", "package": "` + pkg + `"}]`},
		{"POST", "/stop", `{"name": "%"}`}, {"POST", "/remove", `{"name": "%"}`},
	} {
		for name, allowed := range map[string]bool{"helloWorld": true, "Other": false} {
			if c.path == "/deploy" && allowed {
				name = "HelloWorld"
			}
			code, body := ask(c.method, strings.ReplaceAll(c.path, "%", name), strings.ReplaceAll(c.body, "%", name))
			assert.Equal(t, allowed, code != 403, "%s %s of %s: %d %s", c.method, c.path, name, code, body)
		}
	}
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/metrics", ""}, {"POST", "/wake", `{"name": "HelloWorld", "version": 1}`}, {"GET", "/programs/" + someKey, ""}, {"GET", "/tokens", ""},
	} {
		code, _ := ask(c.method, c.path, c.body)
		assert.Equal(t, 403, code, c.path)
	}
	rows, err := own.Details(t.Context())
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.Equal(t, "Other", rows[0].GetName(), "nothing has happened to it")
}

func TestWhoDidWhatIsRecorded(t *testing.T) {
	k := transporttest.Keeper(t)
	record, err := auth.OpenRecord(t.TempDir())
	require.NoError(t, err)
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{Tokens: k, Record: record})
	secret := token(t, k, wire.ScopeDeploy)
	for _, kind := range bothKinds {
		cli := clientOf(t, kind, addr, transport.WithToken(secret))
		rows, err := cli.Deploy(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: source(t), Wait: true})
		require.NoError(t, err)
		_, err = cli.Details(t.Context())
		require.NoError(t, err)
		_, err = cli.Stop(t.Context(), "Missing")
		require.ErrorIs(t, err, proto.ErrNotFound)
		list, err := cli.Audit(t.Context(), 3)
		require.NoError(t, err)
		stop, deploy := list[0], list[1]
		assert.Equal(t, []string{"Stop", "not_found"}, []string{stop.GetCall(), stop.GetResult()})
		assert.Equal(t, []string{"Missing"}, stop.GetFunctions())
		assert.Equal(t, []string{"Deploy", "ok"}, []string{deploy.GetCall(), deploy.GetResult()})
		assert.Equal(t, []string{"HelloWorld"}, deploy.GetFunctions())
		assert.Equal(t, []string{rows[0].GetPackage()}, deploy.GetPackages())
		assert.Regexp(t, `^token t_`, deploy.GetWho())
		assert.NotEmpty(t, deploy.GetRequestId())
	}
	code, _ := sent(t, "POST", "http://"+addr+"/stop", `{"name": "HelloWorld"}`, "Via", "1.1 gateway")
	assert.Equal(t, 401, code)
	cli := clientOf(t, transport.RPC, addr)
	made, err := cli.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"read"}})
	require.NoError(t, err)
	list, err := cli.Audit(t.Context(), 2)
	require.NoError(t, err)
	assert.Equal(t, []string{"local", "CreateToken", made.GetToken().GetId()}, []string{list[0].GetWho(), list[0].GetCall(), list[0].GetToken()})
	assert.Equal(t, []string{fmt.Sprintf("user %d", os.Geteuid()), "Stop", "unauthenticated"}, []string{list[1].GetWho(), list[1].GetCall(), list[1].GetResult()})
}
