// Package store keeps what must outlive a proxy: what is wished, versions and their
// packages, calls that wait, clocks, and what proxies share.
//
// # Decisions
//
// The store keeps facts; what follows from them is found by comparing again, on a timer and
// on any hint, never by events alone. Every change of a record is made on the revision that
// was read, so of two people, or two proxies, one is told. Agents keep their own truth and
// never talk to the store: without it functions go on running and calls go on reaching
// them.
package store
