// Package place decides which agents should have which functions. It is a policy: what
// comes in is how things are, what goes out is how they should be, and nothing else
// happens. It knows no network, no clock and no disk.
//
// # Decisions
//
// What need not move stays. An agent that is new, or has less to do than others, gets
// functions only when replicas are missing: a move costs a start, and perhaps a build, and
// an uneven fleet costs nothing until a machine is full.
//
// A function leaves an agent that drains, that has not answered for long, or that no
// longer has the labels or the isolation that the function asks for; but only if another
// agent can take it. If none can, it stays where it is: where it was is better than
// nowhere.
//
// Of the agents that may have a new replica come first those with room for it, then those
// on the machine with the fewest replicas of the function, then the one that would have
// the least to do. Memory and processors order agents and exclude none: what functions
// say are limits of theirs, of which most use little. Ports exclude: an agent whose ports
// are all held gets nothing more. A function that does not run holds none.
//
// An agent that comes back after its replicas were replaced has replicas too many. Those
// that were chosen meanwhile stay.
//
// What a user has put on agents by name is fixed: it counts as load, and never moves.
package place
