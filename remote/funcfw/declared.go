package funcfw

import (
	"fmt"
	"go/ast"
	"go/token"
	"strconv"

	"github.com/Ishan27g/ryo-faas/proto"
)

// declaringPath is the package whose functions declare functions by name.
const declaringPath = frameworkPath + "/functions"

// declaration is a call in an init function that gives a function a name, such
// as functions.HTTP("HelloWorld", helloWorld).
type declaration struct {
	file *file
	at   token.Position // of the name
	verb string         // HTTP, CloudEvent or Typed
	name string
	fn   string // the function's identifier, "" for another expression
}

// declaredKinds are the kinds by the verb that declares them. The framework's
// own wrapper of typed functions hands one caller's data to the next.
var declaredKinds = map[string]string{"HTTP": proto.KindHTTP, "CloudEvent": proto.KindCloudEvent, "Typed": ""}

// readDeclarations notes what an init function declares. A name that is not
// written out is not known to us.
func (pkg *source) readDeclarations(f *file, init *ast.FuncDecl) {
	ast.Inspect(init.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		verb := f.declaringVerb(call.Fun)
		lit, ok := call.Args[0].(*ast.BasicLit)
		if _, known := declaredKinds[verb]; !known || !ok || lit.Kind != token.STRING {
			return true
		}
		d := &declaration{file: f, at: f.place(lit.Pos()), verb: verb}
		var err error
		if d.name, err = strconv.Unquote(lit.Value); err != nil {
			return true
		}
		if id, ok := call.Args[1].(*ast.Ident); ok {
			d.fn = id.Name
		}
		if _, twice := pkg.declared[d.name]; !twice { // the framework ends the program when one is
			pkg.declared[d.name] = d
		}
		return true
	})
}

// declaringVerb is the name of a function of package functions, or "".
func (f *file) declaringVerb(fun ast.Expr) string {
	switch fun := fun.(type) {
	case *ast.SelectorExpr:
		if id, ok := fun.X.(*ast.Ident); ok && f.imports[id.Name] == declaringPath {
			return fun.Sel.Name
		}
	case *ast.Ident:
		if f.dots[declaringPath] {
			return fun.Name
		}
	}
	return ""
}

// target is what a declaration declares.
func (d *declaration) target(pkg *source, kind string) (*Target, error) {
	if err := proto.CheckName(d.name); err != nil {
		e := proto.AsError(err)
		return nil, refuse(d.file.path, d.at, fmt.Sprintf("functions.%s declares %q: %s", d.verb, d.name, e.Message), e.Hint)
	}
	if d.verb == "Typed" {
		return nil, refuse(d.file.path, d.at, "functions.Typed is not safe: its wrapper hands fields of one caller's data to the next caller",
			fmt.Sprintf("export the function and deploy it by its own name, with kind %q: the platform has a wrapper of its own", proto.KindTyped))
	}
	if is := declaredKinds[d.verb]; kind != "" && kind != is {
		return nil, refuse(d.file.path, d.at, fmt.Sprintf("%s is declared as of kind %s, and the setting kind says %s", d.name, is, kind), "set kind to "+is+" or leave it out")
	}
	return &Target{
		Name: d.name, Kind: declaredKinds[d.verb], Declared: true, pkg: pkg,
		Dir: pkg.dir, PackageName: pkg.name, IsMain: pkg.name == "main",
		File: d.file.path, Line: d.at.Line, Col: d.at.Column,
	}, nil
}

// stands reports whether a declaration is to be taken for the function of that
// name. It is not where it only names an exported function that can be deployed
// as it is, which is better for it: a panic then breaks the answer off cleanly.
// Of functions.Typed, this is so where the setting asks for the typed kind.
func (d *declaration) stands(kind string) bool {
	if d.verb == "Typed" && kind != proto.KindTyped {
		return true
	}
	return d.fn != d.name || !token.IsExported(d.fn)
}
