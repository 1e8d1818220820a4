package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// limitBody refuses requests whose body is larger than limit, in bytes.
func limitBody(next http.Handler, limit int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > limit {
			// A caller that is still sending when the answer comes sees a broken
			// connection instead of it. So as much is read as a body that is taken may
			// have, unless the caller waits to be asked for it.
			if r.Header.Get("Expect") == "" {
				_, _ = io.CopyN(io.Discard, r.Body, limit)
			}
			answerTooLarge(w, r, limit)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		next.ServeHTTP(w, r)
	})
}

// readBody reads a body whole. If it is not ok, the request has been answered.
func readBody(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	body, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		answerTooLarge(w, r, large.Limit)
	case err != nil:
		answerError(w, r, http.StatusBadRequest, "invalid", "the body could not be read: "+err.Error())
	}
	return body, err == nil
}

func answerTooLarge(w http.ResponseWriter, r *http.Request, limit int64) {
	answerError(w, r, http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is larger than %d bytes", limit))
}

// strictKey is the context key that is there when Typed is to refuse fields that
// its type does not have.
type strictKey struct{}

func strictly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), strictKey{}, true)))
	})
}

func isStrict(r *http.Request) bool { return r.Context().Value(strictKey{}) != nil }
