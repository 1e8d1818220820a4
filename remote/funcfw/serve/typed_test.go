package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

type point struct {
	X, Y int
	Name string
	In   struct{ Deep []bool }
}

func TestDecodeSaysWhatIsWrongAndWhere(t *testing.T) {
	for body, want := range map[string]string{
		`{"X": 1}`:                             "",
		" \n{}\r\n\t ":                         "",
		"null":                                 "",
		`{"x": 1, "Other": [{}]}`:              "",
		"":                                     "the body is empty, want a JSON value",
		" \n":                                  "the body is empty, want a JSON value",
		`{"X": 1`:                              "line 1, column 8: the JSON value does not end",
		"{\n\"Name\": \"üü\",\n  \"X\": 1,\n}": "line 4, column 1: invalid character '}' looking for beginning of object key string",
		`{"Name": "üü" 7`:                      "line 1, column 15: invalid character '7' after object key:value pair",
		"oops":                                 "line 1, column 1: invalid character 'o' looking for beginning of value",
		"{}\n {}":                              "line 2, column 2: more than one JSON value",
		"{} oops":                              "line 1, column 4: more than one JSON value",
		"\n[1]":                                "line 2, column 1: the value is a JSON array, want serve.point",
		"{\n \"X\": \"1\"}":                    "line 2, column 9: X is a JSON string, want int",
		`{"In": {"Deep": [true, 1]}}`:          "line 1, column 24: In.Deep is a JSON number, want bool",
		`{"X": 1e99}`:                          "line 1, column 10: X is a JSON number 1e99, want int",
		strings.Repeat("[", 20_000):            "line 1, column 10001: invalid character '[' exceeded max depth",
	} {
		err := decode([]byte(body), new(point), false)
		if want == "" {
			assert.NoError(t, err, body)
		} else {
			assert.ErrorContains(t, err, want, "%.40q", body)
		}
	}
	assert.ErrorContains(t, decode([]byte(`{"X": 1, "Other": 2}`), new(point), true), `unknown field "Other"`)
	assert.NoError(t, decode([]byte(`{"x": 1}`), new(point), true))
}

func FuzzDecode(f *testing.F) {
	for _, body := range []string{`{"a": [1, true, null, "x"]}`, "", " ", "{}{}", "\xff", "[\n1\n,]", `"\ud800"`, "1e999", "{}\x00", "[[[["} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var v any
		err := decode(body, &v, false)
		if valid := json.Valid(body); valid && err != nil {
			// 1e999 is JSON, but no number of Go's.
			if !strings.Contains(err.Error(), "want float64") {
				t.Fatalf("%q: %v", body, err)
			}
		} else if !valid && err == nil {
			t.Fatalf("%q is taken for %v", body, v)
		}
	})
}

// calls a handler with a body.
func call(h http.HandlerFunc, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)))
	return w
}

func TestTypedForms(t *testing.T) {
	got := 0
	fails := errors.New("fails")
	fail := func(n int) error {
		if got = n; n < 0 {
			return fails
		}
		return nil
	}
	for name, h := range map[string]struct {
		handler http.HandlerFunc
		fails   bool
		body    string
	}{
		"result and error":          {Typed(func(n int) (int, error) { return n, fail(n) }), true, "7\n"},
		"error":                     {TypedNoResult(fail), true, ""},
		"nothing":                   {TypedNoError(func(n int) { _ = fail(n) }), false, ""},
		"context, result and error": {TypedContext(func(ctx context.Context, n int) (int, error) { return n, errors.Join(ctx.Err(), fail(n)) }), true, "7\n"},
		"context, error":            {TypedContextNoResult(func(_ context.Context, n int) error { return fail(n) }), true, ""},
		"context":                   {TypedContextNoError(func(_ context.Context, n int) { _ = fail(n) }), false, ""},
	} {
		got = 0
		w := call(h.handler, "7")
		assert.Equal(t, 7, got, name)
		assert.Equal(t, h.body, w.Body.String(), name)
		assert.Equal(t, map[bool]int{true: http.StatusNoContent, false: http.StatusOK}[h.body == ""], w.Code, name)
		w = call(h.handler, "-7")
		assert.Equal(t, h.fails, w.Code == http.StatusInternalServerError, name)
		assert.Equal(t, http.StatusBadRequest, call(h.handler, "").Code, name)
	}
}

