package serve

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func called(t *testing.T, h http.Handler, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	h.ServeHTTP(w, r)
	return w
}

// The framework's own wrapper decodes all requests into one value.
func TestDeclaredTypedFunctionsKeepCallersApart(t *testing.T) {
	type in struct{ A, B string }
	functions.Typed("typed", func(v in) (in, error) { return v, nil })
	functions.Typed("typed-failing", func(v *in) error { return errors.New(v.A) })
	functions.Typed("typed-silent", func(map[string]int) {})
	h, err := Declared("typed")
	require.NoError(t, err)
	assert.JSONEq(t, `{"A": "100%", "B": "x"}`, called(t, h, `{"A": "100%", "B": "x"}`).Body.String())
	assert.JSONEq(t, `{"A": "", "B": "y"}`, called(t, h, `{"B": "y"}`).Body.String())
	assert.Equal(t, http.StatusBadRequest, called(t, h, `{`).Code)
	for name, status := range map[string]int{"typed-failing": http.StatusInternalServerError, "typed-silent": http.StatusNoContent} {
		h, err := Declared(name)
		require.NoError(t, err)
		assert.Equal(t, status, called(t, h, "{}").Code, name)
	}
}

func TestDeclaredWithoutAFunction(t *testing.T) {
	functions.HTTP("nil-http", nil)
	functions.Typed("no-function", 1)
	functions.Typed("many-results", func(int) (int, int, error) { return 0, 0, nil })
	functions.Typed("nil-typed", (func(int) error)(nil))
	for name, want := range map[string]string{
		"nil-http":     `function "nil-http" is declared with a function that is nil`,
		"nil-typed":    `function "nil-typed": it is nil`,
		"no-function":  `function "no-function": a typed function is a func(T) (R, error), func(T) error or func(T), not a int`,
		"many-results": `function "many-results": a typed function is a func(T) (R, error), func(T) error or func(T), not a func(int) (int, int, error)`,
	} {
		_, err := Declared(name)
		assert.EqualError(t, err, want)
	}
}

type byPointer struct{ text string }

func (b *byPointer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, b.text)
}

func TestVariables(t *testing.T) {
	type named func(http.ResponseWriter, *http.Request)
	says := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }
	mux := http.NewServeMux()
	mux.HandleFunc("/", says)
	var (
		handler  http.Handler = mux
		function              = http.HandlerFunc(says)
		plain                 = says
		own      named        = says
		value                 = byPointer{"ok"}
		pointer               = &value
		context               = func(_ context.Context, w http.ResponseWriter, r *http.Request) { says(w, r) }
		boxed    any          = mux

		noHandler  http.Handler
		noMux      *http.ServeMux
		noFunction named
		number     int
		structure  struct{}
	)
	for name, made := range map[string]func() (http.Handler, error){
		"handler": func() (http.Handler, error) { return Variable("V", &handler) }, "function": func() (http.Handler, error) { return Variable("V", &function) },
		"plain": func() (http.Handler, error) { return Variable("V", &plain) }, "own": func() (http.Handler, error) { return Variable("V", &own) },
		"value": func() (http.Handler, error) { return Variable("V", &value) }, "pointer": func() (http.Handler, error) { return Variable("V", &pointer) },
		"context": func() (http.Handler, error) { return Variable("V", &context) }, "any": func() (http.Handler, error) { return Variable("V", &boxed) },
		"mux": func() (http.Handler, error) { return Variable("V", &mux) }, "mux by value": func() (http.Handler, error) { return Variable("V", mux) },
	} {
		h, err := made()
		require.NoError(t, err, name)
		assert.Equal(t, "ok", called(t, h, "").Body.String(), name)
	}
	for _, made := range []func() (http.Handler, error){
		func() (http.Handler, error) { return Variable("V", &noHandler) }, func() (http.Handler, error) { return Variable("V", &noMux) },
		func() (http.Handler, error) { return Variable("V", &noFunction) },
	} {
		_, err := made()
		assert.EqualError(t, err, "the variable V is nil: give it a handler where it is declared, or in an init function")
	}
	_, err := Variable("V", &number)
	assert.EqualError(t, err, "the variable V is a int, which is no http.Handler: it has no method ServeHTTP(http.ResponseWriter, *http.Request)")
	_, err = Variable("V", &structure)
	assert.ErrorContains(t, err, "is a struct {}, which is no http.Handler")
}

func TestCloudEventsAreAnswered(t *testing.T) {
	answer := func(e cloudevents.Event) (*cloudevents.Event, error) {
		switch e.Type() {
		case "none":
			return nil, nil //nolint:nilnil // no answer
		case "error":
			return nil, errors.New("refused")
		case "panic":
			panic("boom")
		}
		e.SetType("answer")
		e.SetID("2")
		return &e, e.SetData(cloudevents.ApplicationJSON, map[string]int{"n": 1})
	}
	byPointer, err := CloudEventAnswer(func(_ context.Context, e cloudevents.Event) (*cloudevents.Event, error) { return answer(e) })
	require.NoError(t, err)
	byValue, err := CloudEventAnswer(func(_ context.Context, e cloudevents.Event) (out cloudevents.Event, err error) {
		p, err := answer(e)
		if p != nil {
			out = *p
		}
		return out, err
	})
	require.NoError(t, err)
	for _, h := range []http.Handler{byPointer, byValue} {
		event := func(typ string) *httptest.ResponseRecorder {
			return called(t, h, `{}`, "Ce-Id", "1", "Ce-Source", "s", "Ce-Type", typ, "Ce-Specversion", "1.0", "Content-Type", "application/json")
		}
		w := event("question")
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Equal(t, "answer", w.Header().Get("Ce-Type"))
		assert.JSONEq(t, `{"n": 1}`, w.Body.String())
		w = event("none")
		assert.Less(t, w.Code, 300)
		assert.Empty(t, w.Header().Get("Ce-Id"))
		assert.Equal(t, http.StatusInternalServerError, event("error").Code)
		assert.Equal(t, http.StatusInternalServerError, event("panic").Code)
		assert.Equal(t, http.StatusBadRequest, called(t, h, `{}`).Code, "it is no event")
	}
}
