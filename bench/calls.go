package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// connections are the loads: one call at a time, and those of a busy site.
var connections = []int{1, 64}

// way is one way to the function.
type way struct {
	name       string
	addr, path string
	gateway    *process // nil: none
}

// calls loads each way to the function in turn, in rounds that begin with a different
// way each, and measures the memory of the processes before and after.
func (s *stack) calls(ctx context.Context, e effort) ([]*table, error) {
	row, err := s.row(ctx, function)
	if err != nil {
		return nil, err
	}
	ways, stop, err := s.ways(ctx, row)
	defer stop()
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
	var tables []*table
	for _, conns := range connections {
		t, err := measureCalls(ctx, ways, conns, int(row.GetPid()), e)
		if err != nil {
			return nil, err
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
	return append(tables, holds), nil
}

// ways finds the function and starts nginx before it, if it is installed.
func (s *stack) ways(ctx context.Context, row *proto.FunctionJsonRsp) (all []way, stop func(), err error) {
	var started []*process
	stop = func() {
		for _, p := range started {
			p.stop()
		}
	}
	service, err := url.Parse(row.GetProxy())
	if err != nil {
		return nil, stop, err
	}
	service.Host = net.JoinHostPort("127.0.0.1", service.Port()) // nginx takes localhost for two servers
	path := "/" + proto.Path(function)
	all = []way{
		{name: "the function itself", addr: service.Host, path: path},
		{name: "through proxy", addr: s.proxyHTTP, path: "/functions" + path, gateway: s.proxy},
	}
	nginx, ok := findNginx()
	if !ok {
		return all, stop, nil
	}
	for i, upstream := range []struct{ name, server string }{{"TCP", service.Host}, {"unix socket", "unix:" + row.GetSocket()}} {
		p, addr, err := s.startNginx(ctx, nginx, fmt.Sprintf("nginx%d", i), upstream.server)
		if err != nil {
			return nil, stop, err
		}
		started = append(started, p)
		all = append(all, way{name: "through nginx, " + upstream.name, addr: addr, path: "/functions" + path, gateway: p})
	}
	return all, stop, nil
}

// measureCalls measures all ways at one number of connections.
func measureCalls(ctx context.Context, ways []way, conns, function int, e effort) (*table, error) {
	seen := make([]samples, len(ways))
	for round := range e.calls {
		for i := range ways {
			i = (i + round) % len(ways)
			l := load{Addr: ways[i].addr, Path: ways[i].path, Conns: conns, Warm: e.each / 5, For: e.each}
			if err := seen[i].add(ctx, l, ways[i].gateway, function); err != nil {
				return nil, fmt.Errorf("%s: %w", ways[i].name, err)
			}
		}
	}
	t := &table{head: []string{
		fmt.Sprintf("`GET` hello, %d connection%s, %d rounds of %v in turns", conns, plural(conns), e.calls, e.each),
		"calls/s [lowest–highest]", "p50", "p99", "gateway's CPU per call", "proxy's ÷ its", "function's CPU per call",
	}}
	own := summarize(seen[1].gateway).Median
	for i, w := range ways {
		m := seen[i]
		perSecond, gateway, ratio := summarize(m.perSecond), "–", "–"
		if w.gateway != nil {
			cpu := summarize(m.gateway).Median
			gateway, ratio = fmt.Sprintf("%.0f µs", cpu), fmt.Sprintf("%.1f ×", own/cpu)
		}
		t.add(w.name, fmt.Sprintf("%.0f [%.0f–%.0f]", perSecond.Median, perSecond.Min, perSecond.Max),
			fmt.Sprintf("%.2f ms", summarize(m.p50).Median/1000), fmt.Sprintf("%.2f ms", summarize(m.p99).Median/1000),
			gateway, ratio, fmt.Sprintf("%.0f µs", summarize(m.function).Median))
	}
	if len(ways) < 3 {
		t.add("through nginx: not measured, it is not installed (Debian: nginx-light)", "", "", "", "", "", "")
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
	before, err := cpuTimes(pids)
	if err != nil {
		return err
	}
	o, err := l.run(ctx)
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

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
