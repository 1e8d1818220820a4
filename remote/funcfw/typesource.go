package funcfw

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
)

// known are the types of the standard library that are in JSON most: as much of their
// declarations as encoding/json looks at.
var known = map[string]string{
	"bytes":         "type Buffer struct{}",
	"database/sql":  sqlTypes,
	"encoding/json": "type RawMessage []byte\nfunc (RawMessage) MarshalJSON() ([]byte, error)\ntype Number string",
	"html/template": "type HTML string\ntype CSS string\ntype JS string\ntype URL string",
	"image":         "type Point struct{ X, Y int }\ntype Rectangle struct{ Min, Max Point }",
	"image/color":   "type RGBA struct{ R, G, B, A uint8 }\ntype NRGBA struct{ R, G, B, A uint8 }\ntype Gray struct{ Y uint8 }",
	"io/fs":         "type FileMode uint32",
	"log/slog":      "type Level int\nfunc (Level) MarshalJSON() ([]byte, error)",
	"math/big":      "type Int struct{}\nfunc (*Int) MarshalJSON() ([]byte, error)\n" + asText("Float", "Rat"),
	"net":           "type IP []byte\nfunc (IP) MarshalText() ([]byte, error)\ntype IPMask []byte\ntype HardwareAddr []byte\ntype IPNet struct{ IP IP; Mask IPMask }",
	"net/http":      "type Header map[string][]string",
	"net/mail":      "type Address struct{ Name, Address string }",
	"net/netip":     asText("Addr", "AddrPort", "Prefix"),
	"net/textproto": "type MIMEHeader map[string][]string",
	"net/url":       "type Values map[string][]string\ntype Userinfo struct{}\ntype URL struct{ Scheme, Opaque string; User *Userinfo; Host, Path, Fragment, RawQuery, RawPath, RawFragment string; ForceQuery, OmitHost bool }",
	"os":            "import \"io/fs\"\ntype FileMode = fs.FileMode",
	"regexp":        asText("Regexp"),
	"strings":       "type Builder struct{}",
	"sync":          "type Mutex struct{}\ntype RWMutex struct{}\ntype Once struct{}",
	"sync/atomic":   "type Bool struct{}\ntype Int32 struct{}\ntype Int64 struct{}\ntype Uint32 struct{}\ntype Uint64 struct{}",
	"time":          "type Time struct{}\nfunc (Time) MarshalJSON() ([]byte, error)\ntype Duration int64\ntype Month int\ntype Weekday int\ntype Location struct{}",
}

const sqlTypes = `import "time"
type Null[T any] struct{ V T; Valid bool }
type NullBool struct{ Bool, Valid bool }
type NullByte struct{ Byte byte; Valid bool }
type NullFloat64 struct{ Float64 float64; Valid bool }
type NullInt16 struct{ Int16 int16; Valid bool }
type NullInt32 struct{ Int32 int32; Valid bool }
type NullInt64 struct{ Int64 int64; Valid bool }
type NullString struct{ String string; Valid bool }
type NullTime struct{ Time time.Time; Valid bool }`

// asText declares types that are texts in JSON.
func asText(names ...string) string {
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "type %s struct{}\nfunc (*%[1]s) MarshalText() ([]byte, error)\n", name)
	}
	return b.String()
}

// typeReader reads the declarations of packages.
type typeReader struct {
	fsys         fs.FS
	platform     Platform
	files        *token.FileSet
	root, module string            // the folder and the path of the function's module
	folders      map[string]string // of the modules that were sent, by their paths
	vendor       string            // the folder of vendored ones; "": there is none
	packages     map[string]*types.Package
	keep         map[string]bool            // functions that are read
	declared     *declaration               // the call that declares the function, if one does
	selected     map[string]map[string]bool // what files take of packages, by the packages' names
}

// newReader returns a reader of the modules that were sent with a function's package.
func newReader(fsys fs.FS, t *Target, p Platform) *typeReader {
	r := &typeReader{
		fsys: fsys, platform: p, files: token.NewFileSet(), packages: make(map[string]*types.Package),
		folders: make(map[string]string), selected: make(map[string]map[string]bool),
	}
	m, err := findModule(fsys, t)
	if err != nil { // the user is told by others
		m = &userModule{root: t.Dir, file: new(modfile.File)}
		_ = m.file.AddModuleStmt(unnamed)
	}
	r.vendor = m.vendor
	replace := func(dir string, list []*modfile.Replace) {
		for _, to := range list {
			if to.New.Version == "" {
				r.folders[to.Old.Path] = path.Join(dir, to.New.Path)
			}
		}
	}
	replace(m.root, m.file.Replace)
	if m.work != nil {
		replace(m.workDir, m.work.Replace)
	}
	for _, s := range m.siblings {
		r.folders[s.modPath()] = s.dir
	}
	r.root, r.module = m.root, m.modPath()
	r.folders[r.module] = r.root
	return r
}

