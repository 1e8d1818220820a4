package serve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime/debug"
)

// abortedKey is the context key of a *bool: the answer must be broken off.
type abortedKey struct{}

// Guard wraps the user's function, inside the framework's recovery from panics.
// A panic that the framework can still answer with 500 is left to it. After a
// panic in the midst of an answer, and after http.ErrAbortHandler, the
// connection is broken, so that the caller does not take a part for the whole.
//
// Guard of nil is nil, which Run reports.
func Guard(target func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) {
	if target == nil {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) {
		tracked := &writer{ResponseWriter: w}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			err, _ := v.(error)
			meant := errors.Is(err, http.ErrAbortHandler)
			aborted, ok := r.Context().Value(abortedKey{}).(*bool)
			if !ok || !meant && !tracked.began {
				panic(v) // the framework logs it with its stack and answers
			}
			if !meant {
				fmt.Fprintf(os.Stderr, "A panic occurred after the answer had begun.\npanic message: %v\n%s", v, debug.Stack())
			}
			*aborted = true
		}()
		target(tracked, r)
	}
}

// breakAborted raises http.ErrAbortHandler, on which the server breaks the
// connection, where the framework cannot catch it.
func breakAborted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		aborted := new(bool)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), abortedKey{}, aborted)))
		if *aborted {
			panic(http.ErrAbortHandler)
		}
	})
}

// writer notes whether the answer has begun. It offers what the server's own
// writers offer, since functions ask for it by type assertion.
type writer struct {
	http.ResponseWriter
	began bool
}

var (
	_ http.Flusher    = (*writer)(nil)
	_ http.Hijacker   = (*writer)(nil)
	_ io.ReaderFrom   = (*writer)(nil)
	_ io.StringWriter = (*writer)(nil)
)

// Unwrap serves http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader sends the header.
func (w *writer) WriteHeader(status int) {
	// An informational status is followed by the answer's own.
	w.began = w.began || status >= http.StatusOK || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body.
func (w *writer) Write(p []byte) (int, error) {
	w.began = true
	return w.ResponseWriter.Write(p)
}

// WriteString is Write without a copy.
func (w *writer) WriteString(s string) (int, error) {
	w.began = true
	return io.WriteString(w.ResponseWriter, s)
}

// ReadFrom lets the server copy from a file without a buffer of ours.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	w.began = true
	return io.Copy(w.ResponseWriter, r)
}

// Flush sends what is buffered.
func (w *writer) Flush() { _ = w.FlushError() }

// FlushError is how http.ResponseController flushes.
func (w *writer) FlushError() error {
	w.began = true
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// CloseNotify is what gin streams by.
func (w *writer) CloseNotify() <-chan bool {
	return w.ResponseWriter.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // as the server's own writers do
}

// Hijack takes the connection over.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.began = w.began || err == nil
	return conn, rw, err
}
