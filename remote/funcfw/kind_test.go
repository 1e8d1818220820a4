package funcfw_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

// kinds is a file of package p that imports all that kinds are told by; its line
// 11 is the first of the body.
func kinds(body string) string {
	return `package p

import (
	"context"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
	"github.com/gin-gonic/gin"
	"net/http"
)

` + body + "\n"
}

func TestKinds(t *testing.T) {
	for name, c := range map[string]struct{ decl, stated, want string }{
		"http":                          {handler, "", proto.KindHTTP},
		"http, stated":                  {handler, proto.KindHTTP, proto.KindHTTP},
		"cloudevent":                    {"func F(ctx context.Context, e cloudevents.Event) error { return nil }", "", proto.KindCloudEvent},
		"cloudevent, stated":            {"func F(ctx context.Context, e cloudevents.Event) error { return nil }", "cloudevent", proto.KindCloudEvent},
		"cloudevent that answers":       {"func F(ctx context.Context, e cloudevents.Event) (*cloudevents.Event, error) { return nil, nil }", "", proto.KindCloudEvent},
		"cloudevent, answer by value":   {"func F(ctx context.Context, e cloudevents.Event) (r cloudevents.Event, err error) { return }", "", proto.KindCloudEvent},
		"cloudevent without context":    {"func F(e cloudevents.Event) error { return nil }", "", proto.KindCloudEvent},
		"cloudevent without error":      {"func F(ctx context.Context, e cloudevents.Event) {}", "", proto.KindCloudEvent},
		"http with a context":           {"func F(ctx context.Context, w http.ResponseWriter, r *http.Request) {}", "", proto.KindHTTP},
		"handler":                       {"var F http.Handler = f()", "", proto.KindHTTP},
		"handler, a mux":                {"var F = http.NewServeMux()", "", proto.KindHTTP},
		"handler, converted":            {"var F = http.HandlerFunc(f)", "", proto.KindHTTP},
		"gin":                           {"func F(c *gin.Context) {}", "", proto.KindGin},
		"event":                         {"type E struct{}\nfunc F(ctx context.Context, e E) error { return nil }", "", proto.KindEvent},
		"event of another package":      {"func F(ctx context.Context, e orders.Placed) error { return nil }", "", proto.KindEvent},
		"typed where an event could be": {"type E struct{}\nfunc F(ctx context.Context, e E) error { return nil }", "typed", proto.KindTyped},
		"typed":                         {"type A struct{}\nfunc F(a A) (A, error) { return a, nil }", "", proto.KindTyped},
		"typed, pointers":               {"type A struct{}\nfunc F(a *A) (*A, error) { return a, nil }", "", proto.KindTyped},
		"typed, written out":            {"func F(a map[string][]int) (any, error) { return a, nil }", "", proto.KindTyped},
		"typed, basic":                  {"func F(string) error { return nil }", "", proto.KindTyped},
		"typed, no error":               {"func F(a orders.Placed) {}", "", proto.KindTyped},
		"typed, named results":          {"func F(ctx context.Context, a int) (b int, err error) { return }", "", proto.KindTyped},
		"typed, context alone":          {"func F(ctx context.Context, a int) {}", "", proto.KindTyped},
		"declared":                      {`func init() { functions.HTTP("F", f) }`, "", proto.KindHTTP},
		"declared, literal":             {`func init() { functions.CloudEvent("F", func(context.Context, cloudevents.Event) error { return nil }) }`, "cloudevent", proto.KindCloudEvent},
		"declared, name of a type":      {"type F struct{}\nfunc init() { if true { functions.HTTP(`F`, f) } }", "", proto.KindHTTP},
		"declared and exported":         {handler + "\nfunc init() { functions.HTTP(\"F\", F) }", "", proto.KindHTTP},
		"declared typed, as typed":      {"func F(int) error { return nil }\nfunc init() { functions.Typed(\"F\", F) }", "typed", proto.KindTyped},
		"declared typed":                {`func init() { functions.Typed("F", f) }`, "", proto.KindTyped},
		"declared, by a constant":       {"const ( a = \"F\"; b = string(a) + (\"\") )\nfunc init() { functions.HTTP(b, f) }", "", proto.KindHTTP},
		"declared elsewhere":            {handler + "\nfunc setup() { functions.CloudEvent(\"F\", f) }", "", proto.KindHTTP},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := funcfw.Check(files{"a.go": kinds(c.decl)}.fs(), funcfw.Spec{Name: "F", Kind: c.stated}, linux)
			require.NoError(t, err)
			assert.Equal(t, c.want, got.Kind)
			assert.Empty(t, got.Deferred)
			assert.Equal(t, strings.HasPrefix(name, "declared") && name != "declared elsewhere", got.Declared == "F")
		})
	}
}

