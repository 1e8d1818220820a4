// Command bench measures the programs of this repository as a user meets them:
// it builds them, starts agents and a proxy in a temporary folder on free ports
// of the loopback, deploys functions, and prints tables of
//
//   - deploys: the time from an edited hello to Deployed on a warm agent, stage by
//     stage, beside a plain go build of a program of the same kind; to further
//     agents, which take the first one's program; and beside compile bombs;
//   - builds: what the agent holds while many are queued;
//   - starts: the time from no process to the first answer of a function that was
//     scaled to zero, killed or rolled back, beside a bare exec of its binary;
//   - calls: GET hello at the function itself, through the proxy, and through
//     nginx with the same function behind it: calls per second, latency, and the
//     CPU time that a call costs in the gateway;
//   - memory: what agent, proxy and a function hold, and what each of many idle
//     functions costs.
//
// `make bench` runs all of it; `go run ./bench -help` shows the flags.
//
// What is compared is measured in turns within one run, since machines drift, and
// reported as the median, with further quantiles by the nearest rank: the p99 of
// fewer than a hundred is the largest. A goal stands beside what it is for, as a
// figure to look at; nothing fails when it is missed. The load comes from a
// closed-loop client of our own (load.go), run as a process of its own: it sends
// the next call when the answer is there, so its latencies leave out the calls that
// a slow answer kept from being sent; compare them, but promise nothing by them.
// Nothing is pinned to a core.
//
// bench imports transport and proto alone: it sees what any caller can see. It
// never reports a figure that was not measured: what is missing, such as nginx, is
// said to be missing, and a call that fails ends the run.
package main
