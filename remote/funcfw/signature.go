package funcfw

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// packageNames has the names of the packages whose types appear in forms. Only the
// compiler knows the name of any other package that is imported without an alias.
var packageNames = map[string]string{
	"net/http":                               "http",
	"context":                                "context",
	"github.com/cloudevents/sdk-go/v2":       "v2",
	"github.com/cloudevents/sdk-go/v2/event": "event",
	ginPath:                                  "gin",
	declaringPath:                            "functions",
	openFaaSPath:                             "handler",
	"github.com/nuclio/nuclio-sdk-go":        "nuclio",
	"github.com/fnproject/fdk-go":            "fdk",
}

// dotted are the types that may stand without their package where that is
// imported with a dot.
var dotted = []string{responseWriter, request, contextType, eventType, eventAlias, ginContext}

// eventAlias is the package path under which eventType is declared.
const eventAlias = "github.com/cloudevents/sdk-go/v2/event.Event"

// maxTypeDepth is deeper than any parameter type that people write.
const maxTypeDepth = 16

// signature is a function's type, flattened: of grouped parameters each counts.
type signature struct {
	name, file      string
	at              token.Position // of the name
	params, results []param
	paramsAt        token.Position // of the parentheses
	resultsAt       token.Position // of the results, or where they would be
	resultsText     string
}

// param is one parameter or result.
type param struct {
	at  token.Position // of its type
	typ string         // "" when only the compiler can tell
}

// misfit is the first thing that keeps a signature from having a form.
type misfit struct {
	at     token.Position
	reason string
}

// signature reads a function's signature. It refuses what no kind allows.
func (pkg *source) signature(d *decl) (*signature, error) {
	s, typ := pkg.flatten(d), d.fn.Type
	no := func(at token.Position, reason string) error {
		return refuse(d.file.path, at, s.name+" "+reason, wantFix(s.name, s.resembles()))
	}
	if typ.TypeParams.NumFields() > 0 {
		return nil, no(d.file.place(typ.TypeParams.Pos()), "has type parameters")
	}
	if d.fn.Body == nil {
		return nil, no(d.at, "has no body")
	}
	for _, field := range typ.Params.List {
		if _, ok := field.Type.(*ast.Ellipsis); ok {
			return nil, no(d.file.place(field.Type.Pos()), "is variadic")
		}
	}
	return s, nil
}

func (pkg *source) flatten(d *decl) *signature {
	typ := d.fn.Type
	s := &signature{
		name: d.fn.Name.Name, file: d.file.path, at: d.at,
		params: pkg.fields(d.file, typ.Params), results: pkg.fields(d.file, typ.Results),
		paramsAt: d.file.place(typ.Params.Pos()), resultsAt: d.file.place(typ.End()),
		resultsText: "no result",
	}
	if len(s.results) > 0 {
		s.resultsAt, s.resultsText = d.file.place(typ.Results.Pos()), d.file.quote(typ.Results)
	}
	return s
}

func (pkg *source) fields(f *file, list *ast.FieldList) []param {
	if list == nil {
		return nil
	}
	var out []param
	for _, field := range list.List {
		p := param{f.place(field.Type.Pos()), pkg.typeOf(f, field.Type, 0)}
		for range max(1, len(field.Names)) {
			out = append(out, p)
		}
	}
	return out
}

