// Package gateway serves the calls of functions: /functions/{name} and below.
//
// It gets routes (Table) and nothing else: it knows agents by name alone, no deploys
// and no disk. The table is immutable and swapped whole, so a call finds its route
// without a lock (table.go). The route's weights choose a version for the call, then it
// takes the less busy of two replicas of that version (balance.go) and goes straight to
// the replica's socket (dial.go).
//
// The choice of a replica knows nothing of HTTP, so that each lane makes it alike:
//
//	p := picker{route: rt, number: number, chosen: version}
//	defer p.release() // the call is in flight at p.target until then
//	for t := p.next(); t != nil; t = p.next() {
//		switch err := send(t); {
//		case err == nil:
//			t.ok() // the head of an answer has come
//			return nil
//		case broken(err): // not by the caller's doing
//			t.fail(err) // sets the replica aside at once
//		}
//		if !unsent(err) {
//			return err // it may have been executed
//		}
//	}
//
// A replica that was set aside is dialed from time to time, by no caller's time, until
// that succeeds (health.go). Meanwhile it gets calls only if there is no other.
//
// Some functions ask something of their calls by their settings: how large a body may be,
// from where they may come, and how often.
// What does not fit is refused before a process is woken (edge.go). Most have no such
// setting and pay for one look at a pointer.
//
// The answers of some are compressed, on their way to callers who accept that, each part
// as it is read (compress.go).
//
// There are two lanes. Most calls are plain: HTTP/1.1, without a body or with a small
// one of known length, and without headers that concern the connection. The
// fast lane (fast.go) reads such a request from the caller's connection before net/http
// does, writes it in one piece to a connection to the replica (links.go), and passes the
// answer on, all in one goroutine and with hardly an allocation. What is not plain it
// has not read, so net/http goes on: the slow lane knows every case. Uploads, websockets,
// HTTP/2 and whatever is unusual go through an httputil.ReverseProxy whose hooks are
// methods of the call (reverse.go). A connection changes between the lanes as its requests
// do.
//
// Of the slow lane's calls, gRPC and what else needs it reach the function over HTTP/2, over
// a few connections that they share (streams.go). All other calls reach it over HTTP/1.1.
//
// A function may limit how many calls each of its processes serves at once. Then calls
// pass its gate first (gate.go), which chooses the replica, and keeps what finds no place
// in a queue that is bounded. A call that waits has given its buffers back.
//
// At its end each call, of either lane, is told to one method as one value (ending.go).
// What is counted follows from that (metrics.go), and the line of the access log (line.go),
// which package accesslog writes, and its span (span.go).
//
// Both lanes share the rules for headers (package forward), the choice of a replica and
// the errors (failure.go). Tests and fuzzers make calls both ways: no caller may see a
// difference. What a gateway must do is written down in conformance, for both lanes.
//
// # Decisions
//
// What lies below the name reaches the function byte for byte. Headers that speak for
// the platform are set here and never taken from callers.
//
// The fast lane has a parser of its own (http1), which leaves to net/http whatever two
// readers could understand differently. A small body is read before the function is
// called, so that no slow caller occupies it. For a busy function 503 is answered: 429 is
// for a caller who calls too often. Bodies are copied: splice(2) took 1.7 times
// the CPU for 1 MiB. Who leaves is told by epoll(7), since nobody reads a connection whose call is
// under way, or waits with its body unread (leaving_linux.go).
//
// Each version of a function has its counters, which a call finds without a lookup; they
// go with its route. Labels are of closed sets, and none is the caller's. Durations are
// counted in a histogram of our own that has the buckets of a native one: Prometheus'
// client took 400 ns and an allocation for each.
//
// The server refuses requests whose length is in doubt, so none comes here. An answer
// that is sent before the caller's body has come whole closes the connection, so that
// the rest is not taken for a request. When a call takes too long, the error names who
// was late: the caller with its body (408), or the function (504).
//
// Each replica has its own connections, in links and in a Transport: idle ones are
// closed with it, and a unix socket needs no invented host name. The Transport is for
// calls with bodies alone. It would repeat a call without one on each connection that
// turns out to be closed, which is all of them when the function's process exits. So
// such calls take links in both lanes and are sent twice at most.
//
// A connection of HTTP/2 carries few calls, so that each may have as much unread as the
// function's server takes of it, and none waits for another. A body is read by a goroutine of
// its own there: when a server stops, it says which calls it has not begun, and these go on
// over another connection, although their callers may be silent. Nobody else says so, and
// nothing else is repeated.
//
// A websocket over HTTP/2 (RFC 8441) is a call of HTTP/1.1 to the function (socket.go), which
// knows of no other. Nothing else is served by CONNECT.
package gateway
