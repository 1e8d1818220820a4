package stream

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// recorder notes when each part of an answer leaves.
type recorder struct {
	*httptest.ResponseRecorder
	started time.Time
	sent    []sent
}

type sent struct {
	at   time.Duration
	text string
}

func (r *recorder) Flush() {
	r.sent = append(r.sent, sent{time.Since(r.started), r.Body.String()})
	r.Body.Reset()
}

func TestCountdownSendsEachEventAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &recorder{ResponseRecorder: httptest.NewRecorder(), started: time.Now()}
		Countdown(w, httptest.NewRequest(http.MethodGet, "/", nil))

		assert.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
		assert.Equal(t, []sent{
			{0, "data: 5\n\n"},
			{every, "data: 4\n\n"},
			{2 * every, "data: 3\n\n"},
			{3 * every, "data: 2\n\n"},
			{4 * every, "data: 1\n\n"},
		}, w.sent)
	})
}

func TestCountdownStopsWhenTheCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), every+every/2)
		defer cancel()
		w := &recorder{ResponseRecorder: httptest.NewRecorder(), started: time.Now()}
		Countdown(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))

		assert.Len(t, w.sent, 2)
		assert.Equal(t, every+every/2, time.Since(w.started))
	})
}
