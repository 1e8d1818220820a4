package funcfw

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

const (
	responseWriter = "net/http.ResponseWriter"
	request        = "net/http.Request"
	contextType    = "context.Context"
)

// packageNames are the names of the packages that signatures are judged by. The
// name of any other, without an alias, is for the compiler to know.
var packageNames = map[string]string{"net/http": "http", "context": "context"}

// want are the types of a handler's parameters.
var want = [2]string{responseWriter, "*" + request}

// maxTypeDepth is deeper than any parameter type that people write.
const maxTypeDepth = 16

// param is one parameter; grouped ones are several.
type param struct {
	at  token.Position // of its type
	typ string         // "" when only the compiler can tell
}

// checkSignature returns why only the compiler can tell whether a function is a
// handler, or, as an error, why it surely is none.
func (pkg *source) checkSignature(d *decl) (deferred string, err error) {
	name, sig := d.fn.Name.Name, d.fn.Type
	no := func(at token.Position, format string, args ...any) error {
		return refuse(d.file.path, at, fmt.Sprintf(format, args...), wantFix(name))
	}
	if sig.TypeParams.NumFields() > 0 {
		return "", no(d.file.place(sig.TypeParams.Pos()), "%s has type parameters", name)
	}
	if d.fn.Body == nil {
		return "", no(d.at, "%s has no body", name)
	}
	var params []param
	for _, field := range sig.Params.List {
		at := d.file.place(field.Type.Pos())
		if _, ok := field.Type.(*ast.Ellipsis); ok {
			return "", no(at, "%s is variadic", name)
		}
		typ := pkg.typeOf(d.file, field.Type, 0)
		for range max(1, len(field.Names)) {
			params = append(params, param{at, typ})
		}
	}
	if len(params) > 0 && params[0].typ == contextType {
		return "", no(params[0].at, "%s takes a context.Context, as event functions do; only HTTP functions can be deployed", name)
	}
	if sig.Results.NumFields() > 0 {
		return "", no(d.file.place(sig.Results.Pos()), "%s returns %s, want no result", name, d.file.quote(sig.Results))
	}
	if len(params) != len(want) {
		return "", no(d.file.place(sig.Params.Pos()), "%s has %d parameter%s, want 2", name, len(params), plural(len(params)))
	}
	if params[0].typ == want[1] && params[1].typ == want[0] {
		return "", no(params[0].at, "the parameters of %s are swapped", name)
	}
	for i, p := range params {
		if p.typ == "" && deferred == "" {
			deferred = fmt.Sprintf("the type of parameter %d of %s is known to the compiler alone", i+1, name)
		}
		if p.typ != "" && p.typ != want[i] {
			return "", no(p.at, "parameter %d of %s is %s, want %s%s", i+1, name, p.typ, want[i], pointerHint(p.typ, want[i]))
		}
	}
	return deferred, nil
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
			return p + "." + e.Sel.Name
		}
	case *ast.Ident:
		return pkg.identType(f, e.Name)
	case *ast.ArrayType, *ast.MapType, *ast.ChanType, *ast.FuncType, *ast.StructType, *ast.InterfaceType:
		return f.quote(e) // written out, it is neither of the wanted types
	}
	return ""
}

// identType is what a plain identifier denotes: a predeclared type, or one of
// net/http's where that is imported with a dot. A declaration of the package
// hides both.
func (pkg *source) identType(f *file, name string) string {
	if _, ok := pkg.decls[name]; ok {
		return ""
	}
	if _, ok := types.Universe.Lookup(name).(*types.TypeName); ok {
		return name
	}
	if full := "net/http." + name; f.dots["net/http"] && (full == responseWriter || full == request) {
		return full
	}
	return ""
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