func TestKindsByImport(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"event package":       {"package p\nimport (\"context\"; \"github.com/cloudevents/sdk-go/v2/event\")\nfunc F(ctx context.Context, e event.Event) error { return nil }", proto.KindCloudEvent},
		"without an alias":    {"package p\nimport (\"context\"; \"github.com/cloudevents/sdk-go/v2\")\nfunc F(ctx context.Context, e v2.Event) error { return nil }", proto.KindCloudEvent},
		"dot imports":         {"package p\nimport (. \"context\"; . \"github.com/cloudevents/sdk-go/v2/event\")\nfunc F(ctx Context, e Event) error { return nil }", proto.KindCloudEvent},
		"an Event of its own": {"package p\nimport . \"context\"\ntype Event struct{}\nfunc F(ctx Context, e Event) error { return nil }", proto.KindEvent},
		"dot gin":             {"package p\nimport . \"github.com/gin-gonic/gin\"\nfunc F(*Context) {}", proto.KindGin},
		"dot functions":       {"package p\nimport . \"github.com/GoogleCloudPlatform/functions-framework-go/functions\"\nfunc init() { HTTP(\"F\", nil) }", proto.KindHTTP},
		"alias of functions":  {"package p\nimport ff \"github.com/GoogleCloudPlatform/functions-framework-go/functions\"\nfunc init() { ff.CloudEvent(\"F\", nil) }", proto.KindCloudEvent},
	} {
		got, err := funcfw.Check(files{"a.go": c.src}.fs(), funcfw.Spec{Name: "F"}, linux)
		require.NoError(t, err, name)
		assert.Equal(t, c.want, got.Kind, name)
		assert.Empty(t, got.Deferred, name)
	}
}

// What syntax cannot tell is assumed to be http where it may be, and whatever the
// setting says where that may be.
func TestKindsThatTheCompilerTells(t *testing.T) {
	for name, c := range map[string]struct{ decl, stated, want string }{
		"two of another package":  {"func F(a x.A, b x.B) {}", "", proto.KindHTTP},
		"the same, stated":        {"func F(a x.A, b x.B) {}", "typed", proto.KindTyped},
		"an alias of the event":   {"type E = cloudevents.Event\nfunc F(ctx context.Context, e E) error { return nil }", "cloudevent", proto.KindCloudEvent},
		"an alias of gin's":       {"type C = gin.Context\nfunc F(c *C) {}", "gin", proto.KindGin},
		"an alias of the context": {"type C = context.Context\nfunc F(c C, a int) (int, error) { return a, nil }", "", proto.KindTyped},
		"a variable":              {"var F = f", "", proto.KindHTTP},
		"a router":                {"var F = chi.NewRouter()", "", proto.KindHTTP},
		"a type of its own":       {"type S struct{}\nvar F S", "", proto.KindHTTP},
		"declared by a helper":    {"func setup() { functions.CloudEvent(\"F\", f) }", "", proto.KindCloudEvent},
		"a variable, stated":      {"var F = f", "gin", proto.KindGin},
	} {
		got, err := funcfw.Check(files{"a.go": kinds(c.decl)}.fs(), funcfw.Spec{Name: "F", Kind: c.stated}, linux)
		require.NoError(t, err, name)
		assert.Equal(t, c.want, got.Kind, name)
		assert.NotEmpty(t, got.Deferred, name)
	}
}

