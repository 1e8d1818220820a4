package funcfw

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strconv"

	"github.com/Ishan27g/ryo-faas/proto"
)

// declaringPath is the package whose functions declare functions by name.
const declaringPath = frameworkPath + "/functions"

// declaration is a call that gives a function a name, such as
// functions.HTTP("hello-world", helloWorld).
type declaration struct {
	file   *file
	at     token.Position // of the name
	verb   string         // HTTP, CloudEvent or Typed
	name   string
	expr   ast.Expr        // of the name
	fn     ast.Expr        // the function; without the statements of its body
	hidden map[string]bool // names that mean something else there than in the package
	// sure says that it is known to run: it stands in an init function.
	sure bool
}

// declaredKinds maps the verb that declares a function to the function's kind.
var declaredKinds = map[string]string{"HTTP": proto.KindHTTP, "CloudEvent": proto.KindCloudEvent, "Typed": proto.KindTyped}

// readDeclarations notes what a declaration of the package declares. The names may
// be constants of files that have not been read yet.
func (pkg *source) readDeclarations(f *file, d ast.Decl) {
	if !f.declares {
		return
	}
	fn, _ := d.(*ast.FuncDecl)
	sure := fn != nil && fn.Recv == nil && fn.Name.Name == "init"
	var around []ast.Node
	ast.Inspect(d, func(n ast.Node) bool {
		if n == nil {
			around = around[:len(around)-1]
			return true
		}
		around = append(around, n)
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		verb, name := f.declaringVerb(call.Fun), call.Args[0]
		if declaredKinds[verb] != "" {
			fn := call.Args[1]
			if lit, ok := fn.(*ast.FuncLit); ok {
				fn = &ast.FuncLit{Type: lit.Type, Body: &ast.BlockStmt{}}
			}
			pkg.calls = append(pkg.calls, &declaration{file: f, at: f.place(name.Pos()), verb: verb, expr: name, fn: fn, hidden: localNames(around), sure: sure})
		}
		return true
	})
}

// nameDeclarations finds the names of all that is declared.
func (pkg *source) nameDeclarations() {
	for _, d := range pkg.calls {
		name, ok := pkg.constant(d.expr, d.hidden, 0)
		if !ok {
			pkg.unnamed = append(pkg.unnamed, d)
			continue
		}
		d.name = name
		if _, twice := pkg.declared[name]; !twice { // the framework exits when one is
			pkg.declared[name] = d
		}
	}
}

// constant is the text that an expression surely stands for.
func (pkg *source) constant(e ast.Expr, hidden map[string]bool, depth int) (string, bool) {
	if depth > maxTypeDepth {
		return "", false
	}
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.ParenExpr:
		return pkg.constant(e.X, hidden, depth+1)
	case *ast.BinaryExpr:
		left, ok := pkg.constant(e.X, hidden, depth+1)
		right, too := pkg.constant(e.Y, hidden, depth+1)
		return left + right, ok && too && e.Op == token.ADD
	case *ast.CallExpr: // a conversion
		if id, ok := e.Fun.(*ast.Ident); ok && id.Name == "string" && !hidden["string"] && pkg.decls["string"] == nil && len(e.Args) == 1 {
			return pkg.constant(e.Args[0], hidden, depth+1)
		}
	case *ast.Ident:
		if d := pkg.decls[e.Name]; d != nil && d.kind == token.CONST && d.value != nil && !hidden[e.Name] {
			return pkg.constant(d.value, nil, depth+1)
		}
	}
	return "", false
}

// localNames are what the nodes around a place declare themselves.
func localNames(around []ast.Node) map[string]bool {
	names := map[string]bool{}
	note := func(ids ...*ast.Ident) {
		for _, id := range ids {
			names[id.Name] = true
		}
	}
	expressions := func(list ...ast.Expr) {
		for _, e := range list {
			if id, ok := e.(*ast.Ident); ok {
				note(id)
			}
		}
	}
	statements := func(list ...ast.Stmt) {
		for _, s := range list {
			switch s := s.(type) {
			case *ast.AssignStmt:
				expressions(s.Lhs...)
			case *ast.DeclStmt:
				for _, spec := range s.Decl.(*ast.GenDecl).Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						note(spec.Names...)
					case *ast.TypeSpec:
						note(spec.Name)
					}
				}
			}
		}
	}
	fields := func(lists ...*ast.FieldList) {
		for _, list := range lists {
			if list == nil {
				continue
			}
			for _, field := range list.List {
				note(field.Names...)
			}
		}
	}
	for _, n := range around {
		switch n := n.(type) {
		case *ast.FuncDecl:
			fields(n.Recv, n.Type.Params, n.Type.Results)
		case *ast.FuncLit:
			fields(n.Type.Params, n.Type.Results)
		case *ast.BlockStmt:
			statements(n.List...)
		case *ast.CaseClause:
			statements(n.Body...)
		case *ast.CommClause:
			statements(n.Comm)
			statements(n.Body...)
		case *ast.IfStmt:
			statements(n.Init)
		case *ast.ForStmt:
			statements(n.Init)
		case *ast.SwitchStmt:
			statements(n.Init)
		case *ast.TypeSwitchStmt:
			statements(n.Init, n.Assign)
		case *ast.RangeStmt:
			expressions(n.Key, n.Value)
		}
	}
	return names
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

