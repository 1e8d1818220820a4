package proto

import "crypto/rand"

// RequestIDHeader carries the id of a request, both ways.
const RequestIDHeader = "X-Request-Id"

const maxRequestID = 128 // bytes; longer than any id in use

// RequestID returns the id of a request: the one that its caller gave, if that can
// stand in a header and a log, or a new one.
func RequestID(given string) string {
	for i := range len(given) {
		if given[i] <= ' ' || given[i] >= 0x7f {
			return rand.Text()
		}
	}
	if given == "" || len(given) > maxRequestID {
		return rand.Text()
	}
	return given
}
