package wire

import (
	"crypto/rand"
	"net/http"
)

// RequestIDHeader carries the id of a request, both ways.
const RequestIDHeader = "X-Request-Id"

// RequestID is the id of a request with these headers: the caller's, if it can stand
// in a header and a log, or a new one.
func RequestID(h http.Header) string {
	id := h.Get(RequestIDHeader)
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return rand.Text()
		}
	}
	if id == "" || len(id) > MaxRequestID {
		return rand.Text()
	}
	return id
}
