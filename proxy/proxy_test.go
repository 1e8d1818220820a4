package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
)

// node is an agent for tests: a fake behind a real listener, and a service that
// answers calls of its functions with the node's address and the path.
type node struct {
	*transporttest.Fake
	addr    string
	service string // "": functions have those of the fake
	tokens  *auth.Keeper
	stop    func() // closes the agent, not the functions

	// What a test changes; nil: nothing.
	shown     func(*proto.FunctionJsonRsp)
	deploying func(*proto.FunctionJson) error
	changing  func() error // before a rollback or a shift
	keeping   func() error // before a program is stored
	building  func(context.Context) error
	info      *proto.AgentInfo
	wakes     atomic.Int32
}

func (n *node) Deploy(ctx context.Context, fns ...*proto.FunctionJson) ([]*proto.FunctionJsonRsp, error) {
	if n.deploying != nil {
		if err := n.deploying(fns[0]); err != nil {
			return nil, err
		}
	}
	return n.Fake.Deploy(ctx, fns...)
}

func (n *node) Rollback(ctx context.Context, fnName string, to uint32) ([]*proto.FunctionJsonRsp, error) {
	if n.changing != nil {
		if err := n.changing(); err != nil {
			return nil, err
		}
	}
	return n.Fake.Rollback(ctx, fnName, to)
}

func (n *node) Shift(ctx context.Context, fnName string, canary uint32) ([]*proto.FunctionJsonRsp, error) {
	if n.changing != nil {
		if err := n.changing(); err != nil {
			return nil, err
		}
	}
	return n.Fake.Shift(ctx, fnName, canary)
}

func (n *node) Build(ctx context.Context, fn *proto.FunctionJson) (*proto.Program, error) {
	if n.building != nil {
		if err := n.building(ctx); err != nil {
			return nil, err
		}
	}
	return n.Fake.Build(ctx, fn)
}

func (n *node) KeepProgram(ctx context.Context, p *proto.Program, r io.Reader) error {
	if n.keeping != nil {
		if err := n.keeping(); err != nil {
			return err
		}
	}
	return n.Fake.KeepProgram(ctx, p, r)
}

func (n *node) Wake(ctx context.Context, fnName string, version uint32) (*proto.Serving, error) {
	n.wakes.Add(1)
	return n.Fake.Wake(ctx, fnName, version)
}

func (n *node) Info() *proto.AgentInfo {
	if n.info != nil {
		return n.info
	}
	return n.Fake.Info()
}

// newNode starts an agent, whose functions go on when it is stopped.
func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{Fake: transporttest.NewFake(t), addr: testkit.Address(t)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, n.addr, r.URL.Path) }))
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	n.service = srv.URL
	n.start(t)
	return n
}

// start serves the agent at its address until stop is called or the test ends.
func (n *node) start(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp", n.addr)
	require.NoError(t, err)
	n.serve(t, l)
}

// startAs serves another agent at the address of the node.
func (n *node) startAs(t *testing.T, agent transport.Interface) {
	t.Helper()
	l, err := net.Listen("tcp", n.addr)
	require.NoError(t, err)
	n.serveAs(t, l, agent)
}

func (n *node) serve(t *testing.T, l net.Listener) { n.serveAs(t, l, n) }

func (n *node) serveAs(t *testing.T, l net.Listener, agent transport.Interface) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, agent, server.Config{Listeners: []net.Listener{l}, Store: n.Store(), Worker: n, Tokens: n.tokens})
	}()
	n.stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	t.Cleanup(n.stop)
}

// Watch tells that functions are at the node's service, if it has one.
func (n *node) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	return n.Fake.Watch(ctx, func(ev *proto.WatchEvent) error {
		for _, row := range ev.GetFunctions() {
			if n.shown != nil {
				n.shown(row)
			}
			if n.service == "" {
				continue
			}
			row.Proxy = n.service
			for _, s := range row.GetServing() {
				s.Proxy = n.service
			}
		}
		return on(ev)
	})
}

// names returns what runs on the node.
func (n *node) names(t *testing.T) (names []string) {
	t.Helper()
	rows, err := n.Details(t.Context())
	require.NoError(t, err)
	for _, row := range rows {
		names = append(names, row.GetName()+" "+row.GetStatus())
	}
	return names
}

// running is a proxy that serves.
type running struct {
	*Proxy
	http, rpc string
	stop      func()
}

