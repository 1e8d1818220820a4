package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Typed makes a handler of a function from JSON to JSON. The request's body must be one
// JSON value that T can hold; otherwise the answer is 400 and names the place. The
// answer's body is R; without an R the answer is 204.
//
// An error that has, or wraps one that has, the method StatusCode() int is for
// callers: it is answered with that status, from 400 to 599, and its text. Any other
// is for the log: callers get 500 and the request's id, by which it is found there.
//
// Each request has a T of its own; functions.Typed of the framework decodes all
// of them into one, so that what one caller leaves out comes from another.
func Typed[T, R any](fn func(T) (R, error)) func(http.ResponseWriter, *http.Request) {
	return TypedContext(func(_ context.Context, in T) (R, error) { return fn(in) })
}

// TypedNoResult is Typed of a function without a result.
func TypedNoResult[T any](fn func(T) error) func(http.ResponseWriter, *http.Request) {
	return TypedContext(func(_ context.Context, in T) (none, error) { return none{}, fn(in) })
}

// TypedNoError is Typed of a function that does not fail.
func TypedNoError[T any](fn func(T)) func(http.ResponseWriter, *http.Request) {
	return TypedContext(func(_ context.Context, in T) (none, error) {
		fn(in)
		return none{}, nil
	})
}

// TypedContextNoResult is TypedContext of a function without a result.
func TypedContextNoResult[T any](fn func(context.Context, T) error) func(http.ResponseWriter, *http.Request) {
	return TypedContext(func(ctx context.Context, in T) (none, error) { return none{}, fn(ctx, in) })
}

// TypedContextNoError is TypedContext of a function that does not fail.
func TypedContextNoError[T any](fn func(context.Context, T)) func(http.ResponseWriter, *http.Request) {
	return TypedContext(func(ctx context.Context, in T) (none, error) {
		fn(ctx, in)
		return none{}, nil
	})
}

// none stands for the result of a function without one.
type none struct{}

// TypedContext is Typed of a function that takes the request's context.
func TypedContext[T, R any](fn func(context.Context, T) (R, error)) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		in := new(T)
		answerTyped(w, r, in, func() (any, error) { return fn(r.Context(), *in) })
	}
}

// typedValue is Typed of a function whose type is only known when it runs: one that
// functions.Typed has declared.
func typedValue(fn any) (func(http.ResponseWriter, *http.Request), error) {
	v, failure := reflect.ValueOf(fn), reflect.TypeFor[error]()
	t := v.Type()
	if t.Kind() != reflect.Func || t.IsVariadic() || t.NumIn() != 1 || t.NumOut() > 2 || t.NumOut() > 0 && t.Out(t.NumOut()-1) != failure {
		return nil, fmt.Errorf("a typed function is a func(T) (R, error), func(T) error or func(T), not a %s", t)
	}
	if v.IsNil() {
		return nil, errors.New("it is nil")
	}
	return func(w http.ResponseWriter, r *http.Request) {
		in := reflect.New(t.In(0))
		answerTyped(w, r, in.Interface(), func() (any, error) {
			out := v.Call([]reflect.Value{in.Elem()})
			var err error
			if n := len(out); n > 0 {
				err, _ = out[n-1].Interface().(error)
			}
			if len(out) < 2 {
				return none{}, err
			}
			return out[0].Interface(), err
		})
	}, nil
}

// answerTyped decodes a request's body to what in points to, calls the function and
// answers with its result.
func answerTyped(w http.ResponseWriter, r *http.Request, in any, call func() (any, error)) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	if err := decode(body, in, isStrict(r)); err != nil {
		answerError(w, r, http.StatusBadRequest, "invalid", err.Error())
		return
	}
	out, err := call()
	if err != nil {
		answerFailure(w, r, err)
		return
	}
	if _, ok := out.(none); ok {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, r, http.StatusOK, out)
}

