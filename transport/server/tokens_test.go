package server_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/internal/state"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// keeper returns a keeper of tokens in a folder of the test.
func keeper(t *testing.T) *auth.Keeper {
	t.Helper()
	dir, err := state.Open(filepath.Join(t.TempDir(), "state"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, dir.Close()) })
	k, err := auth.Open(auth.InFolder(dir))
	require.NoError(t, err)
	return k
}

func token(t *testing.T, k *auth.Keeper, scope wire.Scope, functions ...string) string {
	t.Helper()
	made, err := k.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{string(scope)}, Functions: functions})
	require.NoError(t, err)
	return made.GetSecret()
}

// peers are connections that each come from another address of this machine, since
// wrong tokens of one peer are answered late.
type peers struct{ last uint32 }

func (p *peers) dial(ctx context.Context, addr string) (net.Conn, error) {
	p.last++
	ip := make(net.IP, 4)
	binary.BigEndian.PutUint32(ip, 127<<24|1<<16|p.last)
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}}).DialContext(ctx, "tcp", addr)
}

// httpCall returns the status of a call.
func (p *peers) httpCall(t *testing.T, addr, method, path string, header http.Header) int {
	t.Helper()
	web := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) { return p.dial(ctx, addr) }}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // also ends a stream
	req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, strings.NewReader("x"))
	require.NoError(t, err)
	req.Header = header
	rsp, err := web.RoundTrip(req)
	require.NoError(t, err)
	defer func() { _ = rsp.Body.Close() }()
	return rsp.StatusCode
}

// grpcCall returns the code of a call, of whichever kind, with an empty message.
func (p *peers) grpcCall(t *testing.T, addr, rpc string, header http.Header) codes.Code {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(p.dial))
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for name, values := range header {
		ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(name), values[0])
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, rpc)
	require.NoError(t, err)
	if err := stream.SendMsg(&proto.WatchRequest{}); err != io.EOF { //nolint:errorlint // as gRPC says that the server has answered
		require.NoError(t, err)
	}
	require.NoError(t, stream.CloseSend())
	return status.Code(stream.RecvMsg(&proto.WatchRequest{}))
}

