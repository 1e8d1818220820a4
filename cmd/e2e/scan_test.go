//go:build linux

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// tunnel is a function that connects its caller with an address.
const tunnel = `package fn

import (
	"io"
	"net"
	"net/http"
)

func Tunnel(w http.ResponseWriter, r *http.Request) {
	far, err := net.Dial("tcp", r.URL.Query().Get("to"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer far.Close()
	near, in, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer near.Close()
	io.WriteString(near, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	go func() {
		io.Copy(far, in)
		far.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(near, far)
}
`

// through returns a way through the function, which is called by dial. It may not choose
// the address from which it calls: the kernel takes the one that it calls, where that is
// the machine's own.
func through(dial dialer, at string) func(ctx context.Context, from net.IP, addr string) (net.Conn, error) {
	return func(ctx context.Context, from net.IP, addr string) (net.Conn, error) {
		conn, err := dial(ctx, "tcp", at)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(conn, "GET /tunnel?to=%s:%s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", from, addr[strings.LastIndexByte(addr, ':')+1:])
		in := bufio.NewReader(conn)
		rsp, err := http.ReadResponse(in, nil)
		if err == nil && rsp.StatusCode != http.StatusSwitchingProtocols {
			err = errors.New(rsp.Status)
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		return readConn{conn, in}, nil
	}
}

// readConn is a connection of which some bytes have been read already.
type readConn struct {
	net.Conn
	in *bufio.Reader
}

func (c readConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// scanner is one who calls.
type scanner struct {
	name  string
	dial  func(ctx context.Context, from net.IP, addr string) (net.Conn, error)
	net   byte // first byte of its addresses, of which each is a peer of its own to wrong tokens
	tls   bool
	own   bool             // needs no token
	clear bool             // its tokens may have been read on their way
	far   bool             // calls from another machine
	agent *tls.Certificate // that an agent has

	conns map[string]*http.Transport // by address and protocol
}

// scanned counts the addresses that were used.
var scanned atomic.Uint32

// web returns a client for an address, whose connections stay until the end, or, for a
// single call, one that calls from an address of its own.
func (s *scanner) web(until context.Context, addr string, h2, single bool) *http.Transport {
	key := fmt.Sprint(addr, h2)
	if web := s.conns[key]; web != nil && !single {
		return web
	}
	from := make(net.IP, 4)
	binary.BigEndian.PutUint32(from, uint32(s.net)<<24|19<<16|scanned.Add(1))
	web := &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			conn, err := s.dial(ctx, from, addr)
			if err == nil {
				context.AfterFunc(until, func() { conn.Close() }) // of HTTP/2 some do not count as idle
			}
			return conn, err
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // whose certificate it is does not matter here
		Protocols:       new(http.Protocols),
	}
	if s.agent != nil {
		web.TLSClientConfig.Certificates, web.TLSClientConfig.ServerName = []tls.Certificate{*s.agent}, pki.ServerName
	}
	web.Protocols.SetHTTP1(!h2)
	web.Protocols.SetHTTP2(h2 && s.tls)
	web.Protocols.SetUnencryptedHTTP2(h2 && !s.tls)
	if s.conns == nil {
		s.conns = make(map[string]*http.Transport)
	}
	if !single {
		s.conns[key] = web
	}
	return web
}

// entrance is a way in at a program: a route over HTTP, or a method over gRPC.
type entrance struct {
	method, path string // gRPC: the method is ""
	scope        wire.Scope
	body         string // of which no call can be made
}

func (e entrance) String() string { return strings.TrimSpace(e.method + " " + e.path) }

// verdict is what a program makes of a call: whether it lets it in.
type verdict string

const (
	letIn   verdict = "let in"
	noToken verdict = "unauthenticated"
	noRight verdict = "forbidden"
	nothing verdict = "not found"
)

// ask makes a call, and returns the verdict and the beginning of what was answered.
func (s *scanner) ask(t *testing.T, addr string, e entrance, token string, single bool) (verdict, string) {
	t.Helper()
	method, rpc, body := e.method, e.method == "", e.body
	if rpc {
		method = http.MethodPost
		body = string(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body)))) + body
	}
	scheme := "http://"
	if s.tls {
		scheme = "https://"
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // also ends a stream
	req, err := http.NewRequestWithContext(ctx, method, scheme+addr+e.path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	if rpc {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	until := t.Context()
	if single {
		until = ctx
	}
	rsp, err := s.web(until, addr, rpc, single).RoundTrip(req)
	if !assert.NoError(t, err, "%s: %s", s.name, e) {
		return "", ""
	}
	defer rsp.Body.Close()
	answer := make([]byte, 4<<10)
	n, _ := rsp.Body.Read(answer)
	code := fmt.Sprint(rsp.StatusCode)
	if status := rsp.Header.Get("Grpc-Status"); status != "" {
		code = status
	} else if status := rsp.Trailer.Get("Grpc-Status"); status != "" {
		code = status
	}
	v, known := map[string]verdict{"401": noToken, withoutToken: noToken, "403": noRight, permissionDenied: noRight, "404": nothing, "5": nothing}[code]
	if !known {
		v = letIn
	}
	return v, string(answer[:n])
}

// entrances are all ways in that the tables know, those beside the tables, and some that
// are not there.
func entrances(t *testing.T, mounts []entrance) (web, rpc []entrance) {
	t.Helper()
	const bad = "\xff"
	const reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	web = []entrance{
		{"GET", "/", wire.ScopeRead, bad}, {"GET", "/healthz", wire.ScopeOpen, bad}, {"GET", "/readyz", wire.ScopeOpen, bad},
		{"GET", "/openapi.json", wire.ScopeRead, bad},
		{"GET", "/unknown", wire.ScopeDeploy, bad}, {"OPTIONS", "/deploy", wire.ScopeDeploy, bad}, {"DELETE", "/tokens", wire.ScopeDeploy, bad},
	}
	rpc = []entrance{
		{"", "/grpc.health.v1.Health/Check", wire.ScopeOpen, bad}, {"", "/no.such.Service/Method", wire.ScopeDeploy, bad},
		{"", reflection, wire.ScopeDeploy, bad}, {"", strings.Replace(reflection, "v1", "v1alpha", 1), wire.ScopeDeploy, bad},
	}
	for _, rt := range wire.Routes {
		path, _, last := strings.Cut(rt.Path, ":")
		if last {
			path += "x"
		}
		web = append(web, entrance{rt.Method, path, rt.Scope, bad})
	}
	for _, m := range mounts {
		m.body = bad
		web = append(web, m)
	}
	desc := proto.Functions_ServiceDesc
	for _, m := range desc.Methods {
		rpc = append(rpc, entrance{"", "/" + desc.ServiceName + "/" + m.MethodName, "", bad})
	}
	for _, m := range desc.Streams {
		rpc = append(rpc, entrance{"", "/" + desc.ServiceName + "/" + m.StreamName, "", bad})
	}
	for i, e := range rpc {
		if rt, ok := wire.RouteOf(e.path); ok {
			rpc[i].scope = rt.Scope
			if rt.Scope == wire.ScopeInvoke { // who may is decided by what is named: as in the path, x
				rpc[i].body = string(aimedAt(t, rt.RPC, "x"))
			}
		}
	}
	return web, rpc
}

// sender is a token, or none.
type sender struct {
	name, token string
	wrong       bool
	scopes      []wire.Scope // that it has
}

// rule is the one rule of who may call.
func rule(c *scanner, s sender, scope wire.Scope) verdict {
	switch {
	case scope == wire.ScopeOpen:
		return letIn
	case s.wrong:
		return noToken
	case c.agent != nil: // which controls nothing, not even itself
		return noRight
	case c.own:
		return letIn
	case s.token == "":
		return noToken
	case c.clear:
		return noRight
	case slices.Contains(s.scopes, scope):
		return letIn
	}
	return noRight
}

// Each way into agent and proxy is tried by everybody who could be there, with every kind
// of token: nothing is open that must not be, and nothing closed to those who may.
func TestScan(t *testing.T) {
	t.Parallel()
	m := newMachines(t, 2)
	here, there := m[0], m[1]
	for _, args := range [][]string{
		{"-n", there.name, "route", "add", "local", "198.19.0.0/16", "dev", "lo"}, // all of these are its addresses
		{"-n", here.name, "route", "add", "198.19.0.0/16", "via", there.addr},
		{"-n", here.name, "route", "add", "local", "126.19.0.0/16", "dev", "lo"},
	} {
		said, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput()
		require.NoError(t, err, "%s", said)
	}
	authority, dir := testkit.NewAuthority(t), t.TempDir()
	cert := authority.Issue(t, here.addr)
	write(t, dir, tree{"cert.pem": string(cert.Cert), "key.pem": string(cert.Key)})
	launch(t, here.command(t, "proxy", "-dir", t.TempDir(), "-functions", ":8080", "-tls-cert", filepath.Join(dir, "cert.pem"), "-tls-key", filepath.Join(dir, "key.pem")))
	cli := func(args ...string) string {
		t.Helper()
		r := here.cli(t, args...)
		require.Zero(t, r.code, r.stderr)
		return strings.TrimSpace(r.stdout)
	}
	printed := strings.Fields(cli("agents", "token"))
	state := t.TempDir()
	launch(t, here.command(t, "agent", "-dir", state, "-cache", cache(t), "-join", here.addr+":9001", "-token", printed[len(printed)-1]))
	eventually(t, func() bool { return strings.Contains(cli("agents"), " connected ") }, "it is not connected")
	member, err := tls.LoadX509KeyPair(filepath.Join(state, "agent", "identity.pem"), filepath.Join(state, "agent", "identity.pem"))
	require.NoError(t, err)
	cli("deploy", "-wait", "-name", "Tunnel", source(t, tunnel))
	cli("deploy", "-wait", "-name", "Shown", "-auth", "public", source(t, says("Shown", "open")))
	var rows []row
	require.NoError(t, json.Unmarshal([]byte(cli("-o", "json", "details")), &rows))
	function, ok := find(rows, "Tunnel")
	require.True(t, ok)
	fn, err := url.Parse(function.Proxy)
	require.NoError(t, err)

	// The tokens are made at the proxy, and hold at the agent.
	made := func(args ...string) string { return cli(append([]string{"token", "create"}, args...)...) }
	all := []string{"-scope", "read,invoke,deploy,admin"}
	id := func(secret string) string {
		var list []struct{ ID, Name string }
		require.NoError(t, json.Unmarshal([]byte(cli("-o", "json", "token", "list")), &list))
		for _, tok := range list {
			if tok.Name == secret {
				return tok.ID
			}
		}
		t.Fatal("no token", secret)
		return ""
	}
	gone := made(append(all, "-name", "gone")...)
	cli("token", "revoke", id("gone"))
	old := made(append(all, "-name", "old")...)
	cli("token", "rotate", "-grace", "0", id("old"))
	right := made("-scope", "deploy,invoke,admin")
	stranger, err := transporttest.Keeper(t).CreateToken(t.Context(), &proto.TokenRequest{Scopes: []string{"read", "invoke", "deploy", "admin"}})
	require.NoError(t, err)
	of := func(scopes ...wire.Scope) []wire.Scope { return append(scopes, wire.ScopeAny) }
	senders := []sender{
		{name: "no token"},
		{name: "half a token", token: right[:len(right)-9], wrong: true},
		{name: "another server's token", token: stranger.GetSecret(), wrong: true},
		{name: "a revoked token", token: gone, wrong: true},
		{name: "an expired token", token: old, wrong: true},
		{name: "read", token: made("-scope", "read"), scopes: of(wire.ScopeRead)},
		{name: "invoke", token: made("-scope", "invoke"), scopes: of(wire.ScopeInvoke)},
		{name: "another function's", token: made("-scope", "invoke", "-function", "Shown"), scopes: of()},
		{name: "deploy", token: made("-scope", "deploy"), scopes: of(wire.ScopeDeploy, wire.ScopeRead)},
		{name: "admin", token: made("-scope", "admin"), scopes: of(wire.ScopeAdmin)},
		{name: "right", token: right, scopes: of(wire.ScopeInvoke, wire.ScopeDeploy, wire.ScopeRead, wire.ScopeAdmin)},
	}

	// A relay each, since it passes on to one address.
	relays := map[string]string{}
	for _, port := range []string{"9000", "9001", "9002", "8080"} {
		require.NoError(t, here.run(func() {
			relays["127.0.0.1:"+port] = testkit.Relay(t, "127.0.0.1:"+port, testkit.As{UID: testkit.OtherUser})
		}))
	}
	local := func(ctx context.Context, from net.IP, addr string) (net.Conn, error) {
		return here.dialFrom(ctx, from, "tcp", addr)
	}
	remote := func(ctx context.Context, from net.IP, addr string) (net.Conn, error) {
		return there.dialFrom(ctx, from, "tcp", addr)
	}
	scanners := []*scanner{
		{name: "own uid", net: 127, dial: local, own: true},
		{name: "another user", net: 127, dial: func(ctx context.Context, from net.IP, addr string) (net.Conn, error) {
			return local(ctx, from, relays[addr])
		}},
		{name: "a function", net: 126, dial: through(here.dial, "127.0.0.1:"+fn.Port())},
		{name: "another machine", net: 198, dial: remote, clear: true, far: true},
		{name: "another machine by TLS", net: 198, dial: remote, tls: true, far: true},
		{name: "an agent", net: 198, dial: remote, tls: true, far: true, agent: &member},
	}
	programs := []struct {
		name, web, rpc string
		mounts         []entrance // that are in no table
	}{
		{"agent", "9000", "9000", []entrance{
			{method: "GET", path: "/metrics", scope: wire.ScopeRead}, {method: "GET", path: "/door/1", scope: wire.ScopeAdmin},
		}},
		{"proxy", "9002", "9001", []entrance{
			{method: "GET", path: "/functions/tunnel", scope: wire.ScopeInvoke}, {method: "GET", path: "/metrics", scope: wire.ScopeRead}, {method: "GET", path: "/sd", scope: wire.ScopeRead},
			{method: "GET", path: "/async/tunnel", scope: wire.ScopeInvoke}, {method: "GET", path: "/calls/tunnel", scope: wire.ScopeInvoke},
			{method: "GET", path: "/results/tunnel", scope: wire.ScopeInvoke}, {method: "POST", path: "/events", scope: wire.ScopeInvoke},
			{method: "GET", path: "/ui", scope: wire.ScopeOpen}, {method: "GET", path: "/ui/signin", scope: wire.ScopeOpen}, // asks for what it shows
		}},
	}
	for _, p := range programs {
		known := map[string]bool{}
		web, rpc := entrances(t, p.mounts)
		for _, e := range slices.Concat(web, rpc) {
			known[e.path] = true
		}
		var front struct{ Calls []struct{ Path string } }
		require.NoError(t, json.Unmarshal([]byte(frontOf(t, scanners[0], p.web)), &front))
		for _, c := range front.Calls {
			path, _, _ := strings.Cut(strings.NewReplacer("NAME", "tunnel", "ID", "tunnel").Replace(c.Path), "?")
			assert.True(t, known[path], "%s of the %s is not scanned: say here who may call it", path, p.name)
		}
	}
	calls := 0
	for _, c := range scanners {
		ip := "127.0.0.1"
		if c.far {
			ip = here.addr
		}
		for _, p := range programs {
			web, rpc := entrances(t, p.mounts)
			for _, e := range slices.Concat(web, rpc) {
				port := p.web
				if e.method == "" {
					port = p.rpc
				}
				for _, s := range senders {
					got, answer := c.ask(t, ip+":"+port, e, s.token, s.wrong)
					want := rule(c, s, e.scope)
					if got == nothing && want == letIn {
						got = letIn // of what is not there
					}
					assert.Equal(t, want, got, "%s, %s, at the %s: %s: %s", c.name, s.name, p.name, e, answer)
					calls++
				}
			}
		}
		// Of all that, nothing is there for callers of the published port, whoever they are.
		if c.clear || c.agent != nil {
			continue // all is sent to TLS there, and no certificate asked for
		}
		plain := *c
		plain.conns, plain.tls = nil, true
		web, rpc := entrances(t, nil)
		for _, e := range slices.Concat(web, rpc) {
			got, answer := plain.ask(t, ip+":8080", e, right, false)
			assert.Equal(t, nothing, got, "%s at the published port: %s: %s", c.name, e, answer)
			calls++
		}
		for _, s := range senders {
			for path, scope := range map[string]wire.Scope{"/functions/tunnel": wire.ScopeInvoke, "/functions/shown": wire.ScopeOpen} {
				anybody := *c
				anybody.own, anybody.clear, anybody.tls, anybody.conns = false, false, true, nil
				got, answer := anybody.ask(t, ip+":8080", entrance{method: "GET", path: path, scope: scope}, s.token, true)
				want := rule(&anybody, s, scope)
				switch {
				case s.wrong:
					want = noToken
				case s.token == "" && scope == wire.ScopeInvoke:
					want = nothing
				}
				assert.Equal(t, want, got, "%s, %s, at the published port: %s: %s", c.name, s.name, path, answer)
				calls++
			}
		}
	}
	t.Logf("%d calls", calls)

	// With a token for another function nothing of this one is shown or changed, by
	// whichever call.
	other := made("-scope", "read,invoke,deploy", "-function", "Shown")
	for _, c := range scanners[2:] {
		if c.clear {
			continue
		}
		ip := "127.0.0.1"
		if c.far {
			ip = here.addr
		}
		for _, rt := range wire.Routes {
			body := string(aimedAt(t, rt.RPC, "Tunnel"))
			for _, port := range []string{"9000", "9001"} {
				got, answer := c.ask(t, ip+":"+port, entrance{path: rt.RPC, scope: rt.Scope, body: body}, other, false)
				if got == letIn {
					assert.NotContains(t, answer, "unnel", "%s: %s", c.name, rt.RPC)
				}
			}
		}
	}
	var after []row
	require.NoError(t, json.Unmarshal([]byte(cli("-o", "json", "details")), &after))
	assert.Equal(t, rows, after, "something has changed")
}

// frontOf returns what GET / says.
func frontOf(t *testing.T, c *scanner, port string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port, http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Accept", "application/json")
	rsp, err := c.web(t.Context(), "127.0.0.1:"+port, false, false).RoundTrip(req)
	require.NoError(t, err)
	defer rsp.Body.Close()
	data, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	return string(data)
}

// aimedAt returns a message of a method of which every text is a name.
func aimedAt(t *testing.T, rpc, name string) []byte {
	t.Helper()
	full := strings.ReplaceAll(strings.TrimPrefix(rpc, "/"), "/", ".")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(full))
	require.NoError(t, err)
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.(protoreflect.MethodDescriptor).Input().FullName())
	require.NoError(t, err)
	msg := kind.New()
	fill(msg, name, 3)
	data, err := protobuf.Marshal(msg.Interface())
	require.NoError(t, err)
	return data
}

// fill sets every text of a message, and of those in it.
func fill(m protoreflect.Message, text string, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		value := func(v protoreflect.Value) protoreflect.Value {
			if f.Kind() == protoreflect.MessageKind {
				fill(v.Message(), text, depth-1)
				return v
			}
			return protoreflect.ValueOfString(text)
		}
		switch {
		case f.IsMap() || f.Kind() != protoreflect.StringKind && (f.Kind() != protoreflect.MessageKind || depth == 0):
		case f.IsList():
			list := m.Mutable(f).List()
			list.Append(value(list.NewElement()))
		default:
			m.Set(f, value(m.NewField(f)))
		}
	}
}
