package server_test

import (
	"bufio"
	"bytes"
	"context"
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
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// serve offers impl on 127.0.0.1 until the test ends and returns the address.
func serve(t *testing.T, impl transport.Interface, fake *transporttest.Fake, cfg server.Config) string {
	t.Helper()
	cfg.Store = fake.Store()
	return transporttest.Serve(t, impl, cfg)
}

// abroad is a listener whose callers seem to be on another machine.
type abroad struct{ net.Listener }

func (l abroad) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return foreignConn{c}, nil
}

type foreignConn struct{ net.Conn }

func (foreignConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
}

// client is an HTTP client that leaves no connection behind.
func client(t *testing.T) *http.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// dial is a bare gRPC connection.
func dial(t *testing.T, addr, authority string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority(authority))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	return conn
}

// A caller, and what the guard makes of its calls of each kind.
var callers = []struct {
	name     string
	abroad   bool
	host     string // default: the address
	header   [2]string
	control  bool // may it control functions?
	unsafe   bool // and with calls that change something?
	function bool // may it call functions that are not public?
	page     bool // it is a web page, which may change nothing even where everybody may
	own      bool // it is a web page that could read what is answered, and may ask nothing
	rebound  bool // it may nothing at all
}{
	{name: "on this machine", control: true, unsafe: true, function: true},
	{name: "on this machine, by name", host: "LocalHost:9000", control: true, unsafe: true, function: true},
	{name: "on this machine, over IPv6", host: "[::1]:9000", control: true, unsafe: true, function: true},
	{name: "on this machine, by its own name", host: "node-a.example:9000", control: true, unsafe: true, function: true},
	{name: "on this machine, by a name of its network", host: "node-a.local", control: true, unsafe: true, function: true},
	{name: "on this machine, by a name without a domain", host: "node-a:80", control: true, unsafe: true, function: true},
	{name: "on another machine", abroad: true},
	{name: "on another machine that says localhost", abroad: true, host: "localhost"},
	{name: "a page whose name was rebound", host: "evil.example:9000", rebound: true},
	{name: "a page whose name begins well", host: "localhost.evil.example", rebound: true},
	{name: "a page of another origin", header: [2]string{"Origin", "http://evil.example"}, control: true, page: true},
	{name: "a page of another site", header: [2]string{"Sec-Fetch-Site", "cross-site"}, control: true, page: true},
	{name: "the page of another port", header: [2]string{"Sec-Fetch-Site", "same-site"}, control: true, function: true, page: true},
	{name: "a page at the address", header: [2]string{"Sec-Fetch-Site", "same-origin"}, function: true, own: true},
	{name: "a page at the address, of an older browser", host: "localhost:9000", header: [2]string{"Origin", "http://localhost:9000"}, function: true, own: true},
	{name: "through a gateway", header: [2]string{"X-Forwarded-For", "192.0.2.7"}},
	{name: "through another gateway", header: [2]string{"Forwarded", "for=192.0.2.7"}},
	{name: "through a gateway that says its name alone", header: [2]string{"Via", "1.1 gateway"}},
	{name: "through a gateway that hides it", header: [2]string{"X-Forwarded-Host", "localhost"}},
}

var controlCalls = []struct{ method, path string }{
	{"POST", "/deploy"},
	{"POST", "/stop"},
	{"POST", "/list"},
	{"GET", "/log?entrypoint=Missing"},
	{"GET", "/details"},
	{"GET", "/watch"},
	{"HEAD", "/packages/sha256:00"},
	{"PUT", "/packages/sha256:00"},
	{"GET", "/versions?name=Missing"},
	{"POST", "/rollback"},
	{"POST", "/shift"},
	{"GET", "/crashes?name=Missing"},
	{"GET", "/logs?name=Missing"},
	{"GET", "/usage"},
	{"GET", "/metrics"},
	{"POST", "/wake"},
	{"POST", "/build"},
	{"HEAD", "/programs/00"},
	{"GET", "/programs/00"},
	{"PUT", "/programs/00"},
	{"GET", "/unknown"},
	{"GET", "/%66unctions/hello"},
}

// functions are two, of which one is public.
var functions = server.Mount{Path: "/functions/", Scope: wire.ScopeInvoke, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if err := server.Admit(r, "hello", r.URL.Path == publicFunction); err != nil {
		wire.WriteError(w, err)
		return
	}
	w.WriteHeader(http.StatusTeapot)
})}

const publicFunction = "/functions/public"

