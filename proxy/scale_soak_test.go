package proxy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/store"
	"github.com/Ishan27g/ryo-faas/transport"
)

// light is an agent that has functions and no processes, behind a real listener.
type light struct {
	*node
	feed transport.Feed

	mu   sync.Mutex // guards the field below:
	rows map[string]*proto.FunctionJsonRsp
}

func (l *light) Info() *proto.AgentInfo { return l.info }

func (l *light) set(fn *proto.FunctionJson) *proto.FunctionJsonRsp {
	l.mu.Lock()
	defer l.mu.Unlock()
	path := proto.Path(fn.GetName())
	row := &proto.FunctionJsonRsp{
		Name: fn.GetName(), Status: string(proto.Deployed), Package: fn.GetPackage(), Kind: "http", Proxy: "http://127.0.0.1:9", Instances: 1,
		Version: l.rows[path].GetVersion() + 1, Generation: l.rows[path].GetGeneration() + 1, Replicas: "1", Timeout: "30s", Idle: "5m", Auth: fn.GetAuth(),
		Since: time.Now().UTC().Format(time.RFC3339),
	}
	row.LastVersion = row.GetVersion()
	row.Serving = []*proto.Serving{{Version: row.GetVersion(), Weight: 100, Proxy: row.GetProxy(), Instances: 1}}
	l.rows[path] = row
	l.feed.Set(row)
	return protobuf.CloneOf(row)
}

func (l *light) Deploy(_ context.Context, fns ...*proto.FunctionJson) (rows []*proto.FunctionJsonRsp, err error) {
	for _, fn := range fns {
		rows = append(rows, l.set(fn))
	}
	return rows, nil
}

func (l *light) Versions(_ context.Context, name string) ([]*proto.Version, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	row := l.rows[proto.Path(name)]
	if row == nil {
		return nil, proto.Errorf(proto.ErrNotFound, "no %s", name)
	}
	return []*proto.Version{{
		Version: row.GetVersion(), Package: row.GetPackage(), Kind: "http", Weight: 100, Time: row.GetSince(),
		Settings: &proto.FunctionJson{Name: name, Env: map[string]string{"REGION": "eu-1", "LEVEL": "info"}},
	}}, nil
}

func (l *light) Watch(ctx context.Context, on func(*proto.WatchEvent) error) error {
	return l.feed.Watch(ctx, func(ev *proto.WatchEvent) error { ev.Agent = l.info; return on(ev) })
}

func (l *light) Stopped(context.Context, string) ([]*proto.FunctionJsonRsp, error) { return nil, nil }

func (l *light) Place(_ context.Context, name, _ string, _ map[string]string) (*proto.FunctionJsonRsp, error) {
	return &proto.FunctionJsonRsp{Name: name}, nil
}

// TestManyFunctions prints what functions cost a proxy, and how that grows: docs/scale.md.
func TestManyFunctions(t *testing.T) {
	if os.Getenv("E2E_SOAK") == "" {
		t.Skip("E2E_SOAK=1 runs it: minutes")
	}
	for _, functions := range []int{1000, 3000, 10000} {
		t.Run(fmt.Sprint(functions), func(t *testing.T) { manyFunctionsOn(t, functions, 100) })
	}
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

func manyFunctionsOn(t *testing.T, functions, agents int) {
	nodes := make([]*light, agents)
	var addrs []string
	fn := source(t, "Hello")
	for i := range nodes {
		n := newNode(t)
		n.stop()
		nodes[i] = &light{node: n, rows: map[string]*proto.FunctionJsonRsp{}}
		n.info = &proto.AgentInfo{Id: fmt.Sprintf("agent-%03d", i), Platform: "linux/amd64", GoVersion: "go1.26", Isolation: "full", Memory: 64 << 30, Cpus: 32, Ports: 1000}
		n.startAs(t, nodes[i])
		addrs = append(addrs, n.addr)
	}
	for i := range functions {
		nodes[i%agents].set(&proto.FunctionJson{Name: fmt.Sprint("F", i), Package: "sha256:" + fmt.Sprintf("%064d", i)})
	}
	before, dir := heap(), t.TempDir()
	begin := func() (p *running, engine *store.Engine, stop func()) {
		engine = store.New(store.Config{Dir: filepath.Join(dir, "engine")})
		require.NoError(t, engine.Start())
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		var running sync.WaitGroup
		running.Go(func() { engine.Run(ctx) })
		p = start(t, Config{Agents: addrs, Dir: dir, Store: engine, LostAfter: time.Minute})
		return p, engine, func() {
			p.stop()
			cancel()
			running.Wait()
			require.NoError(t, engine.Stop())
		}
	}
	until := func(p *running, is func() bool) time.Duration {
		began := time.Now()
		for !is() {
			require.Less(t, time.Since(began), 10*time.Minute)
			rest(t.Context(), 10*time.Millisecond)
		}
		return time.Since(began)
	}
	p, _, stop := begin()
	adopted := until(p, func() bool { return len(p.wishes.All()) == functions })
	stop()

	began := time.Now()
	p, _, stop = begin()
	defer stop()
	until(p, func() bool { return p.Ready() == nil && len(p.fleet.Rows()) == functions })
	restarted := time.Since(began)
	until(p, func() bool { return len(p.wishes.All()) == functions })

	c := p.dial(t, transport.RPC)
	median := func(times int, do func()) time.Duration {
		var all []time.Duration
		for range times {
			began := time.Now()
			do()
			all = append(all, time.Since(began))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	list := median(5, func() {
		rows, err := c.Details(t.Context())
		require.NoError(t, err)
		require.Len(t, rows, functions)
	})
	deploy := median(21, func() {
		_, err := c.Deploy(t.Context(), fn)
		require.NoError(t, err)
	})
	look := median(5, func() { require.NoError(t, p.compare(t.Context(), nil, true)) })
	var moves sync.WaitGroup
	tend := median(5, func() { p.tend(t.Context(), &moves) })
	moves.Wait()
	nodes[0].stop()
	lost := until(p, func() bool { return p.fleet.Problem(nodes[0].addr) != nil })
	nodes[0].startAs(t, nodes[0])
	back := until(p, func() bool { return p.fleet.Problem(nodes[0].addr) == nil })
	t.Logf("%d functions on %d agents: all noted %v, restart %v, list %v, deploy %v, look at wishes %v, look at places %v, an agent lost %v and back %v, heap %.0f MiB",
		functions, agents, adopted.Round(time.Millisecond), restarted.Round(time.Millisecond), list.Round(time.Millisecond), deploy.Round(100*time.Microsecond), look.Round(100*time.Microsecond), tend.Round(100*time.Microsecond), lost.Round(time.Millisecond), back.Round(time.Millisecond), heap()-before)
}
