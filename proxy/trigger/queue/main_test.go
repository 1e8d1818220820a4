package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/proxy/store/storetest"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test.
const patience = testkit.Patience

// rig is a proxy's gateway with a queue, and functions behind it.
type rig struct {
	t      testing.TB
	store  store.Store
	table  *gateway.Table
	queue  *Queue
	base   string // of its url
	public string // the same, of the listener for everybody
	client *http.Client

	stop func()
}

// newRig serves functions, with a backoff that tests can wait for. It is stopped with the
// test.
func newRig(t testing.TB, s store.Store, more ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, store: s, table: gateway.NewTable(), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: patience}}
	g := gateway.New(gateway.Config{
		Table: r.table, Admit: server.Admit, Whose: server.Whose, Stranger: func(*http.Request) bool { return false }, Logger: hclog.NewNullLogger(),
		Unknown: func(segment string) error {
			return proto.Errorf(proto.ErrNotFound, "function %q not found", segment).From("gateway", "not_found")
		},
		AgentErr: func(string) *proto.Error { return nil },
		Later:    func(ctx context.Context) []gateway.Later { return r.queue.Counts(ctx) },
	})
	cfg := Config{Store: s, Gateway: g, Admit: server.Admit, Backoff: time.Millisecond, Callbacks: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	for _, m := range more {
		m(&cfg)
	}
	r.queue = New(cfg)
	var listeners []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		listeners = append(listeners, l)
	}
	r.base, r.public = "http://"+listeners[0].Addr().String(), "http://"+listeners[1].Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	nothing := transporttest.NewFake(t)
	later := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if Prefers(req.Header) {
			r.queue.ServeHTTP(w, req)
			return
		}
		g.ServeHTTP(w, req)
	})
	running.Go(func() { r.queue.Run(ctx) })
	running.Go(func() {
		assert.NoError(t, server.Serve(ctx, nothing, server.Config{
			Listeners: listeners[:1], Public: listeners[1:], Insecure: true, Dispatcher: r.queue,
			Mounts: []server.Mount{
				{Path: gateway.Prefix, Scope: wire.ScopeInvoke, Handler: later},
				{Path: AsyncPath, Scope: wire.ScopeInvoke, Handler: r.queue},
				{Path: CallsPath, Scope: wire.ScopeInvoke, Handler: r.queue.State()},
				{Path: ResultsPath, Scope: wire.ScopeInvoke, Handler: r.queue.Results()},
				{Path: "/metrics", Scope: wire.ScopeRead, Handler: g.Metrics()},
			},
		}))
	})
	r.stop = sync.OnceFunc(func() {
		r.client.CloseIdleConnections()
		cancel()
		running.Wait()
		r.table.Clear()
		g.Close()
	})
	t.Cleanup(r.stop)
	return r
}

// deploy makes a handler a function of the rig.
func (r *rig) deploy(name string, h http.HandlerFunc, set ...func(*proto.FunctionJsonRsp)) {
	srv := httptest.NewServer(h)
	r.t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	r.route(name, srv.Listener.Addr().String(), set...)
}

// route leads a function to an address.
func (r *rig) route(name, address string, set ...func(*proto.FunctionJsonRsp)) {
	row := &proto.FunctionJsonRsp{
		Name: name, Status: string(proto.Deployed), AtAgent: "localhost:9000", Proxy: "http://" + address, Instances: 1, Pid: 1,
	}
	for _, s := range set {
		s(row)
	}
	r.table.Update(map[string][]gateway.Replica{proto.Path(name): {{Row: row}}})
}

func (r *rig) remove(name string) {
	r.table.Update(map[string][]gateway.Replica{proto.Path(name): nil})
}

// retries is the setting of that name.
func retries(n uint32) func(*proto.FunctionJsonRsp) {
	return func(row *proto.FunctionJsonRsp) { row.Tries = n + 1 }
}

// send sends a request, with header lines as pairs.
func (r *rig) send(method, url string, body io.Reader, header ...string) *http.Response {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, body)
	require.NoError(r.t, err)
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := r.client.Do(req)
	require.NoError(r.t, err)
	return res
}

// accept calls a function later, and returns the call's id.
func (r *rig) accept(target, body string, header ...string) string {
	r.t.Helper()
	res := r.send(http.MethodPost, r.base+target, strings.NewReader(body), header...)
	text := textOf(r.t, res)
	require.Equal(r.t, http.StatusAccepted, res.StatusCode, text)
	var a accepted
	require.NoError(r.t, json.Unmarshal([]byte(text), &a))
	assert.Equal(r.t, "/calls/"+a.ID, a.URL)
	assert.Equal(r.t, a.URL, res.Header.Get("Location"))
	return a.ID
}

func textOf(t testing.TB, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(b)
}

// call returns what is told of a call over HTTP.
func (r *rig) call(id, query string) *proto.Call {
	r.t.Helper()
	res := r.send(http.MethodGet, r.base+CallsPath+id+query, http.NoBody)
	text := textOf(r.t, res)
	require.Equal(r.t, http.StatusOK, res.StatusCode, text)
	c := new(proto.Call)
	require.NoError(r.t, wire.Read([]byte(text), c))
	return c
}

// ends waits for the end of a call.
func (r *rig) ends(id, state string) *proto.Call {
	r.t.Helper()
	c := r.call(id, "?wait="+patience.String())
	require.Equal(r.t, state, c.GetState(), "%v", c)
	return c
}

// until waits for a state of a call.
func (r *rig) until(id, state string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.call(id, "").GetState() == state }, patience, 5*time.Millisecond, state)
}

// seen is what a function saw.
type seen struct {
	method, target, body string
	header               http.Header
}

// told is a function that notes what it sees, and answers with statuses, one after the
// other, then 200.
func told(statuses ...int) (http.HandlerFunc, <-chan seen) {
	all := make(chan seen, 1000)
	var n atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		all <- seen{r.Method, r.RequestURI, string(body), r.Header}
		if i := int(n.Add(1)); i <= len(statuses) {
			w.WriteHeader(statuses[i-1])
		}
		_, _ = fmt.Fprintf(w, "saw %s", body)
	}, all
}

func next(t testing.TB, all <-chan seen) seen {
	t.Helper()
	select {
	case s := <-all:
		return s
	case <-time.After(patience):
		require.Fail(t, "the function was not called")
		return seen{}
	}
}

// stores are the stores that the behaviour is the same with.
func stores(t *testing.T, test func(t *testing.T, s store.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, storetest.New()) })
	t.Run("engine", func(t *testing.T) { test(t, engine(t)) })
}

func bytesOf(n int) []byte { return bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n] }

// engine returns an open store on the disk.
func engine(t testing.TB) *store.Engine {
	e := store.New(store.Config{Dir: t.TempDir(), Logger: hclog.NewNullLogger()})
	require.NoError(t, e.Start())
	t.Cleanup(func() { assert.NoError(t, e.Stop()) })
	return e
}