// decode reads the one JSON value that a body consists of. What is wrong with it
// is said by line and column, in characters, both counted from 1.
func decode(body []byte, to any, strict bool) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	if strict {
		dec.DisallowUnknownFields()
	}
	err := dec.Decode(to)
	if err == nil {
		rest := bytes.TrimLeft(body[dec.InputOffset():], " \t\r\n")
		if len(rest) > 0 {
			err = fmt.Errorf("%s: more than one JSON value", position(body, len(body)-len(rest)))
		}
		return err
	}
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the body is empty, want a JSON value")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the JSON value does not end", position(body, len(body)))
	case errors.As(err, &syntax):
		return fmt.Errorf("%s: %w", position(body, int(syntax.Offset)-1), syntax)
	case errors.As(err, &typ):
		what := typ.Field
		if what == "" {
			what = "the value"
		}
		// The offset is that of the value's end, of a list or an object its beginning.
		return fmt.Errorf("%s: %s is a JSON %s, want %s", position(body, int(typ.Offset)-1), what, typ.Value, typ.Type)
	}
	return err // of a type's own UnmarshalJSON, or an unknown field
}

// position names the place of a byte of a text.
func position(text []byte, offset int) string {
	before := text[:min(max(offset, 0), len(text))]
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte{'\n'})+1, utf8.RuneCount(line)+1)
}

// answer writes v as JSON, or an error when v cannot be encoded.
func answer(w http.ResponseWriter, r *http.Request, status int, v any) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, "The function's result cannot be turned into JSON:", err)
		answerError(w, r, http.StatusInternalServerError, "internal", "the function's result cannot be turned into JSON")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff") // < is not escaped
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the caller may have gone
}

// answerFailure answers a call whose function has failed.
func answerFailure(w http.ResponseWriter, r *http.Request, failed error) {
	var meant interface {
		error
		StatusCode() int
	}
	if errors.As(failed, &meant) {
		if status := meant.StatusCode(); status >= 400 && status <= 599 {
			answerError(w, r, status, codeOf(status), meant.Error())
			return
		}
	}
	logFailure(r.Header.Get(requestHeader), failed)
	answerError(w, r, http.StatusInternalServerError, "internal", "the function has failed; its log says why")
}

// logFailure writes a line that is found by the request's id, where there is one.
func logFailure(id string, failed error) {
	if id == "" {
		fmt.Fprintln(os.Stderr, "Function error:", failed)
		return
	}
	line, _ := json.Marshal(struct { // of strings, which cannot fail
		Severity string `json:"severity"`
		Message  string `json:"message"`
		Request  string `json:"request_id"`
	}{"ERROR", "Function error: " + failed.Error(), id})
	fmt.Fprintf(os.Stderr, "%s\n", line)
}

// requestHeader is the id of the request, the gateway's or the caller's.
const requestHeader = "X-Request-Id"

// codes are the platform's words for statuses.
var codes = map[int]string{
	http.StatusBadRequest: "invalid", http.StatusMethodNotAllowed: "unsupported", http.StatusRequestEntityTooLarge: "too_large",
	http.StatusInternalServerError: "internal", http.StatusServiceUnavailable: "unavailable", http.StatusGatewayTimeout: "timeout",
}

// codeOf is a word for a status: the platform's, or made from the usual text.
func codeOf(status int) string {
	if code := codes[status]; code != "" {
		return code
	}
	if text := http.StatusText(status); text != "" {
		return strings.ToLower(strings.NewReplacer(" ", "_", "-", "_", "'", "").Replace(text))
	}
	return "status_" + strconv.Itoa(status)
}

// failure is the body of an error answer, in the platform's form.
type failure struct {
	Error problem `json:"error"`
}

type problem struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	RequestID string `json:"requestId,omitempty"`
}

// answerError answers as the platform does.
func answerError(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	answer(w, r, status, failure{problem{code, message, r.Header.Get(requestHeader)}})
}
