package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// print writes the report as aligned text.
func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer func() { _ = t.Flush() }()
	line := func(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

	line("%s; took %.0f s", r.Machine, r.Duration)
	if r.Quick {
		line("-quick: these figures only show that the measuring works")
	}
	for _, missing := range r.Missing {
		line("%s", missing)
	}

	line("\nCalls: GET hello, closed loop, medians of %d rounds of %.1f s, in turns [lowest–highest]", r.Calls[0].PerSecond.N, r.Seconds)
	for i, c := range r.Calls {
		if i == 0 || r.Calls[i-1].Connections != c.Connections {
			line("\n%d connection%s\tcalls/s\t× direct\tp50 ms\tp99 ms\tgateway CPU µs/call\t× nginx TCP\t× nginx unix\tfunction CPU µs/call",
				c.Connections, plural(c.Connections))
		}
		line("%s\t%s\t%s\t%.2f\t%.2f\t%s\t%s\t%s\t%s", c.Way,
			c.PerSecond.text("%.0f"), r.against(c, wayDirect, callsPerSecond),
			c.P50.Median/1000, c.P99.Median/1000,
			c.gatewayCPU(), r.against(c, wayNginxTCP, gatewayCPU), r.against(c, wayNginxUnix, gatewayCPU),
			c.FunctionCPU.text("%.1f"))
	}
	for _, a := range r.Allocs {
		line("\n%s of the proxy, with client and function in its process: %d allocations, %d bytes per call", a.Benchmark, a.Count, a.Bytes)
	}

	d := r.Deploys
	line("\nDeploys of an edited hello on a warm agent, ms, n = %d\tmedian\tp95\tlowest–highest", d.Deploy.N)
	times := func(name string, f figure) {
		line("%s\t%.1f\t%.1f\t%.1f–%.1f", name, f.Median, f.P95, f.Min, f.Max)
	}
	times("proxyCli deploy -wait", d.Deploy)
	for _, s := range d.Stages {
		times("  "+s.Name, s.Millis)
	}
	times("edit → new answer", d.Answer)
	times("deploy, nothing edited", d.Same)
	times("plain go build -ldflags='-s -w' of its kind", d.Plain)
	line("deploy ÷ plain go build\t%.2f", d.Deploy.Median/d.Plain.Median)
	line("deploys after which the old answer was still seen\t%d of %d", d.Stale, d.Deploy.N)

	line("\nStarts: to the first 200, ms\tmedian\tp95\tlowest–highest")
	times(fmt.Sprintf("after kill -9 of the process, n = %d", d.Restart.N), d.Restart)
	times(fmt.Sprintf("after exec of its binary on an open socket, n = %d", r.Exec.N), r.Exec)

	line("\nMemory, MiB\tRSS\tprivate dirty\tRSS after the calls\tprivate dirty after the calls")
	for _, m := range r.Memory {
		line("%s\t%.1f\t%.1f\t%.1f\t%.1f", m.Program,
			mib(m.Idle.RSS), mib(m.Idle.PrivateDirty), mib(m.Loaded.RSS), mib(m.Loaded.PrivateDirty))
	}
}

// text is the median with its range.
func (f figure) text(format string) string {
	return fmt.Sprintf(format+" ["+format+"–"+format+"]", f.Median, f.Min, f.Max)
}

func callsPerSecond(c callFigures) *figure { return &c.PerSecond }
func gatewayCPU(c callFigures) *figure     { return c.GatewayCPU }

func (c callFigures) gatewayCPU() string {
	if c.GatewayCPU == nil {
		return "–"
	}
	return c.GatewayCPU.text("%.1f")
}

// against is the ratio of a figure to that of another way under the same load.
func (r *report) against(c callFigures, way string, of func(callFigures) *figure) string {
	for _, other := range r.Calls {
		if other.Way == way && other.Connections == c.Connections && of(c) != nil && of(other) != nil {
			return fmt.Sprintf("%.2f", of(c).Median/of(other).Median)
		}
	}
	return "–"
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
