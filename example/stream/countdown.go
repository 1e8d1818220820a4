package stream

import (
	"fmt"
	"net/http"
	"time"
)

const (
	events = 5
	every  = 300 * time.Millisecond
)

// Countdown is the function to deploy.
func Countdown(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)

	tick := time.NewTicker(every)
	defer tick.Stop()
	for left := events; ; left-- {
		fmt.Fprintf(w, "data: %d\n\n", left)
		if err := out.Flush(); err != nil {
			return // the caller has canceled
		}
		if left == 1 {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}
