// Package wire is what both sides of a connection agree on. It is shared by
// packages transport and server and opens no connection itself.
//
//   - Routes is the one table of requests: which HTTP request stands for which gRPC
//     method, and what its caller must be allowed. The server registers it and decodes
//     a request into the method's message; the HTTP client looks up how to send a
//     message.
//   - Decode reads what people and programs write: fields also by their aliases,
//     errors for unknown keys. Encode writes answers: every field, and numbers as
//     numbers (encode.go). Read reads answers, and skips the fields of newer servers.
//   - Server-sent events carry what comes bit by bit over HTTP (events.go).
//   - kinds (errors.go) is the one table of errors: kind, gRPC code, HTTP status.
//     The kind itself always travels as a proto.ErrorDetail, so a client returns
//     the error that the server had.
//   - limits.go is the one table of sizes and times.
//   - Programs travel as zstd streams (programs.go) at the fastest level: 30 MB
//     became 11 in 0.13 s. Size and window are bounded where they are read.
package wire
