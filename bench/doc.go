// Command bench measures the programs of this repository as a user meets them:
// it builds them, starts agents and a proxy in a temporary folder on free ports
// of the loopback, deploys functions, and prints tables of
//
//   - deploys: the time from an edited hello to Deployed on a warm agent, stage by
//     stage, beside a plain go build of a program of the same kind; to further
//     agents, which take the first one's program; and beside compile bombs;
//   - builds: the agent's memory while many are queued;
//   - starts: the time from no process to the first answer of a function that was
//     scaled to zero, killed or rolled back, beside a bare exec of its binary;
//   - calls: GET hello over 1 to 256 connections, by TLS too, and POST of a kibibyte and
//     of a mebibyte, at the function itself, through the proxy, and through nginx,
//     haproxy and the reverse proxy of Go's library with the same function behind them:
//     calls per second, latency, and the CPU time that a call costs in the gateway;
//   - calls of /async: how many are accepted per second, how soon they begin, alone and
//     beside a burst of another function, and the proxy's memory while many wait;
//   - memory: of agent, proxy and a function, of each of many idle functions, and of each
//     of many idle connections at each gateway.
//
// `make bench` runs all of it; `go run ./bench -help` shows the flags.
//
// Things that are compared are measured in turns within one run, since machines drift.
// Times are medians, with further quantiles by the nearest rank: the p99 of fewer than
// a hundred is the largest. Goals are printed beside the figures; the run does not fail
// if one is missed. The load comes from a closed-loop client (load.go) in a process of
// its own: it sends the next call after the answer. A slow answer thus delays calls
// that the latencies do not show: compare them, but promise nothing by them. While calls
// are measured, gateways have the first processor to themselves: callers and functions
// stay on the others. The proxy writes an access log, which the others do not, and reaches
// functions of its machine by their unix sockets; nginx is measured both ways.
//
// bench imports transport and proto alone, as any caller can. It never reports a figure
// that was not measured: it says what is missing, such as nginx, and fails with the
// first call that fails.
package main
