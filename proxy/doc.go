// Package proxy is the proxy: the verbs of transport.Interface over many agents, and
// the calls of functions under /functions/. It puts its rooms together:
//
//	fleet    the agents: addresses, connections, and what they say
//	rollout  a change of a function over several agents
//	gateway  the calls of functions
//
// Only this package knows all three. What the fleet hears from agents reaches the
// gateway as routes; a rollout asks agents through the fleet.
//
// # The ways of data
//
// A deploy comes in with a package (Upload, or a folder of this machine), which is
// stored until its agents have it. The function's agents are chosen, a rollout
// brings package and function to one after the other, and the rows with which each
// begins or ends are the answer. Changes of one path take turns.
//
// A call comes to the gateway and goes to the function's socket. No agent is on its
// way.
//
// A question about all replicas, such as logs, goes to each of their agents. What is
// asked of all agents at once, such as usage, lacks those that do not answer, and
// fails when none does; only logs, whose reader cannot see a gap, end with an error.
//
// # Decisions
//
// Agents own the truth about what runs. What a proxy holds is a cache of what they
// said. All that is on its disk is the addresses of its agents and the packages on
// their way to them. Rollouts are not: one that a restarted proxy finds half done it
// leaves alone, since it cannot tell it from agents that somebody changed one by one,
// and each agent serves what its row says. The same deploy again completes it; a
// rollback undoes it.
//
// Calls of /functions/NAME@N go to version N alone. An agent that keeps it opens it
// when nobody serves it (wake.go).
package proxy
