// Package proxy is the gateway: the verbs of transport.Interface over many
// agents, and the calls of functions under /functions/.
//
// A proxy keeps one Watch open to each agent that it was told of (agents.go), so
// it knows the rows of all of them without asking. From the rows it makes the
// routes (routes.go): an immutable table from path to replicas, swapped whole
// and read without a lock. A call looks up its route and goes straight to the
// function's socket (invoke.go); the agent's program is not on its path.
//
// Agents own the truth about what runs. What a proxy holds is a cache of their
// answers, with one writer, the watch: after a verb has changed something at an
// agent, the proxy waits until the watch has brought the change, so that a
// caller who asks next sees it. All that is on a proxy's disk is the addresses
// of its agents and the packages on their way to them. An agent that does not
// answer keeps its rows and routes, because its functions may well be alive.
//
// A proxy never dials an agent that neither its command line, nor a caller, nor
// an earlier run of itself has named, and in protected mode none but those on
// its own machine: otherwise whoever may deploy could make it talk to anything.
//
// # Changes of a function on several agents
//
// A deploy, a rollback and a shift take one agent after the other (rollout.go):
// the next begins when the one before is settled. At the first that fails the
// others stay as they are and those that were changed go back, to the version
// that served or, where the function was new, to not having it. A canary that
// the change took away does not come back. Before the first agent is changed all
// of them have answered and have the package. A deploy that comes while one is
// under way takes its place, and goes back, if it must, to what was before both;
// rollback and shift are refused meanwhile; stop ends it. An agent that is lost
// while it deploys counts as failed; if it comes back with the new version, its
// row tells.
//
// A rollout is nowhere on disk. One that a restarted proxy finds half done it
// leaves alone: it cannot tell it from agents that somebody changed one by one,
// and each agent serves what its row says. The same deploy again completes it,
// since agents that have it change nothing and the others take their version's
// number; a rollback undoes it.
//
// One program serves all agents of a platform (programs.go): the first agent
// builds, the others are sent what it built, as a stream that passes through. An
// agent that does not build is sent a program that another connected one of its
// platform has, or builds for it.
//
// # Versions
//
// A version has one number on all agents of a function: the proxy chooses it,
// above all that any of them has had. Calls of /functions/NAME are given a version
// by the weights that the rows name, those of several agents added up, and then
// the least busy replica that serves it. Calls of /functions/NAME@N go to version
// N alone; an agent that keeps it opens it when nobody serves it (versions.go).
//
// # Decisions
//
// Most calls are plain: HTTP/1.1, without a body or with a small one of known
// length, and with no wish that concerns the connection. Such a call goes directly
// (direct.go): the goroutine that serves the caller writes the request in one
// piece to a connection of the replica's (links.go), reads the answer and copies
// it. No other goroutine has a part in it, which saves two fifths of what a call
// through http.Transport costs. The answer is read by http.ReadResponse, as
// http.Transport does; a parser of our own would save a twentieth of what is left.
// A small body is read before the function is called, so that no slow caller
// occupies it. Bodies are copied: splice(2) took 1.7 times the CPU for 1 MiB.
//
// All other calls, uploads, websockets and HTTP/2 among them, go through
// httputil.ReverseProxy with Rewrite, one value per call, so that its hooks are
// methods of the call. A test and a fuzzer make calls both ways: nobody may see a
// difference.
//
// Each replica has connections of its own, in links and in a Transport: the idle
// ones end with it, and a unix socket needs no invented host name.
//
// Deploys are sent to agents without waiting; whoever waits does so on the watch,
// so that one slow build holds up no other deploy. What is asked of all agents at
// once, such as usage, lacks those that do not answer, and fails when none does;
// only logs, whose reader cannot see a gap, end with an error.
package proxy
