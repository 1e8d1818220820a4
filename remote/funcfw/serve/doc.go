// Package serve is what a function's program does besides the function: it takes the
// handler that functions-framework-go makes of the registered function and serves it on
// sockets that the agent opened, until it is told to stop.
//
// It also wraps functions that are no handlers themselves, see Typed.
//
// Its source is compiled into every function under the import path
// a.ryo.local/serve, so it imports the standard library and
// functions-framework-go, nothing else, and keeps to the language of Go 1.21,
// the lowest that a function's module is built with.
//
// # What the agent gives
//
//	RYO_FUNCTION=HelloWorld  which of the program's functions it is
//	RYO_MOUNT=/helloworld    the path at which the function lives
//	RYO_LISTEN=2             the number of listeners: descriptors 3, 4, …
//	RYO_DRAIN=10s            how long running requests may take after SIGTERM
//	RYO_BODY=1048576         the largest body of a request in bytes; no limit without it
//	RYO_STRICT=1             typed functions refuse JSON with unknown fields
//	RYO_CONCURRENCY=8        how many requests run at a time, further ones wait; no limit without it
//	RYO_WEBHOOK=github:KEY   how requests are signed, and the variable that holds the secret; not at all without it
//	RYO_GOROOT=/…            the GOROOT that holds time zones, where the machine has none
//	RYO_NONCE=3f9c…          what the process is known by, see below
//
// The descriptor after the listeners is the control connection, a connected
// stream socket on which the agent asks over HTTP/1.1:
//
//	GET /_ryo/healthz     200 once requests are served, also while all places are taken
//	GET /_ryo/stats?q=…   what has gone on, as a JSON object
//
// The members of that object are q and nonce, the question's and the process's, by
// which an agent that takes a process over knows that it speaks to the right one;
// requests, all that were ever read; inFlight, those that still run; connections, those
// that are open; idleMs, how many milliseconds there has been neither a request nor an
// open connection; received and sent, all bytes that passed over connections. A
// connection that the function took over, such as a WebSocket, counts as open and its
// request as in flight until it is closed.
//
// When the agent's side closes the connection, nothing happens: a function outlives its
// agent. When this side closes it, no further calls are taken. The variables are
// removed from the environment and the descriptors are closed, so neither reaches
// programs that the function starts.
//
// # What callers get
//
// HTTP/1 and HTTP/2 without TLS (by prior knowledge), as net/http serves them: what a function can do with
// http.ListenAndServe it can do here, with the same effect on the caller. Paths at and
// below the mount reach the function with the mount stripped, byte for byte, and
// X-Forwarded-Prefix says what was stripped; every other path is 404. A request that a
// gateway on the same machine has passed on has its caller's address as its RemoteAddr,
// from X-Ryo-Remote-Addr, which is believed on the unix socket alone. Its context has a
// deadline, after the time that the gateway says in X-Ryo-Timeout, until the answer has
// begun. /_ryo/healthz lies outside of every mount. On SIGTERM and SIGINT the process
// accepts who is connected already, drains and exits with status 0: once running requests
// have been answered and connections that the function took over are closed, or when the
// drain's time is over.
//
// # Decisions
//
//   - The framework has no public way to its handler, only one that listens and serves
//     by itself, without time limits or a drain. Its initServer is linked by name
//     instead, and its registry, for functions that are declared. A changed signature
//     would go unnoticed, so programs are only built with a version of the framework
//     that this package was tested with.
//   - Functions are given the server's own *http.Request, which is changed in place,
//     and its own body: net/http removes the files of a form, refuses a body that it
//     was to ask for, reads trailers and decides about keeping a connection by what it
//     finds there, not in a copy. So bytes are counted on connections, not on bodies.
//     One difference remains: http.MaxBytesReader closes the connection only when it is
//     given net/http's own writer.
//   - The handler is taken out of the framework's ServeMux, which redirects paths
//     such as //a and /a/../b.
//   - The framework answers a panic with 500, also after the answer has begun,
//     when it is too late for a status: callers saw 200 and a cut body with the
//     text of the panic. That connection is broken instead.
//   - Typed functions do not use the framework's functions.Typed, which decodes
//     all requests into one value and takes a % in an answer for a format.
package serve