// start serves a proxy until stop is called or the test ends.
func start(t *testing.T, cfg Config) *running {
	t.Helper()
	var listeners []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		listeners = append(listeners, l)
	}
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	cfg.HTTPPort, cfg.RPCPort = flags.Port(listeners[0]), flags.Port(listeners[1])
	p, err := New(cfg)
	require.NoError(t, err)
	serving, stopServing := context.WithCancel(context.Background())
	ctx, stopRunning := context.WithCancel(context.Background())
	served, ran := make(chan error, 1), make(chan error, 1)
	go func() { ran <- p.Run(ctx) }()
	go func() {
		served <- server.Serve(serving, p, server.Config{Listeners: listeners, Registrar: p, Scheduler: p, Certificates: p.authority, Store: p.store, Tokens: p.tokens, Record: p.record, Mounts: p.mounts(), Ready: p.Ready})
	}()
	r := &running{Proxy: p, http: listeners[0].Addr().String(), rpc: listeners[1].Addr().String()}
	r.stop = sync.OnceFunc(func() {
		stopServing()
		assert.NoError(t, <-served)
		stopRunning()
		assert.NoError(t, <-ran)
		assert.NoError(t, p.Close())
	})
	t.Cleanup(r.stop)
	return r
}

// dial returns a client of the proxy.
func (r *running) dial(t *testing.T, kind transport.Kind) *transport.Client {
	t.Helper()
	addr := r.http
	if kind == transport.RPC {
		addr = r.rpc
	}
	c := transport.NewAgent(kind, addr)
	t.Cleanup(func() { c.Close() })
	return c
}

// call calls a function and returns status and body.
func (r *running) call(t *testing.T, path string) (int, string) {
	t.Helper()
	res, err := client(t).Get("http://" + r.http + "/functions/" + path)
	require.NoError(t, err)
	return res.StatusCode, bodyOf(t, res)
}

// source writes a package that declares a function, and returns a deploy of it
// that waits.
func source(t testing.TB, name string, agents ...string) *proto.FunctionJson {
	t.Helper()
	return sourceOf(t, name, fmt.Sprintf("package p\n\nimport \"net/http\"\n\nfunc %s(w http.ResponseWriter, r *http.Request) {}\n", name), agents...)
}

func sourceOf(t testing.TB, name, text string, agents ...string) *proto.FunctionJson {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p.go"), []byte(text), 0o600))
	return &proto.FunctionJson{Name: name, Dir: dir, ToAgent: agents, Wait: true}
}

// With one machine nobody needs to say where functions run.
func TestTheAgentBesideTheProxyIsFound(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{Near: n.addr})
	c := p.dial(t, transport.RPC)
	rows, err := c.List(t.Context(), n.addr)
	require.ErrorIs(t, err, proto.ErrNotFound, "to ask adds none: %v", rows)
	elsewhere := newNode(t)
	_, err = c.Deploy(t.Context(), source(t, "Named", elsewhere.addr))
	require.NoError(t, err)
	assert.Empty(t, n.names(t))

	p = start(t, Config{Near: n.addr})
	rows, err = p.dial(t, transport.RPC).Deploy(t.Context(), source(t, "Found"))
	require.NoError(t, err)
	assert.Equal(t, []string{"Found Deployed " + n.addr}, deployedAt(rows))

	n.stop()
	p = start(t, Config{Near: n.addr})
	_, err = p.dial(t, transport.RPC).Deploy(t.Context(), source(t, "Lost"))
	require.ErrorContains(t, err, "no agent is known")
	assert.Empty(t, p.fleet.States(), "one that does not answer is not remembered")
}

func deployedAt(rows []*proto.FunctionJsonRsp) (list []string) {
	for _, row := range rows {
		list = append(list, fmt.Sprintf("%s %s %s", row.GetName(), row.GetStatus(), row.GetAtAgent()))
	}
	return list
}