// target is what a declaration declares, deployed under a name.
func (d *declaration) target(pkg *source, name, kind string) (*Target, error) {
	if is := declaredKinds[d.verb]; kind != "" && kind != is {
		return nil, refuse(d.file.path, d.at, fmt.Sprintf("%s is declared as of kind %s, and the setting kind says %s", d.name, is, kind), "set kind to "+is+" or leave it out")
	}
	t := &Target{
		Name: name, Kind: declaredKinds[d.verb], Declared: d.name, pkg: pkg,
		Dir: pkg.dir, PackageName: pkg.name, IsMain: pkg.name == "main",
		File: d.file.path, Line: d.at.Line, Col: d.at.Column,
	}
	if !d.sure {
		t.Deferred = fmt.Sprintf("the call that declares %q stands in no init function, so only a start tells whether it runs", d.name)
	}
	return t, nil
}

// declaredAs returns the declaration whose name makes the given one, as blur-images
// makes BlurImages.
func (pkg *source) declaredAs(name string) (*declaration, error) {
	var found []string
	for _, declared := range slices.Sorted(maps.Keys(pkg.declared)) {
		if proto.NameOf(declared) == name {
			found = append(found, declared)
		}
	}
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return pkg.declared[found[0]], nil
	}
	d := pkg.declared[found[0]]
	return nil, refuse(d.file.path, d.at, fmt.Sprintf("%s may be the one declared as %q or as %q", name, found[0], found[1]), "say which in the setting target")
}

// targeted returns the function that the setting target names: one that is declared
// by that name, or an exported one.
func (pkg *source) targeted(target, name, kind string) (*Target, error) {
	if d, ok := pkg.declared[target]; ok {
		return d.target(pkg, name, kind)
	}
	if token.IsExported(target) && pkg.decls[target] != nil {
		t, err := pkg.function(target, kind)
		if t != nil {
			t.Name, t.Function = name, target
		}
		return t, err
	}
	if d, err := pkg.declaredAs(target); d != nil || err != nil { // a name without case or hyphens, such as a preview's
		if err != nil {
			return nil, err
		}
		return d.target(pkg, name, kind)
	}
	fix := "declare it in an init function: functions.HTTP(" + strconv.Quote(target) + ", …), or name an exported function"
	if near := proto.Nearest(target, slices.Concat(slices.Collect(maps.Keys(pkg.declared)), pkg.exported())); near != "" {
		fix = fmt.Sprintf("did you mean %q?", near)
	} else if why := pkg.perhaps(); why != "" {
		return &Target{
			Name: name, Kind: cmp.Or(kind, proto.KindHTTP), Declared: target, pkg: pkg,
			Dir: pkg.dir, PackageName: pkg.name, IsMain: pkg.name == "main", File: pkg.first.path, Line: 1, Col: 1,
			Deferred: fmt.Sprintf("only a start tells whether %q is declared: %s", target, why),
		}, nil
	}
	return nil, &Refusal{File: pkg.dir, Reason: fmt.Sprintf("target: the package declares no function %q", target), Fix: fix}
}

// perhaps says why a function may be declared by a name that the check did not find; ""
// when it surely is not.
func (pkg *source) perhaps() string {
	if len(pkg.unnamed) > 0 {
		d := pkg.unnamed[0]
		return fmt.Sprintf("the name at %s:%d is made at run time", d.file.path, d.at.Line)
	}
	if pkg.foreign != "" {
		return "the package imports others, such as " + pkg.foreign
	}
	return ""
}

// exported are the package's exported functions.
func (pkg *source) exported() []string {
	var names []string
	for name, d := range pkg.decls {
		if d.kind == token.FUNC && token.IsExported(name) {
			names = append(names, name)
		}
	}
	return names
}

// isForeign reports whether a package is neither of the standard library nor in
// packageNames.
func isForeign(importPath string) bool {
	return packageNames[importPath] == "" && !isStandard(importPath)
}