func TestTypedResultsThatAreNoJSON(t *testing.T) {
	w := call(Typed(func(bool) (float64, error) { return math.NaN(), nil }), "true")
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.JSONEq(t, `{"error": {"code": "internal", "message": "the function's result cannot be turned into JSON"}}`, w.Body.String())

	w = call(Typed(func(bool) (*int, error) { return nil, nil }), "true")
	assert.Equal(t, "null\n", w.Body.String())
}

// teapot is an error that says how it is to be answered.
type teapot int

func (teapot) Error() string     { return "no coffee <here>" }
func (t teapot) StatusCode() int { return int(t) }

func TestTypedErrors(t *testing.T) {
	const hidden = `{"error": {"code": "internal", "message": "the function has failed; its log says why", "requestId": "id-1"}}`
	shown := func(code string) string {
		return `{"error": {"code": "` + code + `", "message": "no coffee <here>", "requestId": "id-1"}}`
	}
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{teapot(418), 418, shown("im_a_teapot")},
		{teapot(400), 400, shown("invalid")},
		{teapot(404), 404, shown("not_found")},
		{teapot(422), 422, shown("unprocessable_entity")},
		{teapot(503), 503, shown("unavailable")},
		{teapot(499), 499, shown("status_499")},
		{fmt.Errorf("the pot of %s: %w", "a secret", teapot(409)), 409, shown("conflict")},
		{errors.Join(errors.New("a secret"), teapot(403)), 403, shown("forbidden")},
		{teapot(200), 500, hidden},
		{teapot(0), 500, hidden},
		{teapot(1000), 500, hidden},
		{errors.New("a secret"), 500, hidden},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("1"))
		r.Header.Set("X-Request-Id", "id-1")
		w := httptest.NewRecorder()
		TypedNoResult(func(int) error { return c.err })(w, r)
		assert.Equal(t, c.status, w.Code, "%v", c.err)
		assert.JSONEq(t, c.body, w.Body.String(), "%v", c.err)
	}
	w := call(TypedNoResult(func(int) error { return errors.New("a secret") }), "1")
	assert.JSONEq(t, `{"error": {"code": "internal", "message": "the function has failed; its log says why"}}`, w.Body.String())
}

func TestLimitBody(t *testing.T) {
	h := limitBody(http.HandlerFunc(Typed(func(s string) (int, error) { return len(s), nil })), 10)
	for body, want := range map[string]int{`"12345678"`: http.StatusOK, `"123456789"`: http.StatusRequestEntityTooLarge} {
		for _, length := range []int64{int64(len(body)), -1} {
			r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader([]byte(body)))
			r.ContentLength = length
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			assert.Equal(t, want, w.Code, "%s, length %d", body, length)
		}
	}
}

// unasked is a body that must not be read.
type unasked struct{ t *testing.T }

func (u unasked) Read([]byte) (int, error) {
	u.t.Error("a caller was asked for a body that is refused")
	return 0, io.EOF
}

func TestLimitBodyDoesNotAskForWhatItRefuses(t *testing.T) {
	h := limitBody(http.NotFoundHandler(), 10)
	r := httptest.NewRequest(http.MethodPost, "/", unasked{t})
	r.ContentLength = 11
	r.Header.Set("Expect", "100-continue")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	assert.Equal(t, http.StatusRequestEntityTooLarge, w.Code)
}

func BenchmarkTyped(b *testing.B) {
	h := Typed(func(p point) (point, error) { return p, nil })
	b.ReportAllocs()
	for b.Loop() {
		call(h, `{"X": 1, "Y": 2, "Name": "a"}`)
	}
}