func TestADeployedFunctionIsListedAndCalled(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{})
	for _, kind := range []transport.Kind{transport.RPC, transport.HTTP} {
		c := p.dial(t, kind)
		rows, err := c.Deploy(t.Context(), source(t, "HelloWorld", n.addr))
		require.NoError(t, err)
		require.Equal(t, []string{"HelloWorld Deployed " + n.addr}, deployedAt(rows))
		host := p.http // also for callers over RPC
		assert.Equal(t, "http://"+host+"/functions/helloworld", rows[0].GetUrl())

		for _, list := range []func() ([]*proto.FunctionJsonRsp, error){
			func() ([]*proto.FunctionJsonRsp, error) { return c.Details(t.Context()) },
			func() ([]*proto.FunctionJsonRsp, error) { return c.List(t.Context(), "http://"+n.addr) },
		} {
			rows, err := list()
			require.NoError(t, err)
			require.Equal(t, []string{"HelloWorld Deployed " + n.addr}, deployedAt(rows))
			assert.Equal(t, "http://"+host+"/functions/helloworld", rows[0].GetUrl())
			assert.Equal(t, n.service, rows[0].GetProxy())
		}
		status, body := p.call(t, "HelloWorld/a")
		assert.Equal(t, 200, status)
		assert.Equal(t, n.addr+"/helloworld/a", body)

		logs, err := c.Log(t.Context(), "HelloWorld")
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(logs.GetLogs(), "deploying at /helloworld\n"))
		assert.Equal(t, "http://"+host+"/functions/helloworld", logs.GetFunction().GetUrl())

		row, err := c.Stop(t.Context(), "HelloWorld")
		require.NoError(t, err)
		assert.Equal(t, []string{"HelloWorld Stopped " + n.addr}, deployedAt([]*proto.FunctionJsonRsp{row}))
		status, _ = p.call(t, "helloworld")
		assert.Equal(t, 404, status)
		rows, err = c.Details(t.Context())
		require.NoError(t, err)
		assert.Empty(t, rows)
	}
}

func TestPublicURLIsWhatRowsSay(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{URL: "https://public.example/ryo/"})
	rows, err := p.Deploy(t.Context(), source(t, "Hello", n.addr))
	require.NoError(t, err)
	assert.Equal(t, "https://public.example/ryo/functions/hello", rows[0].GetUrl())
}

func TestURLHasTheHostThatTheCallerAddressed(t *testing.T) {
	p := &Proxy{cfg: Config{HTTPPort: 9002}}
	for _, tt := range []struct {
		caller server.Caller
		base   string
	}{
		{server.Caller{}, "http://localhost:9002"},
		{server.Caller{Kind: transport.HTTP, Host: "gateway"}, "http://gateway"},
		{server.Caller{Kind: transport.HTTP, Host: "10.0.0.1:80"}, "http://10.0.0.1:80"},
		{server.Caller{Kind: transport.RPC, Host: "localhost:9001"}, "http://localhost:9002"},
		{server.Caller{Kind: transport.RPC, Host: "gateway"}, "http://gateway:9002"},
		{server.Caller{Kind: transport.RPC, Host: "[::1]:9001"}, "http://[::1]:9002"},
	} {
		assert.Equal(t, tt.base, p.base(tt.caller))
	}
}

func TestFunctionsSpreadOverTheLeastLoadedAgents(t *testing.T) {
	nodes := []*node{newNode(t), newNode(t), newNode(t)}
	p := start(t, Config{Agents: []string{nodes[0].addr, nodes[1].addr, nodes[2].addr}})
	var fns []*proto.FunctionJson
	for i := range 9 {
		fns = append(fns, source(t, fmt.Sprintf("F%d", i)))
	}
	rows, err := p.Deploy(t.Context(), fns...)
	require.NoError(t, err)
	require.Len(t, rows, 9)
	for _, n := range nodes {
		assert.Len(t, n.names(t), 3)
	}

	// Deployed again, each stays where it is.
	before := deployedAt(rows)
	rows, err = p.Deploy(t.Context(), fns...)
	require.NoError(t, err)
	assert.Equal(t, before, deployedAt(rows))
}

