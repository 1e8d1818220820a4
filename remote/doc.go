// Package remote is the agent: it keeps the functions of one machine as they
// should be.
//
// A package comes in through Deploy and goes through the pipeline (pipeline.go):
// programs makes a program of it, process starts that. Each function has one goroutine
// (run, in function.go) that alone decides and says what state the function is in
// (row.go). There are two ways to it: callers ask (calls.go), helpers post events. What
// should run is stored by disk before it is acted on, so an agent may die at any point:
// the next one on the same folder goes on from there.
//
// A package with its settings is a version (version.go), numbered from 1 and never
// changed. A service (service.go) is sockets and the processes of one version that
// serve on them: the main one, which the function's url leads to; a canary's; and those
// of older versions that are called by their number. A change (change.go) makes another
// version serve, be it new, older or the canary: its processes are started on the
// sockets of the version that serves, and take over when all of them have answered.
//
// Decisions:
//
//   - Each process is started by the walls of package isolation, which say what it may
//     do. What a running process was given is stored with it: a row tells the least that
//     one of the function's processes runs under, also after an upgrade.
//
//   - The agent opens a function's sockets and hands them to each of its
//     processes. A change starts the new processes on the same sockets, waits
//     until they have answered, and only then drains the old ones; a restart leaves
//     callers waiting in the backlog instead of refusing them.
//
//   - So does sleep: an idle function has sockets and no process. Its processes are
//     retired as in a change, and only when they take no more calls is the kernel asked
//     to tell of callers. So a caller is served by an old process or wakes a new one.
//     When a function may be idle is known beforehand: its processes are asked once
//     then, not again and again.
//
//   - What runs is compared with what should run after every event, in one place
//     (tend), which starts what is missing. Events only say that it is time to look.
//
//   - A function's status is derived from what is there, never stored, so it
//     cannot disagree with it.
//
//   - A stop renames record.json to stopped.json. That is done at once, needs no room
//     on the disk, and is all that the next agent has to know: a function is stopped with
//     its versions, whenever the agent dies. A deploy or a rollback writes record.json
//     again and goes on with its numbers. What is stopped has no goroutine.
//
//   - Versions are kept with their folders, so a rollback needs neither package
//     nor build. That costs the disk a program each, shared with the store of
//     programs and with versions that differ in settings alone. Versions that differ
//     in what processes know nothing of, such as auth, share folder and processes.
//
//   - Processes outlive the agent (adopt.go). A holder, a small process of its own,
//     keeps their sockets and control connections; run.json says which they are. The
//     next agent takes over what proves itself, over its control connection, to be that
//     process. The others are found by where their executable lies, which no stranger
//     shares, and stopped before anything is started in their place.
//
//   - What can be derived is not kept: the record that is stored is made of the
//     function's fields when it is stored.
//
//   - A damaged file costs what was in it and nothing else: disk sets it aside, the log
//     and readyz tell of it, and a function that cannot run without it is Failed until it
//     is deployed again (damage.go). A program runs only with the digest that its version
//     has on record.
//
//   - A paused function (pause.go) has sockets and no process, as a sleeping one, but
//     its callers get 503 instead of waiting.
//
//   - An agent may belong to a proxy (join.go). Then that is served by TLS and its
//     certificate, on the same port, and reaches functions through package door.
//
// The package must never serve a function's callers itself, except for that 503: they
// talk to the function's own process, from other machines through the door, which
// reads nothing.
package remote
