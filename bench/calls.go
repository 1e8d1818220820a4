package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/Ishan27g/ryo-faas/proto"
)

// callLoad is a kind of calls.
type callLoad struct {
	what   string
	name   string // of the function
	conns  int
	body   int
	secure bool
}

var callLoads = []callLoad{
	{what: "`GET` hello", name: function, conns: 1},
	{what: "`GET` hello", name: function, conns: 16},
	{what: "`GET` hello", name: function, conns: 64},
	{what: "`GET` hello", name: function, conns: 256},
	{what: "`GET` hello by TLS 1.3", name: function, conns: 64, secure: true},
	{what: "`POST` of 1 KiB", name: "Sink", conns: 64, body: 1 << 10},
	{what: "`POST` of 1 MiB", name: "Sink", conns: 4, body: 1 << 20},
}

// calls loads each way to the functions in turn, in rounds that begin with a different
// way each, and measures the memory of the processes before and after, and what idle
// connections take.
func (s *stack) calls(ctx context.Context, e effort) ([]*table, error) {
	row, err := s.row(ctx, function)
	if err != nil {
		return nil, err
	}
	programs := []struct {
		name string
		pid  int
	}{{"agent", s.agent.pid()}, {"proxy", s.proxy.pid()}, {"function", int(row.GetPid())}}
	holds := &table{head: []string{"memory", "resident", "private, dirty", "resident after the calls", "private, dirty after them"}}
	for _, p := range programs {
		if err := syncBinary(p.pid); err != nil {
			return nil, err
		}
		m, err := memoryOf(p.pid)
		if err != nil {
			return nil, err
		}
		holds.add(p.name, mib(m.RSS), mib(m.PrivateDirty))
	}
	sinkRow, err := s.deploySink(ctx)
	if err != nil {
		return nil, err
	}
	functions := map[string]*proto.FunctionJsonRsp{row.GetName(): row, sinkRow.GetName(): sinkRow}
	idle, err := s.idle(ctx, row, e) // before the loads: what they leave would be used again
	if err != nil {
		return nil, fmt.Errorf("idle connections: %w", err)
	}
	var tables []*table
	for _, l := range callLoads {
		t, err := s.measureCalls(ctx, l, functions[l.name], e)
		if err != nil {
			return nil, fmt.Errorf("%s, %d connections: %w", l.what, l.conns, err)
		}
		tables = append(tables, t)
	}
	for i, p := range programs {
		m, err := memoryOf(p.pid)
		if err != nil {
			return nil, err
		}
		holds.rows[i] = append(holds.rows[i], mib(m.RSS), mib(m.PrivateDirty))
	}
	_, err = s.client.Stop(ctx, sinkRow.GetName())
	return append(tables, holds, idle), err
}

func (s *stack) deploySink(ctx context.Context) (*proto.FunctionJsonRsp, error) {
	dir := filepath.Join(s.dir, "sink")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "sink.go"), []byte(sink), 0o600); err != nil {
		return nil, err
	}
	if _, err := settle(ctx, s.client, &proto.FunctionJson{Name: "Sink", Dir: dir, ToAgent: []string{s.agent.addr}}); err != nil {
		return nil, err
	}
	return s.row(ctx, "Sink")
}

// ways are the function itself, the proxy, and the gateways that are installed, which
// stop ends.
func (s *stack) ways(ctx context.Context, row *proto.FunctionJsonRsp) (all []gateway, stop func(), err error) {
	var started []gateway
	stop = func() {
		for _, g := range started {
			g.stop()
			_ = os.RemoveAll(s.folder(g.name))
		}
	}
	service, err := url.Parse(row.GetProxy())
	if err != nil {
		return nil, stop, err
	}
	service.Host = net.JoinHostPort("127.0.0.1", service.Port()) // nginx takes localhost for two servers
	add := func(g gateway, err error) error {
		if err == nil {
			started = append(started, g)
		}
		return err
	}
	if path, ok := find("nginx"); ok {
		if err := add(s.startNginx(ctx, path, "nginx, TCP", row.GetName(), service.Host)); err != nil {
			return nil, stop, err
		}
		if err := add(s.startNginx(ctx, path, "nginx, unix socket", row.GetName(), "unix:"+row.GetSocket())); err != nil {
			return nil, stop, err
		}
	}
	if path, ok := find("haproxy"); ok {
		if err := add(s.startHaproxy(ctx, path, "haproxy, TCP", row.GetName(), service.Host)); err != nil {
			return nil, stop, err
		}
	}
	if err := add(s.startSlow(ctx, "proxy, without its fast lane")); err != nil {
		return nil, stop, err
	}
	if err := add(s.startReverse(ctx, "Go's ReverseProxy, tuned, TCP", row.GetName(), service.Host)); err != nil {
		return nil, stop, err
	}
	all = []gateway{
		{name: "the function itself", addr: service.Host},
		{name: "proxy", addr: s.proxyHTTP, secure: s.proxyHTTP, prefix: "/functions", process: s.proxy},
	}
	return append(all, started...), stop, nil
}

