package funcfw

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The types that kinds are told by, as typeOf names them.
const (
	responseWriter = "net/http.ResponseWriter"
	request        = "net/http.Request"
	contextType    = "context.Context"
	eventType      = "github.com/cloudevents/sdk-go/v2.Event"
	ginContext     = ginPath + ".Context"
	errorType      = "error"

	ginPath = "github.com/gin-gonic/gin"
)

// The types whose variables surely hold a handler.
var handlers = []string{"net/http.Handler", "net/http.HandlerFunc", "*net/http.ServeMux", "net/http.ServeMux"}

// isHandler reports whether a variable surely holds a handler of requests.
func (pkg *source) isHandler(d *decl) bool {
	if d.kind != token.VAR {
		return false
	}
	if d.typ != nil {
		return slices.Contains(handlers, pkg.typeOf(d.file, d.typ, 0))
	}
	call, ok := d.value.(*ast.CallExpr)
	if !ok {
		return false
	}
	switch made := pkg.typeOf(d.file, call.Fun, 0); made {
	case "net/http.HandlerFunc", "net/http.NewServeMux", "net/http.FileServer", "net/http.FileServerFS",
		"net/http.StripPrefix", "net/http.TimeoutHandler", "net/http.RedirectHandler", "net/http.NotFoundHandler":
		return true
	}
	return false
}

// variable completes a target that is a variable, and refuses what surely holds no
// handler. Often only the compiler knows its type, and only the process its value.
func (pkg *source) variable(t *Target, d *decl, kind string) error {
	t.Kind = cmp.Or(kind, proto.KindHTTP)
	if t.Kind == proto.KindTyped || t.Kind == proto.KindEvent {
		return refuse(d.file.path, d.at, fmt.Sprintf("%s is a variable, and kind %s needs a function", t.Name, t.Kind), wantFix(t.Name, t.Kind))
	}
	t.Variable = t.Kind == proto.KindHTTP
	if !pkg.isHandler(d) {
		t.Deferred = t.Name + " is a variable"
	}
	if fn := d.function(t.Name); fn != nil && t.Variable {
		return pkg.fits(fn)
	}
	if d.typ == nil || !t.Variable {
		return nil
	}
	switch typ := pkg.typeOf(d.file, d.typ, 0); {
	case types.Universe.Lookup(typ) != nil, strings.HasPrefix(typ, "[]"), strings.HasPrefix(typ, "map["), strings.HasPrefix(typ, "chan "),
		slices.Contains(dotted, strings.TrimPrefix(typ, "*")):
		return refuse(d.file.path, d.at, fmt.Sprintf("%s is a variable of type %s, which answers no requests", t.Name, typ),
			"declare it as an http.Handler, or "+wantFix(t.Name, proto.KindHTTP))
	}
	return nil
}

// function is a variable that is written as a function, as if it were declared as one.
func (d *decl) function(name string) *decl {
	typ, _ := d.typ.(*ast.FuncType)
	if lit, ok := d.value.(*ast.FuncLit); ok && d.typ == nil {
		typ = lit.Type
	}
	if typ == nil {
		return nil
	}
	fn := &ast.FuncDecl{Name: ast.NewIdent(name), Type: typ, Body: &ast.BlockStmt{}}
	return &decl{file: d.file, at: d.at, kind: token.FUNC, fn: fn}
}

// fits refuses a function that surely does not answer requests.
func (pkg *source) fits(d *decl) error {
	s, err := pkg.signature(d)
	if err != nil {
		return err
	}
	for _, f := range forms {
		if _, misfit := s.match(f); f.kind == proto.KindHTTP && misfit == nil {
			return nil
		}
	}
	_, misfit := s.match(s.nearest(proto.KindHTTP))
	return refuse(s.file, misfit.at, misfit.reason, wantFix(s.name, proto.KindHTTP))
}

// anything stands in a form for a type of the user's, to and from JSON.
const anything = "T"

// form is one way to declare a function.
type form struct {
	kind            string
	params, results []string
	// wrapper is the function of package serve that makes a handler of it, for the
	// forms of which the framework does not know the type.
	wrapper string
}

