package serve

import (
	"context"
	"fmt"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
)

// RunDeclared is Run for a function that an init function has declared by name.
func RunDeclared(name string) error {
	// Where the framework does not find the name it takes what was registered last
	// without one. That shall be no function of the user's but this one, which no
	// handler can be made of.
	if err := funcframework.RegisterEventFunctionContext(context.Background(), "/", func() {}); err != nil {
		return err
	}
	return run(func() (http.Handler, error) {
		h, err := frameworkHandler(name)
		if err != nil {
			return nil, fmt.Errorf("the init functions have not declared %s: %w", name, err)
		}
		return breakCrashed(h), nil
	})
}

// breakCrashed does for declared functions what Guard cannot, since it would have
// to be inside the framework's recovery: after a panic in the midst of an answer
// the connection is broken. The framework tells of the panic by a second status.
func breakCrashed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &crashWriter{writer: writer{ResponseWriter: w}}
		next.ServeHTTP(c, r)
		if c.crashed {
			panic(http.ErrAbortHandler)
		}
	})
}

// crashWriter drops what the framework adds to an answer that has begun.
type crashWriter struct {
	writer
	crashed bool
}

// WriteHeader sends the header.
func (w *crashWriter) WriteHeader(status int) {
	if w.began && status == http.StatusInternalServerError && w.Header().Get("X-Google-Status") == "crash" {
		w.crashed = true
		return
	}
	w.writer.WriteHeader(status)
}

// Write sends a part of the body.
func (w *crashWriter) Write(p []byte) (int, error) {
	if w.crashed {
		return len(p), nil
	}
	return w.writer.Write(p)
}

// WriteString is Write without a copy.
func (w *crashWriter) WriteString(s string) (int, error) {
	if w.crashed {
		return len(s), nil
	}
	return w.writer.WriteString(s)
}
