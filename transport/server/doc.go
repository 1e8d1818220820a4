// Package server offers an Interface: Serve takes listeners, and calls it with
// what callers said. Agents and proxies alone import it, and it alone imports gin.
//
// A request goes in at ServeHTTP (server.go), past the decision who may call
// (access.go), to a mounted handler, to gRPC's service (service.go) or to the
// calls of wire.Routes (calls.go), which decode it and call that service.
//
// Decisions, and why:
//
//   - Every listener speaks HTTP/1, HTTP/2 without TLS and gRPC through one
//     http.Server, so one place decides for all who may call, and one address
//     serves both kinds of client.
//   - Who may call is decided on a small value, not on an http.Request, so that
//     whatever reads requests can ask.
//   - What is no call of wire.Routes is a Mount: a path, what its callers must be
//     allowed, a handler. Functions and metrics are mounts.
//   - net/http decides alone where a request ends, and hides from handlers what
//     others would read otherwise. So connections look at that first (framing.go).
//   - What comes bit by bit (Watch, Logs, a deploy that is followed) has a
//     heartbeat between (relay in service.go). A slow caller is cut, not waited for.
//   - Bodies are read only as fast as they are stored (gate in body.go): behind
//     ServeHTTP gRPC has no flow control of its own.
//   - gin is 1.10.1: of its later versions, 1.11 links QUIC and 1.12 BSON (46 packages,
//     whose faults would be ours to follow, and 0.7 MB), and what they mend (redirects,
//     binding, recovery, hijacking) is not used here.
//   - A panic is an error of its call alone.
//   - Serve ends streams, drains other calls and returns when none is left.
package server
