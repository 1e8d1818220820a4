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
// Decisions: calls go through httputil.ReverseProxy with Rewrite, one value per
// call, so that its hooks are methods of the call. Each replica has a Transport
// of its own: its idle connections end with it, and a unix socket needs no
// invented host name. Deploys are sent to agents without waiting; whoever waits
// does so on the watch, so that one slow build holds up no other deploy.
package proxy
