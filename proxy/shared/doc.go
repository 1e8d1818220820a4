// Package shared keeps in a store what several proxies must have in common, so that callers,
// agents and the command line may ask any of them: tokens, the authority and the agents
// that have joined it, certificates of public names, and the record of who did what.
//
// A proxy alone keeps these in its folder, and this package is not used.
//
// # Decisions
//
// The store is the truth, and each proxy's folder has a copy, by which it starts and admits
// callers while the store does not answer. Nothing is changed then.
//
// A store that has nothing yet gets what the folder has: a proxy that grows into several
// keeps its tokens and its agents. A store that has something else, when the two meet for
// the first time, wins: what the folder had is set aside under a name that says so.
package shared