func TestReplicasMoveToTheAgentsThatAreNamed(t *testing.T) {
	a, b, c := newNode(t), newNode(t), newNode(t)
	p := start(t, Config{})
	rows, err := p.Deploy(t.Context(), source(t, "Hello", a.addr, b.addr, "http://"+a.addr))
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Deployed " + a.addr, "Hello Deployed " + b.addr}, deployedAt(rows))
	seen := map[string]bool{}
	for range 4 {
		_, body := p.call(t, "hello")
		seen[body] = true
	}
	assert.Equal(t, map[string]bool{a.addr + "/hello": true, b.addr + "/hello": true}, seen)

	// One that fails takes nothing away.
	rows, err = p.Deploy(t.Context(), sourceOf(t, "Hello", "package p\nfunc Hello(", c.addr))
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Failed " + c.addr}, deployedAt(rows))
	assert.Equal(t, []string{"Hello Deployed"}, a.names(t))
	assert.Equal(t, []string{"Hello Deployed"}, b.names(t))

	rows, err = p.Deploy(t.Context(), source(t, "Hello", b.addr, c.addr))
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Deployed " + b.addr, "Hello Deployed " + c.addr}, deployedAt(rows))
	assert.Empty(t, a.names(t))

	// Nobody waits for this one; it is followed all the same.
	fn := source(t, "Hello", a.addr)
	fn.Wait = false
	rows, err = p.Deploy(t.Context(), fn)
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Deploying " + a.addr}, deployedAt(rows))
	require.Eventually(t, func() bool { return len(b.names(t)) == 0 && len(c.names(t)) == 0 }, patience, time.Millisecond)
	assert.Equal(t, []string{"Hello Deployed"}, a.names(t))
}

func TestFailedRedeployIsToldAndLeavesTheOldServing(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{Agents: []string{n.addr}})
	_, err := p.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	rows, err := p.Deploy(t.Context(), sourceOf(t, "Hello", "package p\nfunc Hello("))
	require.NoError(t, err)
	require.Equal(t, []string{"Hello Failed " + n.addr}, deployedAt(rows))
	assert.Equal(t, proto.ReasonCheck, rows[0].GetReason())
	assert.NotEmpty(t, rows[0].GetError())

	rows, err = p.Details(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Deployed " + n.addr}, deployedAt(rows))
	assert.NotEmpty(t, rows[0].GetError())
	status, _ := p.call(t, "hello")
	assert.Equal(t, 200, status)
}

func TestWrongCallsChangeNothing(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{Agents: []string{n.addr}})
	_, err := p.Deploy(t.Context(), source(t, "Taken"))
	require.NoError(t, err)
	good := source(t, "Good")
	for name, tt := range map[string]struct {
		fns  []*proto.FunctionJson
		kind proto.Kind
	}{
		"no function":               {nil, proto.ErrInvalid},
		"null":                      {[]*proto.FunctionJson{good, nil}, proto.ErrInvalid},
		"a name that is none":       {[]*proto.FunctionJson{good, {Name: "../../x"}}, proto.ErrInvalid},
		"a folder that is not":      {[]*proto.FunctionJson{good, {Name: "A", Dir: "/none/such"}}, proto.ErrInvalid},
		"a package that is not":     {[]*proto.FunctionJson{good, {Name: "A", Package: "sha256:" + strings.Repeat("0", 64)}}, proto.ErrNotFound},
		"an address that is none":   {[]*proto.FunctionJson{good, source(t, "A", "nowhere")}, proto.ErrInvalid},
		"another machine":           {[]*proto.FunctionJson{good, source(t, "A", "10.0.0.1:9000")}, proto.ErrForbidden},
		"a name of another machine": {[]*proto.FunctionJson{good, source(t, "A", "localhost.example:9000")}, proto.ErrForbidden},
		"the proxy itself":          {[]*proto.FunctionJson{good, source(t, "A", p.rpc)}, proto.ErrInvalid},
		"twice":                     {[]*proto.FunctionJson{good, source(t, "Good")}, proto.ErrConflict},
		"two names, one path":       {[]*proto.FunctionJson{good, source(t, "GOOD")}, proto.ErrConflict},
		"a path that is taken":      {[]*proto.FunctionJson{good, source(t, "TAKEN")}, proto.ErrConflict},
	} {
		_, err := p.Deploy(t.Context(), tt.fns...)
		assert.ErrorIs(t, err, tt.kind, name)
		assert.Equal(t, []string{"Taken Deployed"}, n.names(t), name)
	}
}

