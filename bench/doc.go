// Command bench measures the programs of this repository as a user meets them:
// it builds them, starts an agent and a proxy in a temporary folder on free ports
// of the loopback, deploys example/hello, and prints
//
//   - calls: GET hello at the function itself, through the proxy, and through
//     nginx with the same function behind it: calls per second, latency, and the
//     CPU time that a call costs in the gateway;
//   - deploys: the time from an edited file to the new answer on a warm agent,
//     stage by stage, beside a plain go build of a program of the same kind;
//   - starts: the time from the death of a function's process, and from a bare
//     exec of its binary, to the first answer;
//   - memory: what agent, proxy and an idle function hold.
//
// `make bench` runs all of it; `go run ./bench -help` shows the flags.
//
// What is compared is measured in turns within one run, since machines drift, and
// reported as the median of the rounds with the lowest and the highest. Where
// these ranges overlap, there is no difference. The load comes from a closed-loop
// client of our own (load.go), run as a process of its own: it sends the next call
// when the answer is there, so its latencies leave out the calls that a slow
// answer kept from being sent; compare them, but promise nothing by them.
// Nothing is pinned to a core.
//
// bench imports transport and proto alone: it sees what any caller can see. It
// never reports a figure that was not measured: what is missing, such as nginx, is
// said to be missing, and a call that fails ends the run.
package main
