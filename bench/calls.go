package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// connections are the loads: one call at a time, and as many as a busy site has.
var connections = []int{1, 64}

// The ways to the function.
const (
	wayDirect    = "function itself"
	wayProxy     = "proxy"
	wayNginxTCP  = "nginx, TCP"
	wayNginxUnix = "nginx, unix socket"
)

// way is one way to the function.
type way struct {
	name       string
	addr, path string
	gateway    *program // nil: there is none between
}

// callFigures are those of one way at one number of connections.
type callFigures struct {
	Way         string  `json:"way"`
	Connections int     `json:"connections"`
	PerSecond   figure  `json:"callsPerSecond"`
	P50         figure  `json:"p50Micros"`
	P99         figure  `json:"p99Micros"`
	GatewayCPU  *figure `json:"gatewayCPUMicrosPerCall,omitempty"`
	FunctionCPU figure  `json:"functionCPUMicrosPerCall"`
}

// ways finds the function and starts nginx before it, when there is one.
func (s *stack) ways(ctx context.Context) (all []way, missing string, stop func(), err error) {
	var started []*program
	stop = func() {
		for _, p := range started {
			p.close()
		}
	}
	row, err := s.row(ctx)
	if err != nil {
		return nil, "", stop, err
	}
	service, err := url.Parse(row.GetProxy())
	if err != nil {
		return nil, "", stop, err
	}
	service.Host = net.JoinHostPort("127.0.0.1", service.Port()) // nginx takes localhost for two servers
	path := "/" + proto.Path(function)
	all = []way{
		{name: wayDirect, addr: service.Host, path: path},
		{name: wayProxy, addr: s.proxyHTTP, path: "/functions" + path, gateway: s.proxy},
	}
	nginx, ok := findNginx()
	if !ok {
		return all, "nginx is not installed (Debian: nginx-light), so it is not measured", stop, nil
	}
	upstreams := []struct{ name, server string }{{wayNginxTCP, service.Host}}
	if row.GetSocket() != "" {
		upstreams = append(upstreams, struct{ name, server string }{wayNginxUnix, "unix:" + row.GetSocket()})
	}
	for i, u := range upstreams {
		p, addr, err := s.startNginx(ctx, nginx, fmt.Sprintf("nginx%d", i), u.server)
		if err != nil {
			return nil, "", stop, err
		}
		started = append(started, p)
		all = append(all, way{name: u.name, addr: addr, path: "/functions" + path, gateway: p})
	}
	return all, "", stop, nil
}

// measureCalls loads each way in turn, round after round, the first one a
// different one each time.
func (s *stack) measureCalls(ctx context.Context, ways []way, rounds int, each time.Duration) ([]callFigures, error) {
	row, err := s.row(ctx)
	if err != nil {
		return nil, err
	}
	var figures []callFigures
	for _, conns := range connections {
		seen := make([]samples, len(ways))
		for round := range rounds {
			for i := range ways {
				i = (i + round) % len(ways)
				l := load{Addr: ways[i].addr, Path: ways[i].path, Conns: conns, Warm: each / 5, For: each}
				if err := seen[i].add(ctx, l, ways[i].gateway, int(row.GetPid())); err != nil {
					return nil, fmt.Errorf("%s: %w", ways[i].name, err)
				}
			}
		}
		for i, w := range ways {
			f := seen[i].figures()
			f.Way, f.Connections = w.name, conns
			figures = append(figures, f)
		}
	}
	return figures, nil
}

// samples are what the rounds of one way at one load measured.
type samples struct {
	perSecond, p50, p99, gateway, function []float64
}

// add measures one round.
func (m *samples) add(ctx context.Context, l load, gateway *program, function int) error {
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

func (m *samples) figures() callFigures {
	f := callFigures{
		PerSecond: summarize(m.perSecond), P50: summarize(m.p50), P99: summarize(m.p99),
		FunctionCPU: summarize(m.function),
	}
	if len(m.gateway) > 0 {
		gateway := summarize(m.gateway)
		f.GatewayCPU = &gateway
	}
	return f
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
