package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// allocations are those per call in one of the gateway's Go benchmarks, with those of
// client and function, which share the process. Unlike times they hardly vary, so a
// change of them is a change of the code.
type allocations struct {
	Benchmark string
	Count     int
	Bytes     int
}

var benchmarkLine = regexp.MustCompile(`(?m)^(Benchmark\S+?)(?:-\d+)?\s.*?(\d+) B/op\s+(\d+) allocs/op`)

// allocations runs the gateway's benchmarks of a GET.
func (s *stack) allocations(ctx context.Context, e effort) ([]*table, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench=GET", "-benchmem", fmt.Sprintf("-benchtime=%dx", e.benchmark), "./proxy/gateway")
	cmd.Dir = s.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run the proxy's benchmarks: %w\n%s", err, out)
	}
	counts, err := parseAllocations(string(out))
	if err != nil {
		return nil, err
	}
	t := &table{head: []string{"call through the gateway's package, with client and function", "allocations", "bytes"}}
	for _, c := range counts {
		t.add(c.Benchmark, fmt.Sprint(c.Count), fmt.Sprint(c.Bytes))
	}
	if len(counts) == 0 {
		t.add("not measured: there is no benchmark of a GET", "", "")
	}
	return []*table{t}, nil
}

func parseAllocations(out string) ([]allocations, error) {
	var all []allocations
	for _, m := range benchmarkLine.FindAllStringSubmatch(out, -1) {
		bytes, err := strconv.Atoi(m[2])
		if err != nil {
			return nil, err
		}
		count, err := strconv.Atoi(m[3])
		if err != nil {
			return nil, err
		}
		all = append(all, allocations{Benchmark: m[1], Count: count, Bytes: bytes})
	}
	return all, nil
}
