package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// allocations are what one of the proxy's own benchmarks counts per call, with
// those of its client and its function, which share the process. Unlike times
// they hardly vary, so a change of them is a change of the code.
type allocations struct {
	Benchmark string `json:"benchmark"`
	Count     int    `json:"count"`
	Bytes     int    `json:"bytes"`
}

var benchmarkLine = regexp.MustCompile(`(?m)^(Benchmark\S+?)(?:-\d+)?\s.*?(\d+) B/op\s+(\d+) allocs/op`)

// measureAllocations runs the benchmarks of a GET in the proxy's package.
func (s *stack) measureAllocations(ctx context.Context, calls int) ([]allocations, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench=GET", "-benchmem", fmt.Sprintf("-benchtime=%dx", calls), "./proxy")
	cmd.Dir = s.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run the proxy's benchmarks: %w\n%s", err, out)
	}
	return parseAllocations(string(out))
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