// folder is where the package of an import path was sent; "": nowhere.
func (r *typeReader) folder(importPath string) string {
	for modPath := importPath; modPath != "." && modPath != "/"; modPath = path.Dir(modPath) { // the longest comes first
		if dir, ok := r.folders[modPath]; ok {
			return path.Join(dir, strings.TrimPrefix(importPath, modPath))
		}
	}
	if r.vendor != "" {
		return path.Join(r.vendor, importPath)
	}
	return ""
}

// signature is that of a function; nil: it is not known.
func (r *typeReader) signature(t *Target) *types.Signature {
	name := cmp.Or(t.Function, t.Name)
	r.keep = map[string]bool{name: true}
	if t.Declared != "" {
		r.declared = t.pkg.declared[t.Declared]
		if r.declared == nil || !r.declared.plain() {
			return nil
		}
		name = declaredName
		ast.Inspect(r.declared.fn, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				r.keep[id.Name] = true
			}
			return true
		})
	}
	below := strings.TrimPrefix(strings.TrimPrefix(path.Clean(t.Dir), path.Clean(r.root)), "/")
	pkg := r.read(t.Dir, path.Join(r.module, below))
	if pkg == nil {
		return nil
	}
	obj := pkg.Scope().Lookup(name)
	if _, isType := obj.(*types.TypeName); obj == nil || isType {
		return nil
	}
	sig, _ := obj.Type().Underlying().(*types.Signature)
	return sig
}

// declaredName is a variable's that holds the function which a call declares. No source has
// that name.
const declaredName = reserved + "_declared"

// plain reports whether the function that is declared can be told from declarations: it is
// the name of one, or a literal, and no name in it is one of the place where it stands.
func (d *declaration) plain() bool {
	at := d.fn
	if lit, ok := at.(*ast.FuncLit); ok {
		at = lit.Type
	}
	ok := true
	ast.Inspect(at, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr: // whose result is not known, or an array's length
			ok = false
		case *ast.SelectorExpr:
			_, isName := n.X.(*ast.Ident)
			ok = ok && isName
		case *ast.Ident:
			ok = ok && !d.hidden[n.Name]
		}
		return ok
	})
	return ok
}

// Import implements types.Importer. A package that is not known has the types alone that are
// asked for, and nothing is known of them.
func (r *typeReader) Import(importPath string) (*types.Package, error) {
	pkg, met := r.packages[importPath]
	if pkg != nil {
		return pkg, nil
	}
	if met { // it imports itself, so nothing is known of it yet
		return types.NewPackage(importPath, r.nameOf(importPath)), nil
	}
	if text, ok := known[importPath]; ok {
		pkg = r.declare(importPath, []*ast.File{r.parse(importPath, []byte("package "+path.Base(importPath)+"\n"+text))})
	} else if dir := r.folder(importPath); dir != "" && len(r.packages) < maxPackages {
		if found := r.read(dir, importPath); found != nil {
			return found, nil
		}
	}
	if pkg == nil {
		pkg = types.NewPackage(importPath, r.nameOf(importPath))
		pkg.MarkComplete()
		r.packages[importPath] = pkg
	}
	for name := range r.selected[pkg.Name()] {
		if pkg.Scope().Lookup(name) == nil {
			obj := types.NewTypeName(token.NoPos, pkg, name, nil)
			types.NewNamed(obj, unknown, nil)
			pkg.Scope().Insert(obj)
		}
	}
	return pkg, nil
}

// unknown is the underlying type of those of which nothing is known.
var unknown = types.NewInterfaceType(nil, nil)

// isUnknown reports whether nothing is known of a type.
func isUnknown(t types.Type) bool {
	named, ok := t.(*types.Named)
	return t == types.Typ[types.Invalid] || ok && named.Underlying() == types.Type(unknown)
}

