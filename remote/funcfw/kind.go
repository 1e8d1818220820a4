package funcfw

import (
	"fmt"
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

// forms are all there are. Of those that fit a declaration the first counts, so
// func(context.Context, T) error, which is the framework's form of a background
// event, is one of a typed function only where the setting says so.
var forms = []form{
	{kind: proto.KindHTTP, params: []string{responseWriter, "*" + request}},
	{kind: proto.KindGin, params: []string{"*" + ginContext}},
	{kind: proto.KindCloudEvent, params: []string{contextType, eventType}, results: []string{errorType}},
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

// formOf returns the form that a function's signature has: of the stated kind,
// or of any when none is stated. deferred says why only the compiler can tell; an
// error is the reason why it surely has none.
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

// resembles is the kind that a signature, which is of none, was probably meant
// to be of.
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

// nearest is the form of a kind whose numbers of parameters and results are the
// nearest to those of a signature.
func (s *signature) nearest(kind string) form {
	distance := func(f form) int {
		params, results := len(f.params)-len(s.params), len(f.results)-len(s.results)
		return 2*params*params + results*results
	}
	of := slices.DeleteFunc(slices.Clone(forms), func(f form) bool { return f.kind != kind })
	return slices.MinFunc(of, func(a, b form) int { return distance(a) - distance(b) })
}
