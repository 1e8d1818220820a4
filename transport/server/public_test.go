package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// public serves one that tells what it is called with, on a public listener that trusts
// some peers, and returns the addresses of that and of the main one.
func public(t *testing.T, trusted ...string) (addr, main string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := server.Config{Public: []net.Listener{l}, Mounts: []server.Mount{
		{Path: "/functions/", Scope: wire.ScopeInvoke, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 2 { // gRPC
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Grpc-Status", strconv.Itoa(int(codes.DataLoss)))
				return
			}
			fmt.Fprintln(w, r.RequestURI, r.RemoteAddr, r.URL.Scheme, r.Host)
		})},
		{Path: "/metrics", Scope: wire.ScopeRead, Handler: http.NotFoundHandler()},
	}}
	for _, text := range trusted {
		cfg.Gateways = append(cfg.Gateways, netip.MustParsePrefix(text))
	}
	fake := transporttest.NewFake(t)
	return l.Addr().String(), serve(t, fake, fake, cfg)
}

// say sends bytes and returns the status of the answer, and its body.
func say(t *testing.T, addr, sent string) (status int, body, from string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, sent)
	require.NoError(t, err)
	rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return rsp.StatusCode, string(data), conn.LocalAddr().String()
}

const publicCall = "GET /functions/hello/a%2fb?q HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n"

func TestAPublicListenerServesFunctionsAlone(t *testing.T) {
	addr, main := public(t)
	status, body, from := say(t, addr, publicCall+"\r\n")
	assert.Equal(t, 200, status)
	assert.Equal(t, "/functions/hello/a%2fb?q "+from+"  api.example\n", body)

	calls := []struct{ method, path string }{
		{"GET", "/"}, {"GET", "/healthz"}, {"GET", "/readyz"}, {"GET", "/metrics"}, {"GET", "/functions"}, {"GET", "/Functions/hello"},
		{"GET", "//functions/hello"}, {"GET", "/functions%2fhello"}, {"GET", "/../functions/hello"}, {"OPTIONS", "*"},
	}
	for _, rt := range wire.Routes {
		calls = append(calls, struct{ method, path string }{rt.Method, strings.Replace(rt.Path, ":", "", 1)}, struct{ method, path string }{"POST", rt.RPC})
	}
	for _, c := range calls {
		for _, kind := range []string{"application/json", "application/grpc"} {
			sent := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", c.method, c.path, kind)
			if c.method == "HEAD" {
				sent = strings.Replace(sent, "HEAD", "GET", 1)
			}
			status, body, _ := say(t, addr, sent)
			assert.Equal(t, 404, status, "%s %s", c.method, c.path)
			assert.Contains(t, body, `"not_found"`, "%s %s", c.method, c.path)
		}
	}
	conn := dial(t, addr, "localhost")
	err := conn.Invoke(t.Context(), "/grpc.health.v1.Health/Check", nil, nil)
	assert.Equal(t, codes.NotFound, grpcstatus.Code(err))
	err = conn.Invoke(t.Context(), "/functions/hello/test.Echo/Say", &emptypb.Empty{}, &emptypb.Empty{})
	assert.Equal(t, codes.DataLoss, grpcstatus.Code(err), "it reaches the function")
	status, _, _ = say(t, main, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	assert.Equal(t, 200, status, "the main one is as it was")
}

func TestOnlyTrustedPeersSayWhoCalls(t *testing.T) {
	const says = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: front.example\r\n\r\n"
	const forwarder = "PROXY TCP4 192.0.2.8 10.0.0.1 4711 80\r\n"
	stranger, _ := public(t)
	trusted, main := public(t, "127.0.0.0/8")

	_, body, from := say(t, stranger, publicCall+says)
	assert.Equal(t, "/functions/hello/a%2fb?q "+from+"  api.example\n", body)
	status, _, _ := say(t, stranger, forwarder+publicCall+"\r\n")
	assert.Equal(t, 400, status)

	_, body, _ = say(t, trusted, publicCall+says)
	assert.Equal(t, "/functions/hello/a%2fb?q 192.0.2.7:0 https front.example\n", body)
	_, body, _ = say(t, trusted, forwarder+publicCall+"\r\n")
	assert.Equal(t, "/functions/hello/a%2fb?q 192.0.2.8:4711  api.example\n", body)
	_, body, _ = say(t, trusted, forwarder+publicCall+says)
	assert.Equal(t, "/functions/hello/a%2fb?q 192.0.2.8:4711  api.example\n", body, "the client of a forwarder is no gateway")
	status, _, _ = say(t, trusted, "PROXY TCP4 me\r\n"+publicCall+"\r\n")
	assert.Equal(t, 400, status)
	status, _, _ = say(t, main, forwarder+publicCall+"\r\n")
	assert.Equal(t, 400, status, "the main listener trusts nobody")
}
