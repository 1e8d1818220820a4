// Package fleet is the agents of a proxy: their addresses, the connections to them,
// and what they say of their functions.
//
// A Fleet keeps one watch open to each agent. It brings rows, one for each function of
// the agent, and it alone writes them. After a Session has changed something at an
// agent it waits until the watch has brought the change, so that later callers see it.
// Tell is for rows of functions that an agent does not know yet.
//
// A change of what may be called is published before anybody who waits for it goes on.
// An agent that does not answer keeps its rows, and they stay published, because its
// functions may well run; but they say that they are unreachable, so that replicas
// elsewhere are called.
//
// Agents are known by their ids, wherever they are (watch.go). One that has joined proves
// its id with each connection, which is TLS then, and so do the ways to its functions. A
// name leads to the agents that have it by the proxy's doing, or had it first: what
// another agent says takes no calls over, unless other proxies deploy to the agents, too
// (Config.Shared): who deployed what is known to the proxy that did it alone. Services are called at their agent alone.
//
// A Fleet must never dial an agent that neither the command line, nor a deploy, nor an
// earlier run has named, and that has not joined. In protected mode it dials agents on
// its own machine and those that have joined alone: otherwise callers who may deploy
// could make it talk to anything. An agent that a
// caller named and that never answered is removed.
//
// A row may be held (Config.Held): it is told, with the reason, and gets no calls.
//
// Without a store, what is removed while an agent does not answer is stored (removals.go), and removed
// there before anything else is told of the agent when it is back.
//
// Agents never call a proxy: all connections are made from here.
package fleet