func TestKindsRefused(t *testing.T) {
	for name, c := range map[string]struct{ decl, stated, want, fix string }{
		"http said to be typed":    {handler, "typed", "a.go:11:6: F is of kind http, and the setting kind says typed", "set kind to http or leave it out, or declare it as func F(ctx context.Context, in T) (R, error)"},
		"typed said to be event":   {"func F(a int) error { return nil }", "event", "a.go:11:6: F is of kind typed, and the setting kind says event", "set kind to typed"},
		"gin said to be http":      {"func F(c *gin.Context) {}", "http", "a.go:11:6: F is of kind gin, and the setting kind says http", "set kind to gin"},
		"cloudevent said typed":    {"func F(ctx context.Context, e cloudevents.Event) error { return nil }", "typed", "a.go:11:6: F is of kind cloudevent, and the setting kind says typed", ""},
		"nothing, said cloudevent": {"func F(ctx context.Context, e *cloudevents.Event) error { return nil }", "cloudevent", "a.go:11:31: parameter 2 of F is *github.com/cloudevents/sdk-go/v2.Event, want github.com/cloudevents/sdk-go/v2.Event (no *: it is an interface)", "declare it as func F(ctx context.Context, e cloudevents.Event) error"},
		"declared, said typed":     {`func init() { functions.HTTP("F", f) }`, "typed", "a.go:11:30: F is declared as of kind http, and the setting kind says typed", "set kind to http"},
		"a function that is none":  {"var F = func(w http.ResponseWriter) {}", "", "a.go:11:13: F has 1 parameter, want 2", "declare it as func F(w http.ResponseWriter"},
		"a type of function":       {"var F func(http.ResponseWriter, *http.Request) error", "", "F returns error, want no result", "declare it as func F(w http.ResponseWriter"},
		"a number":                 {"var F int", "", "a.go:11:5: F is a variable of type int, which answers no requests", "http.Handler"},
		"a list":                   {"var F []http.Handler", "", "a.go:11:5: F is a variable of type []http.Handler, which answers no requests", "http.Handler"},
		"a variable said typed":    {"var F = f", "typed", "a.go:11:5: F is a variable, and kind typed needs a function", "declare it as func"},

		"cloudevent with a number": {"func F(ctx context.Context, e cloudevents.Event) int { return 0 }", "", "a.go:11:50: result 1 of F is int, want error", "e cloudevents.Event) error"},
		"gin without pointer":      {"func F(c gin.Context) {}", "", "a.go:11:10: parameter 1 of F is github.com/gin-gonic/gin.Context, want *github.com/gin-gonic/gin.Context (missing *)", "c *gin.Context"},
		"gin with a result":        {"func F(c *gin.Context) error { return nil }", "", "a.go:11:24: F returns error, want no result", ""},
		"typed, no error":          {"func F(a int) int { return a }", "", "a.go:11:15: result 1 of F is int, want error", "in T) (R, error)"},
		"typed, error first":       {"func F(a int) (error, int) { return nil, a }", "", "a.go:11:16: result 1 of F is error, which is no data", ""},
		"typed, three results":     {"func F(a int) (int, int, error) { return a, a, nil }", "", "a.go:11:15: F returns (int, int, error), want (T, error)", ""},
		"typed, channel":           {"func F(a chan int) error { return nil }", "", "a.go:11:10: parameter 1 of F is chan int, which JSON cannot hold", ""},
		"typed, function":          {"func F(a int) (func(), error) { return nil, nil }", "", "a.go:11:16: result 1 of F is func(), which JSON cannot hold", ""},
		"context last":             {"func F(a int, ctx context.Context) error { return nil }", "", "a.go:11:10: parameter 1 of F is int, want context.Context", ""},
		"declared as another":      {`func init() { functions.HTTP("Ff", f) }`, "", "package p has no function F", ""},
		"declared near":            {"func init() { functions.HTTP(\"G\", f) }\nfunc f() {}", "", "a.go:12:6: package p has no function F", "rename f"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := funcfw.Check(files{"a.go": kinds(c.decl)}.fs(), funcfw.Spec{Name: "F", Kind: c.stated}, linux)
			var refusal *funcfw.Refusal
			require.ErrorAs(t, err, &refusal)
			assert.ErrorContains(t, err, c.want)
			assert.Contains(t, refusal.Fix, c.fix)
		})
	}
}

func TestGinNeedsARequirement(t *testing.T) {
	fn := kinds("func F(c *gin.Context) {}")
	_, err := generate(t, files{"a.go": fn}, ".", "F", linux)
	assert.EqualError(t, err, "a.go: a gin function needs a go.mod that requires gin")
	_, err = generate(t, files{"go.mod": "module m\n", "a.go": fn}, ".", "F", linux)
	assert.EqualError(t, err, "go.mod:1:1: the module does not require gin, which F is for")
	_, err = generate(t, files{"go.mod": "module m\n\nrequire github.com/gin-gonic/gin v1.9.0\n", "a.go": fn}, ".", "F", linux)
	assert.NoError(t, err)
}
