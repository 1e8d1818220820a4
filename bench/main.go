package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 1 && args[0] == loadCommand {
		if err := serveLoad(stdin, stdout); err != nil {
			fmt.Fprintln(stderr, err)
			return 1
		}
		return 0
	}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(stderr)
	asJSON := set.Bool("json", false, "print the figures as JSON")
	quick := set.Bool("quick", false, "measure a little of everything, to see that it works; the figures mean nothing")
	if err := set.Parse(args); err != nil {
		return 2
	}
	effort := full
	if *quick {
		effort = little
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	begun := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(stderr, "%5.1fs  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	report, err := measure(ctx, effort, say)
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "bench: interrupted")
		return 130 // 128 + SIGINT, as shells report it
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	if !*asJSON {
		report.print(stdout)
		return 0
	}
	out := json.NewEncoder(stdout)
	out.SetIndent("", "  ")
	if err := out.Encode(report); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// effort is how much is measured. All of full takes less than four minutes.
type effort struct {
	calls     int           // rounds of load
	each      time.Duration // one load
	deploys   int
	execs     int
	benchmark int // calls of a Go benchmark
}

var (
	full   = effort{calls: 5, each: time.Second, deploys: 20, execs: 30, benchmark: 10_000}
	little = effort{calls: 1, each: 100 * time.Millisecond, deploys: 1, execs: 1, benchmark: 10}
)

// report is everything that was measured.
type report struct {
	Machine  string          `json:"machine"`
	Quick    bool            `json:"quick,omitempty"`
	Seconds  float64         `json:"seconds"` // of one load
	Deploys  *deployFigures  `json:"deploys"`
	Exec     figure          `json:"execMillis"`
	Calls    []callFigures   `json:"calls"`
	Allocs   []allocations   `json:"proxyAllocations"`
	Memory   []memoryFigures `json:"memory"`
	Missing  []string        `json:"missing,omitempty"`
	Duration float64         `json:"durationSeconds"`
}

// memoryFigures are what one program holds, before the calls and after them.
type memoryFigures struct {
	Program string `json:"program"`
	Idle    memory `json:"idle"`
	Loaded  memory `json:"afterCalls"`
}

func measure(ctx context.Context, e effort, say func(string, ...any)) (r *report, err error) {
	begun := time.Now()
	s, err := newStack(ctx, say)
	defer func() {
		// Also after Ctrl-C everything is put away.
		if closed := s.close(context.WithoutCancel(ctx)); err == nil {
			err = closed
		}
	}()
	if err != nil {
		return nil, err
	}
	r = &report{Machine: machine(runtime.NumCPU(), runtime.Version()), Quick: e == little, Seconds: e.each.Seconds()}

	say("deploying an edited hello, %d times; the first one fills the agent's build cache (about 30 s)", e.deploys+1)
	if r.Deploys, err = s.measureDeploys(ctx, e.deploys); err != nil {
		return nil, err
	}
	if r.Exec, err = s.measureExecs(ctx, e.execs); err != nil {
		return nil, err
	}
	if r.Memory, err = s.measureMemory(ctx); err != nil {
		return nil, err
	}
	ways, missing, stop, err := s.ways(ctx)
	defer stop()
	if err != nil {
		return nil, err
	}
	if missing != "" {
		r.Missing = append(r.Missing, missing)
	}
	say("calling it in %d ways, at %v connections, %d rounds of %v each", len(ways), connections, e.calls, e.each)
	if r.Calls, err = s.measureCalls(ctx, ways, e.calls, e.each); err != nil {
		return nil, err
	}
	after, err := s.measureMemory(ctx)
	if err != nil {
		return nil, err
	}
	for i := range r.Memory {
		r.Memory[i].Loaded = after[i].Idle
	}
	say("counting allocations")
	if r.Allocs, err = s.measureAllocations(ctx, e.benchmark); err != nil {
		return nil, err
	}
	if len(r.Allocs) == 0 {
		r.Missing = append(r.Missing, "there is no benchmark of a GET in the proxy's package, so its allocations are not counted")
	}
	r.Duration = time.Since(begun).Seconds()
	return r, nil
}

func (s *stack) measureMemory(ctx context.Context) ([]memoryFigures, error) {
	row, err := s.row(ctx)
	if err != nil {
		return nil, err
	}
	var all []memoryFigures
	for _, p := range []struct {
		name string
		pid  int
	}{{"agent", s.agent.pid()}, {"proxy", s.proxy.pid()}, {"function", int(row.GetPid())}} {
		if err := syncBinary(p.pid); err != nil {
			return nil, err
		}
		m, err := memoryOf(p.pid)
		if err != nil {
			return nil, err
		}
		all = append(all, memoryFigures{Program: p.name, Idle: m})
	}
	return all, nil
}