// measureCalls measures all ways under one load. Gateways have a processor of their own,
// which callers and functions do not use.
func (s *stack) measureCalls(ctx context.Context, l callLoad, row *proto.FunctionJsonRsp, e effort) (*table, error) {
	all, stop, err := s.ways(ctx, row)
	defer stop()
	if err != nil {
		return nil, err
	}
	var ways []gateway
	for _, g := range all {
		if !l.secure || g.secure != "" {
			ways = append(ways, g)
		}
	}
	theirs := onFirst
	if runtime.NumCPU() == 1 {
		theirs = onAll
	}
	if err := pin(int(row.GetPid()), offFirst()); err != nil {
		return nil, err
	}
	for _, g := range ways {
		if g.process == nil {
			continue
		}
		if err := pin(g.pid(), theirs()); err != nil {
			return nil, err
		}
	}
	defer func() { _ = pin(s.proxy.pid(), onAll()) }() // which serves the rest of the run
	seen := make([]samples, len(ways))
	for round := range e.calls {
		for i := range ways {
			i = (i + round) % len(ways)
			addr := ways[i].addr
			if l.secure {
				addr = ways[i].secure
			}
			task := load{Addr: addr, Path: ways[i].prefix + "/" + proto.Path(l.name), Conns: l.conns, Body: l.body, Secure: l.secure, Warm: e.each / 5, For: e.each}
			if err := seen[i].add(ctx, task, ways[i].process, int(row.GetPid())); err != nil {
				return nil, fmt.Errorf("%s: %w", ways[i].name, err)
			}
		}
	}
	t := &table{head: []string{
		fmt.Sprintf("%s, %d connection%s, %d rounds of %v in turns", l.what, l.conns, plural(l.conns), e.calls, e.each),
		"calls/s", "p50", "p99", "gateway's CPU per call [lowest–highest]", "÷ nginx's, TCP", "function's CPU per call",
	}}
	var nginx float64
	for i, w := range ways {
		if w.name == "nginx, TCP" {
			nginx = summarize(seen[i].gateway).Median
		}
	}
	for i, w := range ways {
		m := seen[i]
		cpu, ratio := "–", "–"
		if w.process != nil {
			f := summarize(m.gateway)
			cpu = fmt.Sprintf("%.1f µs [%.1f–%.1f]", f.Median, f.Min, f.Max)
			if nginx > 0 {
				ratio = fmt.Sprintf("%.2f ×", f.Median/nginx)
			}
		}
		t.add(w.name, fmt.Sprintf("%.0f", summarize(m.perSecond).Median),
			fmt.Sprintf("%.2f ms", summarize(m.p50).Median/1000), fmt.Sprintf("%.2f ms", summarize(m.p99).Median/1000),
			cpu, ratio, fmt.Sprintf("%.1f µs", summarize(m.function).Median))
	}
	for _, name := range []string{"nginx", "haproxy"} {
		if _, ok := find(name); !ok {
			t.add(name+": not measured, it is not installed", "", "", "", "", "", "")
		}
	}
	return t, nil
}

// idle measures what connections take of a gateway that have made one call and wait for
// the next: at once, and after a while.
func (s *stack) idle(ctx context.Context, row *proto.FunctionJsonRsp, e effort) (*table, error) {
	ways, stop, err := s.ways(ctx, row)
	defer stop()
	if err != nil {
		return nil, err
	}
	ways = slices.DeleteFunc(ways, func(w gateway) bool { return w.process == nil })
	var before, now, later []int64
	measured := func(of *[]int64, w gateway) error {
		m, err := treeMemory(w.pid())
		*of = append(*of, m)
		return err
	}
	var all []*client
	defer func() { closeAll(all) }()
	for _, w := range ways {
		if err := measured(&before, w); err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		clients, err := load{Addr: w.addr, Path: "/functions/" + proto.Path(function), Conns: e.idle}.connect()
		all = append(all, clients...)
		if err := errors.Join(err, measured(&now, w)); err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	select {
	case <-time.After(e.rest):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t := &table{head: []string{fmt.Sprintf("each of %d idle connections costs, private, dirty", e.idle), "at once", fmt.Sprintf("after %.0f s", e.rest.Seconds())}}
	for i, w := range ways {
		if err := measured(&later, w); err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		each := func(m int64) string { return kib((m - before[i]) / int64(e.idle)) }
		t.add(w.name, each(now[i]), each(later[i]))
	}
	return t, nil
}

// samples are what the rounds of one way at one load measured.
type samples struct {
	perSecond, p50, p99, gateway, function []float64
}

// add measures one round.
func (m *samples) add(ctx context.Context, l load, gateway *process, function int) error {
	pids := []int{function}
	if gateway != nil {
		pids = append(pids, gateway.pid())
	}
	var before []time.Duration
	o, err := l.run(ctx, func() (err error) {
		before, err = cpuTimes(pids)
		return err
	})
	if err != nil {
		return err
	}
	after, err := cpuTimes(pids)
	if err != nil {
		return err
	}
	perCall := func(i int) float64 { return micros(after[i]-before[i]) / float64(o.All) }

	m.perSecond = append(m.perSecond, o.PerSec)
	m.p50 = append(m.p50, micros(o.P50))
	m.p99 = append(m.p99, micros(o.P99))
	m.function = append(m.function, perCall(0))
	if gateway != nil {
		m.gateway = append(m.gateway, perCall(1))
	}
	return nil
}

func cpuTimes(pids []int) ([]time.Duration, error) {
	times := make([]time.Duration, len(pids))
	for i, pid := range pids {
		var err error
		if times[i], err = cpuTime(pid); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// Sets of processors.
func onFirst() (set unix.CPUSet) {
	set.Set(0)
	return set
}

func onAll() (set unix.CPUSet) {
	for i := range runtime.NumCPU() {
		set.Set(i)
	}
	return set
}

// offFirst is all but the first, where there are several.
func offFirst() unix.CPUSet {
	set := onAll()
	if set.Count() > 1 {
		set.Clear(0)
	}
	return set
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
