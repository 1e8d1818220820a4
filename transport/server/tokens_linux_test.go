package server_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

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
	var pairs []string
	for name, values := range header {
		pairs = append(pairs, strings.ToLower(name), values[0])
	}
	ctx = metadata.AppendToOutgoingContext(ctx, pairs...)
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, rpc)
	require.NoError(t, err)
	if err := stream.SendMsg(&proto.WatchRequest{}); err != io.EOF { //nolint:errorlint // as gRPC says that the server has answered
		require.NoError(t, err)
	}
	require.NoError(t, stream.CloseSend())
	return status.Code(stream.RecvMsg(&proto.WatchRequest{}))
}

// Each route, mount and own path is asked for with each kind of token, by a caller who
// needs one and by one who does not. cmd/e2e scans the programs themselves.
func TestTokensAtEveryDoor(t *testing.T) {
	const open, unauthenticated, forbidden = "let in", "unauthenticated", "forbidden"
	k := transporttest.Keeper(t)
	revoked, err := k.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"read", "invoke", "deploy", "admin"}})
	require.NoError(t, err)
	_, err = k.RevokeToken(t.Context(), revoked.GetToken().GetId())
	require.NoError(t, err)
	old, err := k.CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"read", "invoke", "deploy", "admin"}})
	require.NoError(t, err)
	_, err = k.RotateToken(t.Context(), &proto.RotateRequest{Id: old.GetToken().GetId(), Grace: "0"})
	require.NoError(t, err)
	stranger := token(t, transporttest.Keeper(t), wire.ScopeAdmin)
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
	want := func(scope wire.Scope, own, wrong, sent bool, scopes []wire.Scope) string {
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
		case own:
			return open
		case has():
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
	callers := []struct {
		name string
		own  bool   // needs no token
		via  string // a header that a gateway sets
	}{
		{name: "own", own: true},
		{name: "gateway", via: "1.1 gateway"},
	}
	var from peers
	for _, c := range callers {
		for _, s := range senders {
			// The gateway's caller sends every token.
			if c.own && len(s.scopes) > 0 && s.name != "read" {
				continue
			}
			header := func() http.Header {
				h := http.Header{}
				if s.token != "" {
					h.Set("Authorization", "Bearer "+s.token)
				}
				if c.via != "" {
					h.Set("Via", c.via)
				}
				return h
			}
			for _, d := range doors {
				got := open
				switch code := from.httpCall(t, addr, d.method, d.path, header()); code {
				case http.StatusUnauthorized:
					got = unauthenticated
				case http.StatusForbidden:
					got = forbidden
				case http.StatusTooManyRequests:
					got = "too many"
				}
				assert.Equal(t, want(d.scope, c.own, s.wrong, s.token != "", s.scopes), got, "%s with %s: %s %s", c.name, s.name, d.method, d.path)
			}
			for rpc, scope := range methods {
				got := open
				switch code := from.grpcCall(t, addr, rpc, header()); code {
				case codes.Unauthenticated:
					got = unauthenticated
				case codes.PermissionDenied:
					got = forbidden
				case codes.ResourceExhausted:
					got = "too many"
				}
				assert.Equal(t, want(scope, c.own, s.wrong, s.token != "", s.scopes), got, "%s with %s: %s", c.name, s.name, rpc)
			}
		}
	}
}
