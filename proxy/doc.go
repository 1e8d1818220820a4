// Package proxy is the proxy: the verbs of transport.Interface over many agents, and
// the calls of functions under /functions/. It puts its rooms together:
//
//	fleet    the agents: addresses, connections, and what they say
//	place    which agents should have which functions
//	scale    how many processes a function needs
//	rollout  a change of a function over several agents
//	gateway  the calls of functions
//	acme     certificates of public names
//	trigger  calls without a caller who waits: queue, cron and events
//	shared   tokens, authority, certificates and audit of proxies that have one store
//
// Only this package knows them all. What the fleet hears from agents reaches the
// gateway as routes; a rollout asks agents through the fleet.
//
// # The ways of data
//
// A deploy comes in with a package (Upload, or a folder of this machine), which is
// stored until its agents have it. Deploy chooses the function's agents, a rollout
// brings package and function to one after the other, and the agents' first or last
// rows are the answer. Changes of one path take turns.
//
// Where a user has named no agents, package place chooses them, and places.go keeps
// functions where it says: it compares that with where they are, and moves what differs.
// How many agents a function is to have is noted by those that have it, so that it is
// known over restarts and by other proxies.
//
// For functions with the setting max, sizes.go reads how many calls are under way ten times
// a second, and tells agents how many processes package scale wants. Calls see none of it.
//
// A call comes to the gateway and goes straight to the function's socket, past the
// agent.
//
// A question about all replicas, such as usage, goes to each of their agents at once.
// The answer lacks agents that do not answer, and is an error if no agent does. Only
// logs end with an error if one is missing, since their reader cannot see a gap.
//
// # Decisions
//
// Agents own the truth about what runs; a proxy caches what they said. Its disk holds
// the addresses of its agents and the packages on their way to them, nothing else, so
// no rollout survives a restart. A half-done one stays as it is: the proxy cannot tell it
// from agents that somebody changed one by one, and each agent serves what its row says.
// The same deploy again completes it; a rollback undoes it.
//
// At SIGHUP the process goes on with the program that is now in its place, by way of a
// stand-in, as package upgrade says (succession.go). What is stored has one owner: before it
// changes, no deploy is under way, and the next owner reads all of it anew.
//
// Calls of /functions/NAME@N go to version N alone. If no agent serves it, one that
// keeps it opens it (wake.go).
package proxy