func TestGuardOverHTTP(t *testing.T) {
	for _, insecure := range []bool{false, true} {
		fake := transporttest.NewFake(t)
		far, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		near := serve(t, fake, fake, server.Config{
			Listeners: []net.Listener{abroad{far}},
			Insecure:  insecure,
			Hosts:     []string{"Node-A.example"},
			Mounts: []server.Mount{
				functions,
				{Path: "/metrics", Scope: wire.ScopeRead, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
			},
		})
		web := client(t)
		// call returns whether the call was let through.
		call := func(method, path, host string, abroad bool, header [2]string) bool {
			addr := near
			if abroad {
				addr = far.Addr().String()
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel() // also ends a stream
			req, err := http.NewRequestWithContext(ctx, method, "http://"+addr+path, strings.NewReader("x"))
			require.NoError(t, err)
			req.Host = host
			if header[0] != "" {
				req.Header.Set(header[0], header[1])
			}
			rsp, err := web.Do(req)
			require.NoError(t, err)
			defer func() { _ = rsp.Body.Close() }()
			if rsp.StatusCode != http.StatusForbidden && rsp.StatusCode != http.StatusUnauthorized {
				return true
			}
			assert.Equal(t, rsp.StatusCode == http.StatusUnauthorized, rsp.Header.Get("WWW-Authenticate") != "")
			if method != http.MethodHead {
				body, err := io.ReadAll(rsp.Body)
				require.NoError(t, err)
				assert.Regexp(t, `"code":"(forbidden|unauthenticated)"`, string(body))
				assert.NotContains(t, string(body), `"hint":""`)
			}
			return false
		}
		for _, c := range callers {
			for _, rt := range controlCalls {
				safe := rt.method == "GET" || rt.method == "HEAD"
				want := insecure && !c.rebound && !c.own && (safe || !c.page) || c.control && (safe || c.unsafe)
				assert.Equal(t, want, call(rt.method, rt.path, c.host, c.abroad, c.header), "insecure=%t, %s: %s %s", insecure, c.name, rt.method, rt.path)
			}
			for _, method := range []string{"GET", "POST", "DELETE"} {
				want := insecure && !c.rebound || c.function
				assert.Equal(t, want, call(method, "/functions/hello", c.host, c.abroad, c.header), "insecure=%t, %s: %s a function", insecure, c.name, method)
				want = !c.rebound && (insecure || !c.abroad)
				assert.Equal(t, want, call(method, publicFunction, c.host, c.abroad, c.header), "insecure=%t, %s: %s a public function", insecure, c.name, method)
			}
			for _, path := range []string{"/healthz", "/readyz"} {
				assert.True(t, call("GET", path, c.host, c.abroad, c.header), "%s: %s", c.name, path)
			}
		}
	}
}

// refusals are the codes of those who are not let in.
var refusals = []codes.Code{codes.PermissionDenied, codes.Unauthenticated}

func TestGuardOverGRPC(t *testing.T) {
	for _, open := range []bool{false, true} {
		fake := transporttest.NewFake(t)
		far, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		near := serve(t, fake, fake, server.Config{Listeners: []net.Listener{abroad{far}}, Insecure: open, Hosts: []string{"node-a.example:9000"}})
		for _, c := range callers {
			addr, authority := near, c.host
			if c.abroad {
				addr = far.Addr().String()
			}
			if authority == "" {
				authority = addr
			}
			conn := dial(t, addr, authority)
			ctx := t.Context()
			if c.header[0] != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, strings.ToLower(c.header[0]), c.header[1])
			}
			want := open && !c.rebound && !c.page && !c.own || c.control && c.unsafe
			for name, err := range callAll(ctx, conn) {
				rt, _ := wire.RouteOf("/" + proto.Functions_ServiceDesc.ServiceName + "/" + name)
				if want || c.own && rt.Scope == wire.ScopeInvoke { // a page of a function may ask for a call whose id it has
					assert.NotContains(t, refusals, status.Code(err), "insecure=%t, %s: %s", open, c.name, name)
					continue
				}
				st := status.Convert(err)
				assert.Contains(t, refusals, st.Code(), "insecure=%t, %s: %s: %v", open, c.name, name, err)
				require.Len(t, st.Details(), 1)
				assert.NotEmpty(t, st.Details()[0].(*proto.ErrorDetail).GetHint())
			}
			_, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
			require.NoError(t, err, "health is for everybody: %s", c.name)
		}
	}
}

