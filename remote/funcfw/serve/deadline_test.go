package serve

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// within serves a request whose answer must begin in a second, at the time 0.
func within(t *testing.T, body io.Reader, fn func(w http.ResponseWriter, r *http.Request, since func() time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		h, err := HTTP(func(w http.ResponseWriter, r *http.Request) {
			fn(w, r, func() time.Duration { return time.Since(begun) })
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/f", body)
		r.Header.Set(timeoutHeader, "1s")
		newTraffic(mount{path: "/f", next: h}).ServeHTTP(httptest.NewRecorder(), r)
		cancel() // as net/http does
	})
}

func TestTheContextEndsWithTheCallsTime(t *testing.T) {
	within(t, http.NoBody, func(_ http.ResponseWriter, r *http.Request, since func() time.Duration) {
		at, ok := r.Context().Deadline()
		assert.True(t, ok)
		assert.Equal(t, time.Second, time.Until(at))
		assert.Empty(t, r.Header.Get(timeoutHeader))
		assert.NoError(t, r.Context().Err())

		child, cancel := context.WithCancel(r.Context())
		defer cancel()
		grandchild, cancel := context.WithTimeout(context.WithValue(child, strictKey{}, ""), time.Hour)
		defer cancel()
		<-grandchild.Done()
		assert.Equal(t, time.Second, since())
		for _, ctx := range []context.Context{r.Context(), child, grandchild} {
			<-ctx.Done()
			assert.Equal(t, context.DeadlineExceeded, ctx.Err())
		}
		assert.Equal(t, context.DeadlineExceeded, context.Cause(child))
	})
	within(t, http.NoBody, func(_ http.ResponseWriter, r *http.Request, _ func() time.Duration) {
		<-time.After(time.Second) // and nobody waits
		assert.Equal(t, context.DeadlineExceeded, r.Context().Err())
		<-r.Context().Done()
	})
}

func TestTheTimeEndsWhenTheAnswerBegins(t *testing.T) {
	for name, begin := range map[string]func(w http.ResponseWriter){
		"status": func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) },
		"body":   func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") },
		"flush":  func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"switch": func(w http.ResponseWriter) { w.WriteHeader(http.StatusSwitchingProtocols) },
	} {
		for _, waits := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				within(t, http.NoBody, func(w http.ResponseWriter, r *http.Request, _ func() time.Duration) {
					if waits {
						child, cancel := context.WithCancel(r.Context())
						defer cancel()
						require.NoError(t, child.Err())
					}
					begin(w)
					select {
					case <-r.Context().Done():
						assert.Fail(t, "a stream was ended")
					case <-time.After(time.Hour):
					}
					assert.NoError(t, r.Context().Err())
					_, limited := r.Context().Deadline()
					assert.False(t, limited)
				})
			})
		}
	}
}

// slowly is a body that comes in pieces.
type slowly struct{ *strings.Reader }

func (s slowly) Read(p []byte) (int, error) {
	<-time.After(900 * time.Millisecond)
	return s.Reader.Read(p[:1])
}

func TestTheTimeCountsFromTheLastPartOfTheBody(t *testing.T) {
	within(t, slowly{strings.NewReader("abcd")}, func(_ http.ResponseWriter, r *http.Request, since func() time.Duration) {
		done := r.Context().Done()
		text, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, "abcd", string(text))
		assert.NoError(t, r.Context().Err())
		<-done
		assert.Equal(t, 5*900*time.Millisecond+time.Second, since())
	})
}

func TestALeavingCallerEndsTheContextBeforeItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/f", http.NoBody)
		r.Header.Set(timeoutHeader, "1s")
		newTraffic(mount{path: "/f", next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
			assert.Equal(t, context.Canceled, r.Context().Err())
		})}).ServeHTTP(httptest.NewRecorder(), r)
	})
}

func TestTimesThatAreNone(t *testing.T) {
	for _, text := range []string{"", "soon", "-1s", "0s", "5"} {
		r := httptest.NewRequest(http.MethodGet, "/f", http.NoBody)
		if text != "" {
			r.Header.Set(timeoutHeader, text)
		}
		newTraffic(mount{path: "/f", next: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, limited := r.Context().Deadline()
			assert.False(t, limited, text)
		})}).ServeHTTP(httptest.NewRecorder(), r)
	}
}
