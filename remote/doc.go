// Package remote is the agent: it keeps the functions of one machine as they
// should be.
//
// A package comes in through Deploy and goes through the pipeline (pipeline.go):
// unpacked, checked and completed by funcfw, compiled by build, started by
// process. Each function has one goroutine (function.go) that alone decides and
// says what state the function is in; everything else sends it orders. What
// should run is on disk (workspace.go) before it is acted on, so an agent that
// dies at any point is continued by the next one on the same folder.
//
// Decisions:
//
//   - The agent opens a function's sockets and hands them to each of its
//     processes. A redeploy starts the new process on the same sockets, waits
//     until it has answered, and only then drains the old one; a restart leaves
//     callers waiting in the backlog instead of refusing them.
//   - A function's status is derived from what is there, never stored, so it
//     cannot disagree with it.
//   - A program can be built on one agent and run on others (programs.go): proxies
//     carry it. Deploys that want the same program wait for one build (builds.go),
//     which goes on while anybody waits for it.
//   - Processes that an agent left behind when it was killed are found by where
//     their executable lies, which no stranger shares, and ended before anything
//     is started in their place.
//
// The package must never serve a function's callers itself: they talk to the
// function's own process.
package remote
