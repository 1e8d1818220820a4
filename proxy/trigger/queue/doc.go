// Package queue makes calls of functions later than they are asked for: a call is stored,
// its caller is told an id, and the function is called as soon as it can be, as often as
// that takes.
//
// It keeps messages in a store's Queue, what became of them in its Registry, and what is
// large in its Blobs. It calls functions through the gateway, as every other caller: their
// settings hold, and a call has its line in the access log and its place in the metrics. It
// must never know agents, or decide what a caller may do: the gateway does.
//
// The way of a call:
//
//	accept.go    headers → request → one durable message (its id says where it lies)
//	consume.go   a consumer for each function that has messages
//	attempt.go   record "running" → the gateway → record of what came of it
//	finish.go    what follows from the end: the next function, a callback, a dead letter
//	calls.go     what callers ask afterwards
//
// # Decisions
//
// A call is made at least once, and never exactly once: a proxy that is killed while a
// function works has not written down that it is done. So the function is told the call's
// id and the number of the attempt, by which it can tell.
//
// The message is the only thing that is written when a call is accepted. The record begins
// with the first attempt, by Create: whoever cancels a call that waits creates a record that
// says so, and one of the two fails. Of two proxies that hold one message the record decides
// in the same way.
//
// The queue's own counts of deliveries are not those of the calls. An attempt counts once
// the function may have seen something of it. While there is no way to a function, its calls
// wait, as long as their age allows.
//
// The record that a call has ended is written before what follows from it: a next call, a
// callback, a dead letter. Each of those has an id of its own that follows from the call's,
// so that it is stored once though it is told twice.
//
// A notice is what the operator wants told, of deploys, to a url of their choice (tell.go). It
// is delivered as callbacks are: signed, tried again, and to allowed addresses alone.
//
// A callback goes where a caller says. So it goes nowhere that this machine alone, or its
// network, can reach, unless the operator has allowed that, and addresses are judged when
// they are dialed: a name may have another one by then.
package queue
