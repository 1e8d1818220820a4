// Package transport is how callers reach a proxy or an agent: one Interface, and
// NewAgent, which gives a Client of it for an address, over gRPC or HTTP.
//
//	cli := transport.NewAgent(transport.RPC, "localhost:9001")
//	defer cli.Close()
//	rows, err := cli.Deploy(ctx, &proto.FunctionJson{Name: "HelloWorld", Dir: "./hello", Wait: true})
//
// What goes in: an address, and the words of proto. A deploy packs the folder
// that it names on the machine where it runs, and uploads the archive unless it
// is stored there already. What comes out: rows, and errors with a kind of proto
// (errors.Is(err, proto.ErrNotFound)), the same whichever way they came.
//
// Decisions, and why:
//
//   - The package serves nothing, so that a program which deploys functions links
//     no server. Serving is package server's, what both sides agree on package
//     wire's.
//   - There is one Client. It calls a generated gRPC client, whose connection is either
//     gRPC's or one that makes the HTTP requests of wire.Routes (httpconn.go), so HTTP
//     and gRPC cannot drift apart.
//   - Both kinds connect in one place (dial.go). Addresses are taken literally: proxies
//     of the environment are not used, redirects not followed.
//   - Nothing is repeated that may have been executed. A request fails at once where
//     nobody answers; the next one finds a server that has come back.
//   - Each request has a time limit of its own (wire's table), unless its context has
//     one. A stream fails when the server is silent for too long.
//   - Agents do more for proxies than Interface says: Worker, and a Door to the sockets
//     of their functions. Who may call is decided by those who have the calls of Admin;
//     proxies look after agents by those of Registrar, and call functions at times by
//     those of Scheduler.
//   - A token is never sent to another machine in the clear, unless the caller insists
//     (WithClearToken).
//
// The package must never run or read what it carries: archives are checked by
// package bundle, sources by the agent.
package transport
