// Package events takes CloudEvents at POST /events and gives each to the functions that
// subscribe to its type.
//
// It reads the binary, the structured and the batched form of the HTTP binding
// (github.com/cloudevents/spec, v1.0.2), of which the SDK would bring more code than is
// here, and a logger of its own. What an event says is checked, as far as the
// specification demands it; what is in its data is its function's to judge.
//
// The webhooks of others become events at /hooks/NAME (hooks.go), if they are signed with
// the secret that the proxy is given for that name. Their senders have no token, and their
// receivers are whoever subscribes; a function that is to see the webhook of one sender
// alone has the setting webhook, and its secret stays with its process.
//
// An event is accepted once it is stored, as one message that also names the functions
// which subscribe then. The proxy gives it to each of them at once, as a call that waits
// like any other (see proxy/trigger/queue), and withdraws the message. If the proxy ends in
// between, or the queue of a function is full, the message comes back after a while and the
// same is done again: keys made of the event's source, its id and the function let each get
// it once. For the same reason a sender may send an event again that it does not know to be
// accepted.
package events
