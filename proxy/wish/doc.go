// Package wish keeps what is wished of functions in a store: which version of a function
// is to run, on which agents, and which changes are under way.
//
// A Wish is a record for each function. A change of it is made on the revision that was
// read, and raises its generation. For each agent the wish says up to which generation
// the agent has followed: an agent is behind if it has not followed to the last. Nothing
// but that is ever mended: what differs at an agent that has followed was changed at the
// agent, by somebody who meant it, and is told as drift.
//
// A Change is a record too, with all steps. It is made before the first step and removed
// after the wish was written, so whoever finds one whose proxy is gone can complete or
// undo it. While there is one, no other proxy changes the function.
//
// Packages are blobs, named by their digest. What no version and no change refers to is
// removed after an hour.
//
// The package asks nobody but the store: what agents run is told to it. Of secrets it
// stores the names, and the values sealed, by keys that the store does not have (secrets.go).
package wish
