// Package server serves an Interface: Serve reads requests from listeners and calls
// it. Only agents and proxies import the package, and it alone imports gin.
//
// A request enters at ServeHTTP (server.go). If its caller is let in (access.go), it
// goes to a mounted handler, to gRPC's service (service.go), or to the handler of its
// route (routes.go), which decodes it and calls that service.
//
// Decisions, and why:
//
//   - Every listener speaks HTTP/1, HTTP/2 without TLS and gRPC through one
//     http.Server, so access is decided in one place, and one address serves both
//     kinds of client.
//   - Access is decided on a small value, not on an http.Request, so that any other
//     reader of requests can ask.
//   - A token is looked at before all else, and taken out of the request (bearer.go):
//     functions cannot collect tokens. A token for some functions limits its caller
//     behind the verbs (scoped.go), whichever protocol they came by.
//   - How fast a caller asks is bounded in the same place (rates.go), whether it is let in
//     or not. Functions are called as fast as they answer.
//   - Connections have places, of which there are as many as descriptors (crowd.go). Where
//     none is left, those without a request make room. Who sends many requests at once, or
//     reads its answers slowly, keeps its places: that may mean well.
//   - A connection that has waited for its next request for a while has no goroutine
//     (parking.go): one epoll(7) has all of them.
//   - What changes something is recorded where it is answered, and what is not let in
//     where it is refused (audit.go): no handler can forget it.
//   - Proxies and agents know each other by certificates on the same ports
//     (certified.go). Those of clients are verified with their first request, so that an
//     answer can say what is wrong; the role in them is one more fact for access.go.
//   - All that is not in wire.Routes is a Mount: a path, what its callers must be
//     allowed, a handler. Functions and metrics are mounts.
//   - A public listener has the mounts of ScopeInvoke and nothing else (public.go): what
//     is not there need not be guarded. Whose a call is may be said by trusted gateways
//     alone: in headers (forwarded.go), or before the first request (prelude.go).
//   - With Config.TLS each port takes both, and tells them apart by the first byte
//     (secure.go). net/http is handed plain bytes: so framing checks what was encrypted
//     too, and limits are those of the connection below.
//   - net/http decides alone where a request ends, and hides from handlers what
//     other programs read differently. So connections check it first (framing.go).
//   - Streams (Watch, Logs, a deploy that is followed) carry heartbeats (relay in
//     service.go). Nothing waits for a slow caller: its connection is closed.
//   - Bodies are read only as fast as they are stored (gate in body.go): behind
//     ServeHTTP gRPC has no flow control of its own.
//   - gin is 1.10.1: of its later versions, 1.11 links QUIC and 1.12 BSON (46 packages,
//     whose faults would be ours to follow, and 0.7 MB), and what they mend (redirects,
//     binding, recovery, hijacking) is not used here.
//   - A panic is an error of its call alone.
//   - To stop, Serve closes streams and drains all other requests. Where another process
//     accepts from the same sockets, it leaves instead (leave.go): each connection ends with an
//     answer that says so, and changes are left to the other process (changes.go).
package server
