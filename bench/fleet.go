package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	perPackage  = 32 // functions, which share one program
	fleetStarts = 30 // functions that are called
)

// fleet deploys many functions, measures what each costs the agent while it is idle,
// and then calls some of them.
func (s *stack) fleet(ctx context.Context, e effort) ([]*table, error) {
	if _, err := s.client.Stop(ctx, function); err != nil {
		return nil, err
	}
	before, err := s.costs()
	if err != nil {
		return nil, err
	}
	var names []string
	for first := 0; first < e.functions; first += perPackage {
		var fns []*proto.FunctionJson
		dir := filepath.Join(s.dir, "fleet", fmt.Sprint(first))
		for i := first; i < min(first+perPackage, e.functions); i++ {
			names = append(names, fmt.Sprintf("Idle%d", i))
			fns = append(fns, &proto.FunctionJson{Name: names[i], Dir: dir, Idle: idle, ToAgent: []string{s.agent.addr}})
		}
		if err := writeFiles(dir, map[string]string{"fn.go": handlers("fleet", names[first:])}); err != nil {
			return nil, err
		}
		if _, err := settle(ctx, s.client, fns...); err != nil {
			return nil, err
		}
	}
	if err := s.allAsleep(ctx); err != nil {
		return nil, err
	}
	after, err := s.costs()
	if err != nil {
		return nil, err
	}
	holds := &table{head: []string{fmt.Sprintf("each of %d idle functions costs", e.functions), "resident", "private, dirty", "descriptors"}}
	for i, was := range before {
		n := int64(e.functions)
		holds.add(was.process, kib((after[i].RSS-was.RSS)/n), kib((after[i].PrivateDirty-was.PrivateDirty)/n),
			fmt.Sprintf("%.1f", float64(after[i].descriptors-was.descriptors)/float64(n)))
	}

	var cold []float64
	for i := range min(fleetStarts, len(names)) {
		name := names[i*len(names)/min(fleetStarts, len(names))]
		pid, d, err := s.cold(name, s.url(name), 0)
		if err != nil {
			return nil, err
		}
		if err := exited(ctx, pid); err != nil { // it must not slow the next one
			return nil, err
		}
		cold = append(cold, millis(d))
	}
	t := &table{head: timesHead(fmt.Sprintf("first answer of one of %d idle functions, n = %d", e.functions, len(cold)))}
	t.times("through the proxy", summarize(cold), "as of one alone")
	return []*table{holds, t}, nil
}

// allAsleep waits until no function has a process.
func (s *stack) allAsleep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	return poll(ctx, 20*lookEvery, func() error {
		rows, err := s.agent.client.Details(ctx)
		for _, row := range rows {
			if row.GetInstances() > 0 {
				err = fmt.Errorf("%s has a process", row.GetName())
			}
		}
		return err
	})
}

// cost is the memory and the descriptors of a process.
type cost struct {
	process string
	memory
	descriptors int
}

// costs are those of the agent, of its holder, which keeps sockets for the next
// agent, and of the proxy.
func (s *stack) costs() ([]cost, error) {
	holder, err := s.holder()
	if err != nil {
		return nil, err
	}
	costs := []cost{{process: "agent"}, {process: "holder of its sockets"}, {process: "proxy"}}
	for i, pid := range []int{s.agent.pid(), holder, s.proxy.pid()} {
		if costs[i].memory, err = memoryOf(pid); err != nil {
			return nil, err
		}
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return nil, err
		}
		costs[i].descriptors = len(open)
	}
	return costs, nil
}

// holder finds the process with the agent's program and folder as arguments.
func (s *stack) holder() (int, error) {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, file := range all {
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/", &pid); err != nil || pid == s.agent.pid() {
			continue
		}
		// A process that has exited since is not it.
		if args, err := os.ReadFile(file); err == nil && strings.Contains(string(args), filepath.Join(s.dir, "agent-first", "agent")) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("the agent has no holder")
}