func TestDeployToAnAgentThatDoesNotAnswer(t *testing.T) {
	n, dead := newNode(t), testkit.Address(t)
	p := start(t, Config{})
	_, err := p.Deploy(t.Context(), source(t, "Hello", dead))
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.Contains(t, err.Error(), dead+" does not answer: ")
	_, err = p.fleet.Known(dead)
	assert.ErrorIs(t, err, proto.ErrNotFound, "it never was an agent")

	rows, err := p.Deploy(t.Context(), source(t, "Hello", dead, n.addr), source(t, "Other", n.addr))
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Failed " + dead, "Hello Failed " + n.addr, "Other Deployed " + n.addr}, deployedAt(rows))
	assert.Equal(t, proto.ReasonUnreachable, rows[0].GetReason())
	assert.Contains(t, rows[0].GetError(), dead)
	assert.Equal(t, proto.ReasonRollout, rows[1].GetReason())
	assert.Equal(t, []string{"Other Deployed"}, n.names(t), "nothing is changed where the others cannot follow")

	_, err = p.List(t.Context(), dead)
	assert.ErrorIs(t, err, proto.ErrNotFound)
}

func TestWithoutAgents(t *testing.T) {
	p := start(t, Config{})
	_, err := p.Deploy(t.Context(), source(t, "Hello"))
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.NotEmpty(t, proto.AsError(err).Hint)
	rows, err := p.Details(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []*proto.FunctionJsonRsp{}, rows)
	_, err = p.Stop(t.Context(), "Hello")
	assert.ErrorIs(t, err, proto.ErrNotFound)
	_, err = p.Log(t.Context(), "")
	assert.ErrorIs(t, err, proto.ErrNotFound)
	status, _ := p.call(t, "hello")
	assert.Equal(t, 503, status)
}

func TestUnreachableAgentKeepsRowsAndRoutesAndComesBack(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{Agents: []string{n.addr}})
	_, err := p.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)

	n.stop()
	var rows []*proto.FunctionJsonRsp
	require.Eventually(t, func() bool {
		rows, err = p.Details(t.Context())
		return err == nil && len(rows) == 1 && rows[0].GetError() != ""
	}, patience, time.Millisecond)
	assert.Equal(t, []string{"Hello Deployed " + n.addr}, deployedAt(rows))
	assert.Contains(t, rows[0].GetError(), "does not answer since 20")
	status, body := p.call(t, "hello")
	assert.Equal(t, 200, status, "its functions live on")
	assert.Equal(t, n.addr+"/hello", body)
	for _, err := range []error{
		func() error { _, err := p.Stop(t.Context(), "Hello"); return err }(),
		func() error { _, err := p.Log(t.Context(), "Hello"); return err }(),
		func() error { _, err := p.Deploy(t.Context(), source(t, "Hello")); return err }(),
	} {
		assert.ErrorIs(t, err, proto.ErrUnavailable)
		assert.Contains(t, err.Error(), n.addr)
	}
	status, _ = p.call(t, "hello")
	assert.Equal(t, 200, status, "a stop that failed took no route")

	n.start(t)
	_, err = p.Stop(t.Context(), "Hello") // tries at once
	require.NoError(t, err)
	rows, err = p.Details(t.Context())
	require.NoError(t, err)
	assert.Empty(t, rows)
}

func TestChangesOfAnUnreachableAgentAreSeenLater(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{Agents: []string{n.addr}})
	_, err := p.Deploy(t.Context(), source(t, "Old"), source(t, "Same"))
	require.NoError(t, err)
	events := make(chan *proto.WatchEvent, 100)
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan error, 1)
	go func() {
		watched <- p.Watch(ctx, func(ev *proto.WatchEvent) error { events <- ev; return nil })
	}()
	assert.True(t, (<-events).GetSnapshot())

	n.stop()
	_, err = n.Stop(t.Context(), "Old")
	require.NoError(t, err)
	_, err = n.Deploy(t.Context(), source(t, "New"))
	require.NoError(t, err)
	n.start(t)

	state := map[string]string{}
	require.Eventually(t, func() bool {
		select {
		case ev := <-events:
			for _, row := range ev.GetFunctions() {
				state[row.GetName()] = row.GetStatus() + row.GetError()
			}
		default:
		}
		return assert.ObjectsAreEqual(map[string]string{"Old": "Stopped", "New": "Deployed", "Same": "Deployed"}, state)
	}, patience, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-watched, context.Canceled)
	status, _ := p.call(t, "new")
	assert.Equal(t, 200, status)
	status, _ = p.call(t, "old")
	assert.Equal(t, 404, status)
}

