// Package fleet is the agents of a proxy: their addresses, the connections to them,
// and what they say of their functions.
//
// A Fleet keeps one watch open to each agent. What comes over it are rows: one for
// each function of the agent. They have one writer, the watch. After a Session has
// changed something at an agent it waits until the watch has brought the change, so
// that those who ask next see it. Tell is for rows of functions that an agent has
// not been given yet.
//
// What may be called is published as it changes, before anybody who waits for the
// change goes on. An agent that does not answer keeps its rows, and they stay
// published, because its functions may well be alive.
//
// A Fleet must never dial an agent that neither the command line, nor a caller, nor
// an earlier run has named, and in protected mode none but those on its own machine:
// otherwise those who may deploy could make it talk to anything. An agent that a
// caller named and that never answered is forgotten.
//
// Agents ask nothing of a proxy: all connections are made from here.
package fleet