// forms are all forms, and the first that fits a declaration counts. So
// func(context.Context, T) error, the framework's form of a background event, is a
// typed function only where the setting says so.
var forms = []form{
	{kind: proto.KindHTTP, params: []string{responseWriter, "*" + request}},
	{kind: proto.KindHTTP, params: []string{contextType, responseWriter, "*" + request}, wrapper: "WithContext"},
	{kind: proto.KindGin, params: []string{"*" + ginContext}},
	{kind: proto.KindCloudEvent, params: []string{contextType, eventType}, results: []string{errorType}},
	{kind: proto.KindCloudEvent, params: []string{contextType, eventType}, results: []string{"*" + eventType, errorType}, wrapper: "CloudEventAnswer"},
	{kind: proto.KindCloudEvent, params: []string{contextType, eventType}, results: []string{eventType, errorType}, wrapper: "CloudEventAnswer"},
	{kind: proto.KindCloudEvent, params: []string{eventType}, results: []string{errorType}, wrapper: "CloudEventNoContext"},
	{kind: proto.KindCloudEvent, params: []string{contextType, eventType}, wrapper: "CloudEventNoError"},
	{kind: proto.KindEvent, params: []string{contextType, anything}, results: []string{errorType}},
	{kind: proto.KindTyped, params: []string{anything}, results: []string{anything, errorType}, wrapper: "Typed"},
	{kind: proto.KindTyped, params: []string{anything}, results: []string{errorType}, wrapper: "TypedNoResult"},
	{kind: proto.KindTyped, params: []string{anything}, wrapper: "TypedNoError"},
	{kind: proto.KindTyped, params: []string{contextType, anything}, results: []string{anything, errorType}, wrapper: "TypedContext"},
	{kind: proto.KindTyped, params: []string{contextType, anything}, results: []string{errorType}, wrapper: "TypedContextNoResult"},
	{kind: proto.KindTyped, params: []string{contextType, anything}, wrapper: "TypedContextNoError"},
}

// fixes tell how a function of a kind must be declared.
var fixes = map[string]string{
	proto.KindHTTP:       "(w http.ResponseWriter, r *http.Request)",
	proto.KindGin:        "(c *gin.Context)",
	proto.KindCloudEvent: "(ctx context.Context, e cloudevents.Event) error",
	proto.KindEvent:      "(ctx context.Context, e T) error",
	proto.KindTyped:      "(ctx context.Context, in T) (R, error)",
}

// wantFix tells how the function must be declared.
func wantFix(name, kind string) string { return "declare it as func " + name + fixes[kind] }

// formOf returns the form that a function's signature has: of the stated kind, or of
// any when kind is "". deferred says why only the compiler can tell; the error says why
// no form fits.
func (s *signature) formOf(kind string) (found form, deferred string, err error) {
	var perhaps []form
	var why string
	for _, f := range forms {
		if kind != "" && f.kind != kind {
			continue
		}
		deferred, misfit := s.match(f)
		switch {
		case misfit != nil:
		case deferred == "":
			return f, "", nil
		default:
			if perhaps == nil {
				why = deferred
			}
			perhaps = append(perhaps, f)
		}
	}
	if perhaps != nil {
		return perhaps[0], why, nil
	}
	if kind == "" {
		kind = s.resembles()
	} else if other, _, err := s.formOf(""); err == nil {
		return form{}, "", refuse(s.file, s.at, fmt.Sprintf("%s is of kind %s, and the setting kind says %s", s.name, other.kind, kind),
			"set kind to "+other.kind+" or leave it out, or "+wantFix(s.name, kind))
	}
	_, misfit := s.match(s.nearest(kind))
	return form{}, "", refuse(s.file, misfit.at, misfit.reason, wantFix(s.name, kind))
}

// resembles guesses the kind that a signature without one was meant to be of.
func (s *signature) resembles() string {
	has := func(typ string) bool {
		return slices.ContainsFunc(s.params, func(p param) bool { return strings.TrimPrefix(p.typ, "*") == typ })
	}
	switch {
	case has(ginContext):
		return proto.KindGin
	case has(responseWriter), has(request):
		return proto.KindHTTP
	case has(eventType):
		return proto.KindCloudEvent
	case has(contextType), len(s.params) == 1:
		return proto.KindTyped
	}
	return proto.KindHTTP
}

// nearest is the form of a kind whose numbers of parameters and results are nearest to
// the signature's.
func (s *signature) nearest(kind string) form {
	distance := func(f form) int {
		params, results := len(f.params)-len(s.params), len(f.results)-len(s.results)
		d := 2*params*params + results*results
		if slices.Contains(f.params, contextType) && !slices.ContainsFunc(s.params, func(p param) bool { return p.typ == contextType }) {
			d += 3 // more than a parameter counts
		}
		return d
	}
	of := slices.DeleteFunc(slices.Clone(forms), func(f form) bool { return f.kind != kind })
	return slices.MinFunc(of, func(a, b form) int { return distance(a) - distance(b) })
}