func TestWhatIsRemovedWhileAnAgentIsAwayDoesNotComeBack(t *testing.T) {
	n, away := newNode(t), newNode(t)
	dir := t.TempDir()
	p := start(t, Config{Dir: dir})
	for _, fn := range []*proto.FunctionJson{source(t, "Stopped", n.addr, away.addr), source(t, "Serves", n.addr, away.addr), source(t, "Stays", away.addr)} {
		_, err := p.Deploy(t.Context(), fn)
		require.NoError(t, err)
	}
	_, err := p.Stop(t.Context(), "Stopped")
	require.NoError(t, err)
	away.stop()
	require.Eventually(t, func() bool { return p.fleet.Problem(away.addr) != nil }, patience, time.Millisecond)

	for _, name := range []string{"Stopped", "Serves"} {
		row, err := p.Remove(t.Context(), name)
		require.NoError(t, err)
		assert.Equal(t, string(proto.Stopped), row.GetStatus())
		assert.Contains(t, row.GetError(), away.addr)
		assert.NotContains(t, row.GetError(), n.addr)
	}
	rows, err := p.Details(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"Stays Deployed " + away.addr}, deployedAt(rows))
	status, _ := p.call(t, "serves")
	assert.Equal(t, 404, status)
	_, err = p.Remove(t.Context(), "Serves")
	require.ErrorIs(t, err, proto.ErrNotFound)

	p.stop()
	away.start(t)
	p = start(t, Config{Dir: dir})
	rows, err = p.Details(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"Stays Deployed " + away.addr}, deployedAt(rows))
	assert.Equal(t, []string{"Stays Deployed"}, away.names(t))
	rows, err = p.Stopped(t.Context(), "")
	require.NoError(t, err)
	assert.Empty(t, rows)

	// It is done once.
	_, err = p.Deploy(t.Context(), source(t, "Serves", away.addr))
	require.NoError(t, err)
	p.stop()
	p = start(t, Config{Dir: dir})
	rows, err = p.Details(t.Context())
	require.NoError(t, err)
	assert.Len(t, rows, 2)
}

func TestWhatWasDeployedSinceItsRemovalStays(t *testing.T) {
	n := newNode(t)
	_, err := n.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "removals.json"), []byte(`{"removals": [{"agent": "`+n.addr+`", "name": "Hello", "at": "2020-01-02T03:04:05Z"}]}`), 0o600))
	p := start(t, Config{Dir: dir, Agents: []string{n.addr}})
	rows, err := p.Details(t.Context())
	require.NoError(t, err)
	assert.Len(t, rows, 1)
}

func TestRoutesComeBackAfterARestart(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	p := start(t, Config{Dir: dir})
	_, err := p.Deploy(t.Context(), source(t, "Hello", n.addr))
	require.NoError(t, err)
	p.stop()

	p = start(t, Config{Dir: dir})
	rows, err := p.Details(t.Context()) // waits for the agents of before
	require.NoError(t, err)
	assert.Equal(t, []string{"Hello Deployed " + n.addr}, deployedAt(rows))
	require.NoError(t, p.Ready())
	status, body := p.call(t, "hello")
	assert.Equal(t, 200, status)
	assert.Equal(t, n.addr+"/hello", body)
}

func TestReplicasComeBackAfterARestart(t *testing.T) {
	one, two := newNode(t), newNode(t)
	dir := t.TempDir()
	p := start(t, Config{Dir: dir})
	_, err := p.Deploy(t.Context(), source(t, "Hello", one.addr, two.addr))
	require.NoError(t, err)
	p.stop()

	p = start(t, Config{Dir: dir})
	rows, err := p.Details(t.Context())
	require.NoError(t, err)
	require.Len(t, rows, 2)
	for _, row := range rows {
		assert.Empty(t, row.GetError())
	}
	answers := map[string]bool{}
	for range 8 {
		_, body := p.call(t, "hello")
		answers[body] = true
	}
	assert.Len(t, answers, 2, "both get calls")
}

func TestListOfAnAgentThatDoesNotAnswerIsNotEmpty(t *testing.T) {
	n := newNode(t)
	dir := t.TempDir()
	p := start(t, Config{Dir: dir})
	_, err := p.Deploy(t.Context(), source(t, "Hello", n.addr))
	require.NoError(t, err)
	p.stop()
	n.stop()

	_, err = start(t, Config{Dir: dir}).List(t.Context(), n.addr)
	require.ErrorIs(t, err, proto.ErrUnavailable)
	assert.ErrorContains(t, err, n.addr)
}

