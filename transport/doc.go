// Package transport is how the words of proto travel: one Interface, one Client
// for it over gRPC and HTTP, and Serve, which offers any implementation over
// both. It alone imports grpc and gin.
//
// What goes in: NewAgent gives an Interface for an address; it packs a folder
// into an archive on the machine where it runs and uploads it, unless it is
// stored there already, before it deploys. What comes out: Serve takes
// listeners, and calls an Interface with what callers said.
//
// Decisions, and why:
//
//   - Every listener speaks HTTP/1, HTTP/2 without TLS and gRPC, through one
//     http.Server, so that one guard (guard.go) decides for both who may call,
//     and one address serves both kinds of client.
//   - There is one route table (routes.go). The server walks it to decode a
//     request into the message of a gRPC method; the HTTP client is a
//     grpc.ClientConnInterface over the same table. So there is one Client, and
//     HTTP and gRPC cannot drift apart.
//   - There is one table of errors (errors.go): kind, gRPC code, HTTP status.
//     The kind itself always travels as a proto.ErrorDetail, so that a client
//     returns the error that the server had.
//   - What comes bit by bit (Watch, Logs, a deploy that is followed) is a gRPC
//     stream or server-sent events with a heartbeat between them (relay in
//     service.go, listen in client.go): silence is a lost connection, and a slow
//     caller is cut, not waited for.
//   - Agents do more for proxies than Interface says: Worker. Programs travel as
//     zstd streams (programs.go), at the fastest level: 30 MB became 11 in 0.13 s.
//     Size and window are bounded where they are read.
//   - There is one reader of JSON (json.go), with the other names that fields
//     may have and with errors for unknown keys.
//
// The package must never run or read what it carries: archives are checked by
// transport/bundle, sources by the agent.
package transport
