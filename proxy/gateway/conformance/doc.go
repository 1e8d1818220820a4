// Package conformance says what a gateway must do, byte by byte: a table of cases that
// need nothing of it but an address and a route to each function. The same table is run
// against each lane of ours and, for comparison, against nginx and haproxy
// (make conformance; the outcome is docs/conformance.md).
//
// A case is a script for each side: what the caller sends and must get, and what the
// function does with each connection that the gateway opens. Both are plain TCP, so
// that either may say what no library would, and both read with a parser of their own
// (message.go), which accepts no deviation. A case names the section of RFC 9110 or 9112
// that decides it; where no RFC does, it is our own wish, and others may differ.
//
// It must never know how a gateway works: it looks at what callers and functions see.
package conformance
