// Package gateway serves the calls of functions: /functions/{name} and below.
//
// It is told routes (Table) and nothing else: it knows no agents but by name, no
// deploys and no disk. The table is immutable and swapped whole, so a call finds its
// route without a lock (table.go). It is given a version by the weights of the route,
// then the least busy replica that serves it (balance.go), and goes straight to that
// replica's socket (dial.go).
//
// There are two lanes. Most calls are plain: HTTP/1.1, without a body or with a small
// one of known length, and with no wish that concerns the connection. Such a call
// goes directly (direct.go): the goroutine that serves the caller writes the request
// in one piece to a connection of the replica's (links.go), reads the answer and
// copies it. No other goroutine has a part in it, which saves two fifths of what a
// call through http.Transport costs. All other calls, uploads, websockets and HTTP/2
// among them, go through httputil.ReverseProxy with one value per call, so that its
// hooks are methods of the call (reverse.go).
//
// Both lanes share the rules for headers (package forward), the choice of a replica, the
// words in which a call is refused (failure.go), and the end of the call, which is
// known in one deferred place (call.end). A test and a fuzzer make calls both ways:
// nobody may see a difference.
//
// # Decisions
//
// What lies below the name reaches the function byte for byte. Headers that speak for
// the platform are set here and never taken from callers.
//
// The answer of a plain call is read by http.ReadResponse, as http.Transport does; a
// parser of our own would save a twentieth of what is left. A small body is read
// before the function is called, so that no slow caller occupies it. Bodies are
// copied: splice(2) took 1.7 times the CPU for 1 MiB.
//
// A request whose end is in doubt does not come this far: the server's connections
// see to that. An answer that leaves before the caller's body has come whole closes
// the connection, so that the rest is not taken for a request. When a call takes too
// long, the party that is waited for is named: the caller whose body does not come
// (408), or the function (504).
//
// Each replica has connections of its own, in links and in a Transport: the idle
// ones end with it, and a unix socket needs no invented host name. The Transport is
// for calls with bodies alone. It repeats a call without one on each connection that
// turns out to be closed, and when the function's process ends that is all of them:
// such calls take links in both lanes, and are sent twice at most.
package gateway
