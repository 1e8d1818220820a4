package serve

import "net/http"

// atMost has at most n requests run at a time; a further one waits for a place
// until its context ends. A request keeps its place until it has ended, also one
// that streams or has taken its connection over.
func atMost(n int, next http.Handler) http.Handler {
	places := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
		case <-r.Context().Done():
			w.WriteHeader(http.StatusServiceUnavailable) // seldom read: most such callers have left
			return
		}
		exchangeOf(w).places = places
		next.ServeHTTP(w, r)
	})
}
