package remote

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/process"
)

// run owns totals: count adds to it, account copies it. The caller's goroutine asks the
// processes.

// readLimit is how long all processes may take to say what they use. For a process that
// has not answered by then the last reading is reported.
const readLimit = 2 * time.Second

// reading is what a process has done and uses.
type reading struct {
	process.Stats
	process.Usage
}

// plus adds what grows with time.
func (r reading) plus(s reading) reading {
	r.Requests += s.Requests
	r.Received += s.Received
	r.Sent += s.Sent
	r.CPU += s.CPU
	return r
}

// read asks a process for a reading. With an error it returns the last one.
func (p *instance) read(ctx context.Context) (reading, error) {
	stats, err := p.Stats(ctx)
	used, usageErr := p.Usage()
	if err := errors.Join(err, usageErr); err != nil {
		if last := p.last.Load(); last != nil {
			return *last, err
		}
		return reading{}, err
	}
	r := reading{stats, used}
	p.last.Store(&r)
	return r, nil
}

// count adds what a process that has exited has done to its version's total.
func (f *function) count(p *instance) {
	if last := p.last.Load(); last != nil && f.history.Find(p.serves().Number) != nil {
		number := p.serves().Number
		f.totals[number] = f.totals[number].plus(*last)
	}
}

// account is what a function uses.
type account struct {
	name     string
	restarts uint32
	procs    []*instance
	readings []reading          // of procs, in their order
	exited   map[uint32]reading // by version: of processes that have exited
}

// accounts reads the account of one function, or, for "", of all.
func (a *Agent) accounts(ctx context.Context, name string) ([]account, error) {
	names := []string{name}
	if name == "" {
		names = nil
		rows, err := a.Details(ctx)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			names = append(names, row.GetName())
		}
	}
	var list []account
	for _, each := range names {
		acc, err := ask(ctx, a, each, func(f *function) (account, error) { return f.account(), nil })
		if name == "" && ctx.Err() == nil && (errors.Is(err, proto.ErrNotFound) || errors.Is(err, proto.ErrUnavailable)) {
			continue // it was stopped, or is about to be
		}
		if err != nil {
			return nil, err
		}
		list = append(list, acc)
	}
	ctx, cancel := context.WithTimeout(ctx, readLimit)
	defer cancel()
	var reads sync.WaitGroup
	for _, acc := range list {
		for i, p := range acc.procs {
			reads.Go(func() { acc.readings[i], _ = p.read(ctx) })
		}
	}
	reads.Wait()
	return list, nil
}

func (f *function) account() account {
	acc := account{name: f.name, restarts: f.restarts, exited: make(map[uint32]reading)}
	for _, s := range f.all() {
		acc.procs = append(acc.procs, s.procs...)
	}
	acc.readings = make([]reading, len(acc.procs))
	for version, r := range f.totals {
		acc.exited[version] = r
	}
	return acc
}

// Usage implements transport.Interface.
func (a *Agent) Usage(ctx context.Context, fnName string) ([]*proto.Usage, error) {
	accounts, err := a.accounts(ctx, fnName)
	if err != nil {
		return nil, err
	}
	var list []*proto.Usage
	for _, acc := range accounts {
		for i, r := range acc.readings {
			p := acc.procs[i]
			list = append(list, &proto.Usage{
				Function: acc.name, Version: p.serves().Number, Pid: int32(p.Pid()), AtAgent: a.addr, //nolint:gosec // below 2^22
				CpuSeconds: r.CPU.Seconds(), Resident: r.Resident, Peak: r.Peak, Descriptors: uint32(r.Descriptors), //nolint:gosec // few
				Restarts: acc.restarts, Requests: r.Requests, InFlight: r.InFlight, Connections: r.Connections,
				Received: r.Received, Sent: r.Sent, Since: timestamp(p.since),
			})
		}
	}
	slices.SortStableFunc(list, func(x, y *proto.Usage) int {
		return cmp.Or(cmp.Compare(x.GetFunction(), y.GetFunction()), cmp.Compare(x.GetVersion(), y.GetVersion()))
	})
	return list, nil
}
