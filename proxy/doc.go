// Package proxy is the proxy: the verbs of transport.Interface over many agents, and
// the calls of functions under /functions/. It puts its rooms together:
//
//	fleet     the agents: addresses, connections, and what they say
//	place     which agents should have which functions
//	scale     how many processes a function needs
//	rollout   a change of a function over several agents
//	wish      what is to run, as it is stored
//	gateway   the calls of functions
//	acme      certificates of public names
//	trigger   calls without a caller who waits: queue, cron and events
//	dashboard pages for people, made of the verbs alone
//	shared    tokens, authority, certificates and audit of proxies that have one store
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
// With a store a move is two changes of what is wished: the function is to be at further
// agents, and, when it is there, no longer at others.
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
// Agents own the truth about what runs; a proxy caches what they said. With a store it
// keeps what is to run, the wish of each function, beside it (wishes.go). A deploy, a
// rollback or another change over agents first stores the change with all its steps and the
// package; when the agents have taken it, it writes the wish and removes the change. So the
// wish is what was seen to work: one that fails was never wished. A stop or a removal cannot
// fail for the function's sake: it writes the wish first. What cannot be stored is refused
// before any agent is changed. Without a store a half-done rollout stays as it is: the
// same deploy again completes it, a rollback undoes it.
//
// An agent that does not answer is left out of a change, unless -unavailable says stop, and
// follows when it is back. Until then its row is held: it gets no calls (mend.go). One of
// the proxies of a store leads, and compares what is wished with what runs, every ten seconds
// and at every hint. It brings agents that are behind up to date, goes on with changes whose
// proxies are gone, or undoes them, and takes what runs and nobody has wished for wished: a
// store that was begun anew stops nothing.
//
// Values of secrets are stored sealed, with a key that the store does not have (secrets.go).
// Those of functions that were deployed past the proxy are with their agents alone: an agent
// that needs them stays behind, which its row says, until somebody deploys again.
//
// Proxies may have one store. Each reads what is wished, tells agents what its callers ask
// for, and knows the agents of the others (agents.go). One of them, which holds a lease,
// does the rest: it mends, moves and decides on sizes. The lease alone keeps nobody from
// writing. Each change is made on the revision of what it was decided on, and while one has
// its record, no other proxy changes the function; mending has one too, and ends when
// somebody wants the function.
//
// At SIGHUP the process goes on with the program that is now in its place, by way of a
// stand-in, as package upgrade says (succession.go). What is stored has one owner: before it
// changes, no deploy is under way, and the next owner reads all of it anew.
//
// Calls of /functions/NAME@N go to version N alone. If no agent serves it, one that
// keeps it opens it (wake.go).
package proxy