// nameOf guesses the name of a package that is not known: the one that files use.
func (r *typeReader) nameOf(importPath string) string {
	base := path.Base(importPath)
	if prefix, _, ok := module.SplitPathVersion(importPath); ok {
		base = path.Base(prefix)
	}
	for _, name := range []string{base, strings.TrimPrefix(base, "go-"), strings.TrimSuffix(base, "-go"), strings.TrimSuffix(base, ".go"), strings.ReplaceAll(base, "-", ""), strings.ReplaceAll(base, "-", "_")} {
		if r.selected[name] != nil {
			return name
		}
	}
	return base
}

// read reads the package in a folder, nil if there is none. Of its functions it reads those
// that are to be kept.
func (r *typeReader) read(dir, importPath string) *types.Package {
	names, err := list(r.fsys, dir)
	if err != nil {
		return nil
	}
	var files []*ast.File
	total := 0
	for _, name := range names {
		at := path.Join(dir, name)
		if path.Ext(name) != ".go" || strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") {
			continue
		}
		text, err := readFile(r.fsys, at, maxFile)
		if total += len(text); err != nil || total > maxSource {
			return nil
		}
		if joins, err := matches(at, text, r.platform); err != nil || !joins {
			continue
		}
		if file := r.parse(at, text); file != nil {
			files = append(files, file)
		}
	}
	if files == nil {
		return nil
	}
	return r.declare(importPath, files)
}

// parse returns what a file says of types: no variables, no constants that may be texts, no
// bodies of functions, and of functions the methods, and those that are to be kept.
func (r *typeReader) parse(name string, text []byte) *ast.File {
	file, err := parser.ParseFile(r.files, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	declared := r.declaration(name, file)
	file.Decls = slices.DeleteFunc(file.Decls, func(d ast.Decl) bool {
		switch d := d.(type) {
		case *ast.GenDecl:
			return d.Tok == token.VAR || d.Tok == token.CONST && hasText(d)
		case *ast.FuncDecl:
			d.Body = nil
			return d.Recv == nil && !r.keep[d.Name.Name]
		}
		return true
	})
	if declared != nil {
		file.Decls = append(file.Decls, declared)
	}
	r.noteUses(file)
	return file
}

// declaration makes a variable of the function that a call in a file declares, nil if that
// stands in another one.
func (r *typeReader) declaration(name string, file *ast.File) (variable ast.Decl) {
	if r.declared == nil || r.declared.file.path != name {
		return nil
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if ok && len(call.Args) == 2 && r.files.PositionFor(call.Args[0].Pos(), false).Offset == r.declared.at.Offset {
			if lit, ok := call.Args[1].(*ast.FuncLit); ok {
				lit.Body = &ast.BlockStmt{}
			}
			variable = &ast.GenDecl{Tok: token.VAR, Specs: []ast.Spec{&ast.ValueSpec{Names: []*ast.Ident{ast.NewIdent(declaredName)}, Values: []ast.Expr{call.Args[1]}}}}
		}
		return variable == nil
	})
	return variable
}

// noteUses notes what a file takes of packages.
func (r *typeReader) noteUses(file *ast.File) {
	names := make(map[string]string) // of packages that have another one here, by that
	for _, spec := range file.Imports {
		if importPath, err := strconv.Unquote(spec.Path.Value); err == nil && spec.Name != nil {
			names[spec.Name.Name] = path.Base(importPath)
		}
	}
	for _, d := range file.Decls {
		ast.Inspect(d, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || !sel.Sel.IsExported() {
				return true
			}
			if id, ok := sel.X.(*ast.Ident); ok {
				name := cmp.Or(names[id.Name], id.Name)
				if r.selected[name] == nil {
					r.selected[name] = make(map[string]bool)
				}
				r.selected[name][sel.Sel.Name] = true
			}
			return true
		})
	}
}

// hasText reports whether constants may be texts, or made by calls, which may give texts.
// Constants are read for the lengths of arrays alone, and a few lines of text, each the one
// before eight times over, would fill the memory.
func hasText(d *ast.GenDecl) (found bool) {
	ast.Inspect(d, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			found = found || n.Kind == token.STRING
		case *ast.CallExpr:
			found = true
		}
		return !found
	})
	return found
}

// declare makes a package of its files. What is wrong with them is no matter here.
func (r *typeReader) declare(importPath string, files []*ast.File) *types.Package {
	r.packages[importPath] = nil // it is being read
	config := types.Config{Importer: r, IgnoreFuncBodies: true, FakeImportC: true, Error: func(error) {}}
	pkg, _ := config.Check(importPath, r.files, files, nil)
	r.packages[importPath] = pkg
	return pkg
}