func TestUnknownFunctionsAreNotDeniedTooEarly(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	require.NoError(t, err)
	defer silent.Close()
	p := start(t, Config{Agents: []string{silent.Addr().String()}})
	require.ErrorIs(t, p.Ready(), proto.ErrUnavailable)
	res, err := client(t).Get("http://" + p.http + "/functions/hello")
	require.NoError(t, err)
	assert.Equal(t, 503, res.StatusCode)
	assert.NotEmpty(t, res.Header.Get("Retry-After"))
	assert.Equal(t, "starting", errorOf(t, res)["reason"])
}

func TestFunctionOfAnUnreachableAgentThatIsDownToo(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{Agents: []string{n.addr}})
	_, err := p.Deploy(t.Context(), source(t, "Hello"))
	require.NoError(t, err)
	n.service = "http://" + testkit.Address(t)
	n.stop()
	n.start(t) // tells of the new service
	require.Eventually(t, func() bool { status, _ := p.call(t, "hello"); return status == 502 }, patience, time.Millisecond)
	n.stop()
	require.Eventually(t, func() bool { status, _ := p.call(t, "hello"); return status == 503 }, patience, time.Millisecond)
}

func TestFiftyDeploysAtOnce(t *testing.T) {
	a, b := newNode(t), newNode(t)
	p := start(t, Config{Agents: []string{a.addr, b.addr}})
	c := p.dial(t, transport.RPC)
	var deploys sync.WaitGroup
	for i := range 50 {
		fn := source(t, fmt.Sprintf("F%d", i%40)) // ten are deployed twice
		deploys.Go(func() {
			rows, err := c.Deploy(t.Context(), fn)
			if assert.NoError(t, err) && rows[0].GetStatus() != string(proto.Deployed) {
				assert.Contains(t, rows[0].GetError(), "replaced by a later deploy") // the first of two
			}
		})
	}
	deploys.Wait()
	rows, err := p.Details(t.Context())
	require.NoError(t, err)
	assert.Len(t, rows, 40)
	assert.InDelta(t, 20, len(a.names(t)), 1)
	for i := range 40 {
		status, _ := p.call(t, fmt.Sprintf("f%d", i))
		assert.Equal(t, 200, status)
	}
}

func TestConformance(t *testing.T) {
	for name, reach := range map[string]func(*testing.T, *running) transport.Interface{
		"in process": func(_ *testing.T, p *running) transport.Interface { return p },
		"rpc":        func(t *testing.T, p *running) transport.Interface { return p.dial(t, transport.RPC) },
		"http":       func(t *testing.T, p *running) transport.Interface { return p.dial(t, transport.HTTP) },
	} {
		t.Run(name, func(t *testing.T) {
			transporttest.Run(t, func(t *testing.T) transport.Interface {
				n := newNodes(t, 1)[0]
				return reach(t, start(t, Config{Agents: []string{n.addr}}))
			})
		})
	}
}

func TestTheUserOfAnAgentOnThisMachineIsKnown(t *testing.T) {
	n := newNode(t)
	p := start(t, Config{Agents: []string{n.addr}})
	require.Eventually(t, func() bool { return len(p.fleet.Connected()) == 1 }, patience, time.Millisecond)
	assert.Equal(t, os.Getuid(), p.fleet.Connected()[0].User)
}

// While an agent does not run, any user may answer at its port.
func TestAStrangerAtAnAgentsPortIsNoAgent(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("it takes root to be another user")
	}
	n := newNode(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- server.Serve(ctx, n, server.Config{Listeners: []net.Listener{l}, Store: n.Store(), Worker: n, Insecure: true})
	}()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, <-served)
	})
	stranger := testkit.Relay(t, l.Addr().String(), testkit.As{UID: testkit.OtherUser})
	p := start(t, Config{Agents: []string{stranger}})
	require.Eventually(t, func() bool {
		problem := p.fleet.Problem(stranger)
		return problem != nil && strings.Contains(problem.Error(), "runs as the user 65534, whom this proxy does not trust")
	}, patience, time.Millisecond)
	assert.Empty(t, p.fleet.Connected())

	trust, err := server.ParseTrust("65534")
	require.NoError(t, err)
	p = start(t, Config{Agents: []string{stranger}, Trust: trust})
	require.Eventually(t, func() bool { return len(p.fleet.Connected()) == 1 }, patience, time.Millisecond)
	assert.Equal(t, testkit.OtherUser, p.fleet.Connected()[0].User)
}
