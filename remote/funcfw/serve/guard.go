package serve

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
)

// Guard wraps the user's function, inside the framework's recovery from panics.
// A panic that the framework can still answer with 500 is left to it. After a
// panic in the midst of an answer, and after http.ErrAbortHandler, the
// connection is broken, so that the caller does not take a part for the whole.
//
// The function is given the server's own request, see exchange.
//
// Guard of nil is nil, which Registered reports.
func Guard(target func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) {
	if target == nil {
		return nil
	}
	return func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(w)
		if x != nil {
			// The framework has made a copy, for a context of its own.
			*x.request = *r
			r = x.request
		}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			err, _ := v.(error)
			meant := errors.Is(err, http.ErrAbortHandler)
			if x == nil || !meant && !x.began {
				panic(v) // the framework logs it with its stack and answers
			}
			if !meant {
				fmt.Fprintf(os.Stderr, "A panic occurred after the answer had begun.\npanic message: %v\n%s", v, debug.Stack())
			}
			x.aborted = true
		}()
		target(w, r)
	}
}