// Each route, mount and own path is asked for with each kind of token, by a caller who
// needs one and by one who does not.
func TestTokensAtEveryDoor(t *testing.T) {
	const open, unauthenticated, forbidden = "let in", "unauthenticated", "forbidden"
	k := keeper(t)
	revoked, err := k.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"read", "invoke", "deploy", "admin"}})
	require.NoError(t, err)
	_, err = k.RevokeToken(t.Context(), revoked.GetToken().GetId())
	require.NoError(t, err)
	old, err := k.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"read", "invoke", "deploy", "admin"}})
	require.NoError(t, err)
	_, err = k.RotateToken(t.Context(), &proto.RotateRequest{Id: old.GetToken().GetId(), Grace: "0"})
	require.NoError(t, err)
	stranger := token(t, keeper(t), wire.ScopeAdmin)
	senders := []struct {
		name   string
		token  string
		wrong  bool
		scopes []wire.Scope
	}{
		{name: "no token"},
		{name: "a token of another server", token: stranger, wrong: true},
		{name: "half a token", token: stranger[:30], wrong: true},
		{name: "a revoked token", token: revoked.GetSecret(), wrong: true},
		{name: "an expired token", token: old.GetSecret(), wrong: true},
		{name: "read", token: token(t, k, wire.ScopeRead), scopes: []wire.Scope{wire.ScopeAny, wire.ScopeRead}},
		{name: "invoke", token: token(t, k, wire.ScopeInvoke), scopes: []wire.Scope{wire.ScopeAny, wire.ScopeInvoke}},
		{name: "deploy", token: token(t, k, wire.ScopeDeploy), scopes: []wire.Scope{wire.ScopeAny, wire.ScopeDeploy, wire.ScopeRead}},
		{name: "admin", token: token(t, k, wire.ScopeAdmin), scopes: []wire.Scope{wire.ScopeAny, wire.ScopeAdmin}},
	}
	want := func(scope wire.Scope, own bool, wrong, sent bool, scopes []wire.Scope) string {
		has := func() bool {
			for _, s := range scopes {
				if s == scope {
					return true
				}
			}
			return false
		}
		switch {
		case scope == wire.ScopeOpen:
			return open
		case wrong:
			return unauthenticated
		case own || has():
			return open
		case sent:
			return forbidden
		}
		return unauthenticated
	}

	fake := transporttest.NewFake(t)
	functions := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header.Get("Authorization"), "a function sees no token")
		if err := server.Admit(r, "Hello", false); err != nil {
			wire.WriteError(w, err)
		}
	})
	addr := serve(t, fake, fake, server.Config{Tokens: k, Mounts: []server.Mount{
		{Path: "/functions/", Scope: wire.ScopeInvoke, Handler: functions},
		{Path: "/metrics", Scope: wire.ScopeRead, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
	}})
	type door struct {
		method, path string
		scope        wire.Scope
	}
	doors := []door{
		{"GET", "/", wire.ScopeRead}, {"GET", "/healthz", wire.ScopeOpen}, {"GET", "/readyz", wire.ScopeOpen},
		{"GET", "/unknown", wire.ScopeDeploy}, {"GET", "/metrics", wire.ScopeRead}, {"POST", "/functions/hello", wire.ScopeInvoke},
	}
	for _, rt := range wire.Routes {
		path, _, _ := strings.Cut(rt.Path, ":")
		if path != rt.Path {
			path += "x"
		}
		doors = append(doors, door{rt.Method, path, rt.Scope})
	}
	methods := map[string]wire.Scope{
		"/grpc.health.v1.Health/Check":                              wire.ScopeOpen,
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": wire.ScopeDeploy,
		"/ryofaas.v1.Functions/Unknown":                             wire.ScopeDeploy,
	}
	for _, rt := range wire.Routes {
		methods[rt.RPC] = rt.Scope
	}
	var from peers
	for _, own := range []bool{false, true} {
		for _, s := range senders {
			header := func() http.Header {
				h := http.Header{}
				if s.token != "" {
					h.Set("Authorization", "Bearer "+s.token)
				}
				if !own {
					h.Set("Via", "1.1 gateway")
				}
				return h
			}
			for _, d := range doors {
				got := map[int]string{http.StatusUnauthorized: unauthenticated, http.StatusForbidden: forbidden}[from.httpCall(t, addr, d.method, d.path, header())]
				if got == "" {
					got = open
				}
				assert.Equal(t, want(d.scope, own, s.wrong, s.token != "", s.scopes), got, "%s, own=%t: %s %s", s.name, own, d.method, d.path)
			}
			for rpc, scope := range methods {
				got := map[codes.Code]string{codes.Unauthenticated: unauthenticated, codes.PermissionDenied: forbidden}[from.grpcCall(t, addr, rpc, header())]
				if got == "" {
					got = open
				}
				assert.Equal(t, want(scope, own, s.wrong, s.token != "", s.scopes), got, "%s, own=%t: %s", s.name, own, rpc)
			}
		}
	}
}

func TestATokenInTheClearIsRefused(t *testing.T) {
	k := keeper(t)
	far, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	fake := transporttest.NewFake(t)
	serve(t, fake, fake, server.Config{Tokens: k, Listeners: []net.Listener{abroad{far}}})
	rsp, body := ask(t, "GET", "http://"+far.Addr().String()+"/details", "Authorization", "Bearer "+token(t, k, wire.ScopeRead))
	assert.Equal(t, http.StatusForbidden, rsp.StatusCode)
	assert.Contains(t, body, "revoke it")
}

func TestWhoMayCallAFunction(t *testing.T) {
	k := keeper(t)
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