// callAll makes every call of the service, and of reflection, and returns how
// each errs.
func callAll(ctx context.Context, conn *grpc.ClientConn) map[string]error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make(map[string]error)
	for _, m := range proto.Functions_ServiceDesc.Methods {
		full := "/" + proto.Functions_ServiceDesc.ServiceName + "/" + m.MethodName
		if rt, _ := wire.RouteOf(full); rt.Scope == wire.ScopeOpen {
			continue
		}
		errs[m.MethodName] = conn.Invoke(ctx, full, &proto.DeployRequest{}, &proto.PackageRef{})
	}
	cli := proto.NewFunctionsClient(conn)
	if watch, err := cli.Watch(ctx, &proto.WatchRequest{}); err == nil {
		_, errs["Watch"] = watch.Recv()
	}
	if logs, err := cli.Logs(ctx, &proto.LogsRequest{}); err == nil {
		_, errs["Logs"] = logs.Recv()
	}
	if source, err := cli.Source(ctx, &proto.SourceRequest{}); err == nil {
		_, errs["Source"] = source.Recv()
	}
	if program, err := cli.FetchProgram(ctx, &proto.Program{}); err == nil {
		_, errs["FetchProgram"] = program.Recv()
	}
	if upload, err := cli.Upload(ctx); err == nil {
		_, errs["Upload"] = upload.CloseAndRecv()
	}
	if program, err := cli.SendProgram(ctx); err == nil {
		_, errs["SendProgram"] = program.CloseAndRecv()
	}
	if info, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx); err == nil {
		_ = info.Send(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}})
		_, errs["ServerReflectionInfo"] = info.Recv()
	}
	return errs
}

func TestClientsSayWhyTheyWereRefused(t *testing.T) {
	fake := transporttest.NewFake(t)
	far, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serve(t, fake, fake, server.Config{Listeners: []net.Listener{abroad{far}}})
	dir := source(t)
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		cli := transport.NewAgent(kind, far.Addr().String())
		t.Cleanup(func() { assert.NoError(t, cli.Close()) })
		_, err := cli.Details(t.Context())
		require.ErrorIs(t, err, proto.ErrUnauthenticated)
		assert.Contains(t, proto.AsError(err).Hint, "-insecure")
		_, err = cli.Deploy(t.Context(), &proto.FunctionJson{Name: "HelloWorld", Dir: dir})
		require.ErrorIs(t, err, proto.ErrUnauthenticated, "also when a package is to be sent first")
		assert.Contains(t, proto.AsError(err).Hint, "-insecure")
		require.ErrorIs(t, cli.Watch(t.Context(), nil), proto.ErrUnauthenticated)
	}
}

func TestForwardProxyingIsRefused(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{Insecure: true})
	for _, request := range []string{
		"GET http://example.com/details HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"CONNECT example.com:80 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"GET https:///healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"GET https:healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
	} {
		answer := raw(t, addr, request)
		assert.True(t, bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")), "%s", answer)
	}
}

// RFC 9112 section 3.2.2.
func TestAnAbsoluteTargetOfOneOfOurNamesIsServed(t *testing.T) {
	fake := transporttest.NewFake(t)
	targets := make(chan string, 1)
	echo := server.Mount{Path: "/functions/", Scope: wire.ScopeInvoke, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		targets <- r.Host + " " + r.RequestURI
	})}
	addr := serve(t, fake, fake, server.Config{Mounts: []server.Mount{echo}, Hosts: []string{"public.example"}})
	for target, want := range map[string]string{
		"http://localhost/functions/a%2Fb?q=%zz":      "localhost /functions/a%2Fb?q=%zz",
		"HTTP://" + addr + "/functions/x//y":          addr + " /functions/x//y",
		"http://public.example:80/functions/?u=a://b": "public.example:80 /functions/?u=a://b",
	} {
		answer := raw(t, addr, "GET "+target+" HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n")
		require.True(t, bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")), "%s", answer)
		assert.Equal(t, want, <-targets)
	}
	answer := raw(t, addr, "GET http://localhost?q HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	assert.False(t, bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")), "%s", answer)
}

func TestHostsThatCannotBeAreRefused(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{Insecure: true})
	for host, status := range map[string]string{
		"localhost": "200", "localhost:9002": "200", "localhost:": "200", "[::1]:80": "200", "[::1]": "200", "127.0.0.1": "200", "a_b.example": "200",
		"localhost:abc": "400", "[::1": "400", "::1": "400", "[]": "400", "[a]": "400", "user@localhost": "400", "a/b": "400", "a?b": "400", "a b": "400", "localhost:-1": "400", "[::1]80": "400",
	} {
		answer := raw(t, addr, "GET /healthz HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
		assert.True(t, bytes.HasPrefix(answer, []byte("HTTP/1.1 "+status+" ")), "%s: %s", host, answer)
	}
}

func TestOtherMethodsAreToldWhatIsAllowed(t *testing.T) {
	fake := transporttest.NewFake(t)
	addr := serve(t, fake, fake, server.Config{})
	for target, allowed := range map[string]string{"/deploy": "POST", "/details": "GET"} {
		answer := raw(t, addr, "DELETE "+target+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
		require.NoError(t, err)
		assert.Equal(t, 405, res.StatusCode)
		assert.Contains(t, res.Header.Get("Allow"), allowed)
		res.Body.Close()
	}
}

// raw sends bytes and returns what comes back until the connection ends.
func raw(t *testing.T, addr, request string) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	answer, _ := io.ReadAll(conn)
	return answer
}
