package serve

import "net/http"

// atMost runs at most n requests at a time; a further one waits for a place until its
// context is done. A request keeps its place until it is released, see exchange.
func atMost(n int, next http.Handler) http.Handler {
	places := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
		case <-r.Context().Done():
			w.WriteHeader(http.StatusServiceUnavailable) // most such callers have gone
			return
		}
		exchangeOf(w).places = places
		next.ServeHTTP(w, r)
	})
}
