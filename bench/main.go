package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
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
	if len(args) == 3 && args[0] == reverseCommand {
		fmt.Fprintln(stderr, serveReverse(args[1], args[2]))
		return 1
	}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(stderr)
	quick := set.Bool("quick", false, "measure a little of everything, to test bench itself; the figures mean nothing")
	only := set.String("only", "", "measure the parts alone that have this `word` in their names, such as async")
	functions := set.Int("functions", 0, "`number` of idle functions on one agent (default 200)")
	if err := set.Parse(args); err != nil {
		return 2
	}
	effort := full
	if *quick {
		effort = little
	}
	if *functions > 0 {
		effort.functions = *functions
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	begun := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(stderr, "%5.1fs  %s\n", time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
	}
	tables, err := measure(ctx, effort, *only, say)
	if ctx.Err() != nil {
		fmt.Fprintln(stderr, "bench: interrupted")
		return 130 // 128 + SIGINT, as shells report it
	}
	if err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	fmt.Fprintf(stdout, "%s; took %.0f s\n", machine(runtime.NumCPU(), runtime.Version()), time.Since(begun).Seconds())
	if *quick {
		fmt.Fprintln(stdout, "-quick: these figures only show that bench works")
	}
	for _, t := range tables {
		t.print(stdout)
	}
	return 0
}

// effort is how much is measured. All of full takes five minutes.
type effort struct {
	calls     int           // rounds of load
	each      time.Duration // one load
	deploys   int
	rollouts  int
	bombs     int // rounds beside compile bombs
	queued    int // builds at once
	rollbacks int
	starts    int
	functions int           // idle on one agent
	idle      int           // connections,
	rest      time.Duration // which they wait
	benchmark int           // calls of a Go benchmark
	later     int           // calls of /async, one at a time
	waiting   int           // calls of /async that wait
}

var (
	full = effort{
		calls: 3, each: time.Second, deploys: 20, rollouts: 10, bombs: 3, queued: 20,
		rollbacks: 20, starts: 100, functions: 200, idle: 2000, rest: time.Minute, benchmark: 10_000, later: 200, waiting: 90_000,
	}
	little = effort{
		calls: 1, each: 100 * time.Millisecond, deploys: 1, rollouts: 1, queued: 2, // bombs keep both processors busy for a minute
		rollbacks: 1, starts: 1, functions: 2, idle: 10, rest: time.Second, benchmark: 10, later: 2, waiting: 100,
	}
)

// measure runs every part on one stack, one after the other.
func measure(ctx context.Context, e effort, only string, say func(string, ...any)) (all []*table, err error) {
	s, err := newStack(ctx, say)
	defer func() {
		// After Ctrl-C, too.
		if closed := s.close(); err == nil {
			err = closed
		}
	}()
	if err != nil {
		return nil, err
	}
	for i, part := range []struct {
		what    string
		measure func(context.Context, effort) ([]*table, error)
	}{
		{"deploying an edited hello; the first deploy fills the agent's build cache (about 30 s)", s.deploys},
		{"deploying it to three agents", s.rollouts},
		{"deploying it beside compile bombs", s.bombs},
		{"queueing builds", s.queue},
		{"starting it", s.starts},
		{"calling it, and a function that reads, through each gateway", s.calls},
		{"counting allocations", s.allocations},
		{fmt.Sprintf("keeping %d idle functions", e.functions), s.fleet},
		{"calling it later, by /async", s.later},
	} {
		if !strings.Contains(part.what, only) {
			if i == 0 { // the others need its function
				if err := s.first(ctx); err != nil {
					return nil, err
				}
			}
			continue
		}
		say("%s", part.what)
		tables, err := part.measure(ctx, e)
		if err != nil {
			return nil, err
		}
		all = append(all, tables...)
	}
	return all, nil
}