// match compares a signature with a form. It fits when the misfit is nil, but only the
// compiler can tell for sure when deferred says why.
func (s *signature) match(f form) (deferred string, _ *misfit) {
	if len(s.results) != len(f.results) {
		return "", &misfit{s.resultsAt, fmt.Sprintf("%s returns %s, want %s", s.name, s.resultsText, words(f.results))}
	}
	if len(s.params) != len(f.params) {
		return "", &misfit{s.paramsAt, fmt.Sprintf("%s has %d parameter%s, want %d", s.name, len(s.params), plural(len(s.params)), len(f.params))}
	}
	if len(f.params) == 2 && s.params[0].typ == f.params[1] && s.params[1].typ == f.params[0] {
		return "", &misfit{s.params[0].at, fmt.Sprintf("the parameters of %s are swapped", s.name)}
	}
	compare := func(what string, p param, want string) *misfit {
		switch {
		case want == anything:
			if why := notData(p.typ); why != "" {
				return &misfit{p.at, fmt.Sprintf("%s of %s is %s, %s", what, s.name, p.typ, why)}
			}
		case p.typ == "" && deferred == "":
			deferred = fmt.Sprintf("the type of %s of %s is known to the compiler alone", what, s.name)
		case p.typ != "" && p.typ != want:
			return &misfit{p.at, fmt.Sprintf("%s of %s is %s, want %s%s", what, s.name, p.typ, want, pointerHint(p.typ, want))}
		}
		return nil
	}
	for i, p := range s.params {
		if m := compare(fmt.Sprintf("parameter %d", i+1), p, f.params[i]); m != nil {
			return "", m
		}
	}
	for i, p := range s.results {
		if m := compare(fmt.Sprintf("result %d", i+1), p, f.results[i]); m != nil {
			return "", m
		}
	}
	return deferred, nil
}

// words are a form's results as a declaration has them.
func words(results []string) string {
	switch len(results) {
	case 0:
		return "no result"
	case 1:
		return results[0]
	}
	return "(" + strings.Join(results, ", ") + ")"
}

// notData says why a type surely cannot be turned into JSON or back.
func notData(typ string) string {
	base := strings.TrimPrefix(typ, "*")
	switch {
	case base == errorType, slices.Contains(dotted, base):
		return "which is no data"
	case strings.HasPrefix(typ, "chan "), strings.HasPrefix(typ, "chan<-"), strings.HasPrefix(typ, "<-chan"), strings.HasPrefix(typ, "func("):
		return "which JSON cannot hold"
	}
	return ""
}

func pointerHint(got, want string) string {
	switch {
	case "*"+got == want:
		return " (missing *)"
	case got == "*"+want:
		return " (no *: it is an interface)"
	}
	return ""
}

// typeOf is what a type expression surely denotes, such as
// "*net/http.Request", or "" when only the compiler can tell.
func (pkg *source) typeOf(f *file, e ast.Expr, depth int) string {
	if depth > maxTypeDepth {
		return ""
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		return pkg.typeOf(f, e.X, depth+1)
	case *ast.StarExpr:
		if t := pkg.typeOf(f, e.X, depth+1); t != "" {
			return "*" + t
		}
	case *ast.SelectorExpr:
		id, ok := e.X.(*ast.Ident)
		if !ok {
			return ""
		}
		if p := f.imports[id.Name]; packageNames[p] != "" {
			return canonical(p + "." + e.Sel.Name)
		}
	case *ast.Ident:
		return pkg.identType(f, e.Name)
	case *ast.ArrayType, *ast.MapType, *ast.ChanType, *ast.FuncType, *ast.StructType, *ast.InterfaceType:
		return f.quote(e) // a type without a name is none of those that have one
	}
	return ""
}

// identType is what a plain identifier denotes: a type that the package defines,
// a predeclared one, or one of a package that is imported with a dot. A
// declaration of the package hides the others.
func (pkg *source) identType(f *file, name string) string {
	if d, ok := pkg.decls[name]; ok {
		if d.defines {
			return pkg.name + "." + name
		}
		return ""
	}
	if _, ok := types.Universe.Lookup(name).(*types.TypeName); ok {
		return name
	}
	for _, full := range dotted {
		if p, ok := strings.CutSuffix(full, "."+name); ok && f.dots[p] {
			return canonical(full)
		}
	}
	return ""
}

// canonical is the one name of a type that is known under two.
func canonical(typ string) string {
	if typ == eventAlias {
		return eventType
	}
	return typ
}

// quote is the source of a node on one line, cut when it is long.
func (f *file) quote(n ast.Node) string {
	const long = 60
	from, to := f.place(n.Pos()).Offset, f.place(n.End()).Offset
	s := strings.Join(strings.Fields(string(f.text[from:min(to, from+4*long)])), " ")
	if r := []rune(s); len(r) > long {
		return string(r[:long]) + "…"
	}
	return s
}

// plural is the ending of a noun that is counted.
func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
