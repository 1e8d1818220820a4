package funcfw

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/version"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/module"
)

// Limits of a package, so that a hostile one cannot exhaust the agent: at the
// limits a check takes about a second and 300 MiB.
const (
	maxFile    = 2 << 20 // bytes of a Go file; the standard library's largest has 1.4 MB
	maxSource  = 8 << 20 // bytes of a package's Go files together
	maxEntries = 2_000   // files and folders of a package's folder
)

// reserved is how the names of generated files begin.
const reserved = "zz_ryo"

const wantDir = "name the folder of the function's package: packageDir of one on this machine, packagePath of one in an archive"

// compiled are the endings of files that the go command compiles or links without cgo,
// or refuses. All but the first are refused here. The go command leaves out others,
// such as .c.
var compiled = []string{".go", ".s", ".syso", ".f", ".F", ".for", ".f90"}

// source is a scanned package: what its files declare at package level.
type source struct {
	dir      string // slash separated, relative to the bundle's root
	name     string
	decls    map[string]*decl
	methods  map[string]*decl
	declared map[string]*declaration // by the name that is declared
	calls    []*declaration          // all of them
	unnamed  []*declaration          // those whose name is not known
	imports  map[string]bool         // paths that its files import
	foreign  string                  // a package of others that is imported; "" for none
	excluded []*excluded
	first    *file // that gave the package its name
}

// file is a Go file that joins the build.
type file struct {
	path string // relative to the bundle's root
	text []byte
	// clauseEnd is where the package clause ends in text.
	clauseEnd int
	fset      *token.FileSet
	imports   map[string]string // local name → path, for the names that are sure
	dots      map[string]bool   // paths that are imported with a dot
	// declares says that functions may be declared by name here.
	declares bool
}

// decl is a declaration at package level.
type decl struct {
	file  *file
	at    token.Position // of its name
	kind  token.Token    // FUNC, VAR, CONST or TYPE
	fn    *ast.FuncDecl  // for FUNC; without the statements of its body
	typ   ast.Expr       // for VAR; nil when its value tells
	value ast.Expr       // for VAR and CONST; nil for none
	// defines is set for a TYPE that is a new one, not another name of an old one.
	defines bool
}

// excluded is a Go file that does not join the build.
type excluded struct {
	path     string
	text     []byte
	why, fix string
}

// place is the position of a node, whatever //line comments say.
func (f *file) place(p token.Pos) token.Position { return f.fset.PositionFor(p, false) }

// scan reads the package in a folder.
func scan(fsys fs.FS, dir string, p Platform) (*source, error) {
	pkg := &source{dir: path.Clean(dir), decls: map[string]*decl{}, methods: map[string]*decl{}, declared: map[string]*declaration{}, imports: map[string]bool{}}
	if !fs.ValidPath(pkg.dir) {
		return nil, &Refusal{Reason: fmt.Sprintf("package folder %q is not below the root of what was sent", dir), Fix: "give a relative path without .."}
	}
	names, err := list(fsys, pkg.dir)
	if err != nil {
		return nil, err
	}
	total := 0
	for _, name := range names {
		at := path.Join(pkg.dir, name)
		if strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") || !slices.Contains(compiled, path.Ext(name)) {
			continue
		}
		text, err := readFile(fsys, at, maxFile)
		if err != nil {
			return nil, err
		}
		if total += len(text); total > maxSource {
			return nil, &Refusal{File: pkg.dir, Reason: fmt.Sprintf("the package has more than %d bytes of Go source", maxSource), Fix: "move data into a file and use go:embed"}
		}
		if err := pkg.take(at, text, p); err != nil {
			return nil, err
		}
	}
	if pkg.name == "" {
		return nil, pkg.empty()
	}
	pkg.nameDeclarations()
	if d, ok := pkg.decls["main"]; ok && pkg.name == "main" && d.kind == token.FUNC {
		return nil, pkg.program(d)
	}
	return pkg, nil
}

// list returns the names of a folder's files.
func list(fsys fs.FS, dir string) ([]string, error) {
	info, err := fs.Stat(fsys, dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Refusal{File: dir, Reason: "no such folder", Fix: wantDir}
	case err != nil: // such as a folder below a file
		return nil, &Refusal{Reason: err.Error(), Fix: wantDir}
	case !info.IsDir():
		return nil, &Refusal{File: dir, Reason: "is a file; the package's folder is wanted", Fix: "give " + path.Dir(dir) + " as the folder and the file as filePath"}
	}
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("check the package: %w", err)
	}
	if len(entries) > maxEntries {
		return nil, &Refusal{File: dir, Reason: fmt.Sprintf("the folder has more than %d entries", maxEntries)}
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), reserved) {
			return nil, &Refusal{File: path.Join(dir, e.Name()), Reason: "names beginning " + reserved + " are reserved", Fix: "rename it"}
		}
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// take adds a file to the package, or notes why it does not join the build.
func (pkg *source) take(at string, text []byte, p Platform) error {
	joins, err := matches(at, text, p)
	if err != nil {
		return err
	}
	isGo := path.Ext(at) == ".go"
	switch {
	case isGo && joins && importsC(text):
		pkg.excluded = append(pkg.excluded, &excluded{at, text, needsCgo, "functions are built without cgo: write it in Go alone"})
	case isGo && joins:
		return pkg.add(at, text)
	case isGo:
		pkg.exclude(at, text, p)
	case joins:
		return &Refusal{File: at, Reason: "assembly, Fortran and object files are not built", Fix: "write the package in Go alone"}
	}
	return nil
}

// matches reports whether a file joins the build: its name and its build
// constraints decide. The rest of it need not even be Go.
func matches(at string, text []byte, p Platform) (bool, error) {
	return matchesWith(false, at, text, p)
}

// NeedsCgo reports whether a Go file is left out for no other reason than that it
// needs cgo.
func NeedsCgo(name string, text []byte, p Platform) bool {
	joins, err := matchesWith(true, name, text, p)
	return err == nil && joins && importsC(text)
}

func matchesWith(cgo bool, at string, text []byte, p Platform) (bool, error) {
	if strings.HasSuffix(at, "_test.go") {
		return false, nil
	}
	ctxt := build.Context{
		CgoEnabled: cgo, GOOS: p.GOOS, GOARCH: p.GOARCH, Compiler: "gc", BuildTags: p.Tags,
		JoinPath: path.Join,
		OpenFile: func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
	}
	minor, _ := strconv.Atoi(strings.TrimPrefix(version.Lang(p.version()), "go1."))
	for i := 1; i <= minor; i++ {
		ctxt.ReleaseTags = append(ctxt.ReleaseTags, "go1."+strconv.Itoa(i))
	}
	joins, err := ctxt.MatchFile(path.Dir(at), path.Base(at))
	if err != nil {
		return false, &Refusal{File: at, Reason: err.Error()}
	}
	return joins, nil
}

// needsCgo is why a file is left out that imports "C".
const needsCgo = "left out, since it needs cgo"

// importsC reports whether a Go file uses cgo. The rest of it need not even be Go.
func importsC(text []byte) bool {
	if !bytes.Contains(text, []byte(`"C"`)) {
		return false
	}
	tree, _ := parser.ParseFile(token.NewFileSet(), "", text, parser.ImportsOnly)
	return tree != nil && slices.ContainsFunc(tree.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"C"` })
}

// withoutCgo names a file of the package that is left out, since it needs cgo.
func (pkg *source) withoutCgo() string {
	for _, x := range pkg.excluded {
		if x.why == needsCgo {
			return x.path + " is " + needsCgo
		}
	}
	return ""
}

// exclude keeps a file that does not join the build, to look for the function
// there when it is missing.
func (pkg *source) exclude(at string, text []byte, p Platform) {
	on := p.GOOS + "/" + p.GOARCH
	x := &excluded{at, text, "excluded on " + on, "change the file's name or its //go:build line so that it is built for " + on}
	if strings.HasSuffix(at, "_test.go") {
		x.why, x.fix = "a test", "declare it in a file whose name does not end in _test.go"
	}
	pkg.excluded = append(pkg.excluded, x)
}

// readText is readFile of a text other than Go, without the byte order mark that
// editors of some systems begin one with.
func readText(fsys fs.FS, name string, limit int64) ([]byte, error) {
	text, err := readFile(fsys, name, limit)
	return bytes.TrimPrefix(text, []byte("\ufeff")), err
}

// readFile reads at most limit bytes; a longer file is refused.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("check the package: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("check the package: %w", err)
	}
	if int64(len(text)) > limit {
		return nil, &Refusal{File: name, Reason: fmt.Sprintf("is larger than %d bytes", limit), Fix: "move data into a file and use go:embed"}
	}
	return text, nil
}

// add parses a file and notes what it declares.
func (pkg *source) add(at string, text []byte) error {
	if err := module.CheckFilePath(at); err != nil {
		return &Refusal{File: at, Reason: err.Error(), Fix: "rename it"}
	}
	f := &file{path: at, text: text, fset: token.NewFileSet(), imports: map[string]string{}, dots: map[string]bool{}}
	tree, err := parser.ParseFile(f.fset, path.Base(at), text, parser.SkipObjectResolution)
	if err != nil {
		return f.syntaxError(err)
	}
	f.clauseEnd = f.place(tree.Name.End()).Offset
	switch pkg.name {
	case tree.Name.Name:
	case "":
		pkg.name, pkg.first = tree.Name.Name, f
	default:
		return refuse(at, f.place(tree.Name.Pos()), fmt.Sprintf("package %s in a folder whose package is %s (%s)", tree.Name.Name, pkg.name, pkg.first.path), "a folder holds one package")
	}
	pkg.readImports(f, tree)
	for _, d := range tree.Decls {
		pkg.readDeclarations(f, d)
		pkg.declare(f, d)
	}
	return nil
}

// syntaxError is the first of a parser's errors.
func (f *file) syntaxError(err error) error {
	var list scanner.ErrorList
	if !errors.As(err, &list) || len(list) == 0 {
		return &Refusal{File: f.path, Reason: err.Error()}
	}
	// The list's own lines follow //line comments; its offsets do not.
	start := token.Pos(1) // the base of a set's first file
	return refuse(f.path, f.place(start+token.Pos(list[0].Pos.Offset)), "syntax error: "+list[0].Msg, "")
}

// readImports notes the imports whose local names are sure.
func (pkg *source) readImports(f *file, tree *ast.File) {
	for _, spec := range tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler reports it
		}
		f.declares = f.declares || p == declaringPath
		pkg.imports[p] = true
		if pkg.foreign == "" && isForeign(p) {
			pkg.foreign = p
		}
		switch {
		case spec.Name == nil:
			if name, known := packageNames[p]; known {
				f.imports[name] = p
			}
		case spec.Name.Name == ".":
			f.dots[p] = true
		default:
			f.imports[spec.Name.Name] = p
		}
	}
}

// declare notes a declaration. A name that is declared twice is the compiler's
// to report.
func (pkg *source) declare(f *file, d ast.Decl) {
	note := func(to map[string]*decl, id *ast.Ident, d decl) {
		if _, twice := to[id.Name]; !twice {
			d.file, d.at = f, f.place(id.Pos())
			to[id.Name] = &d
		}
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Body != nil {
			d.Body.List = nil // frees most of the tree
		}
		to := pkg.decls
		if d.Recv != nil {
			to = pkg.methods
		}
		note(to, d.Name, decl{kind: token.FUNC, fn: d})
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				note(pkg.decls, spec.Name, decl{kind: token.TYPE, defines: !spec.Assign.IsValid()})
			case *ast.ValueSpec:
				for i, id := range spec.Names {
					v := decl{kind: d.Tok, typ: spec.Type}
					if len(spec.Values) == len(spec.Names) {
						v.value = spec.Values[i]
					}
					note(pkg.decls, id, v)
				}
			}
		}
	}
}

// empty says why a folder has no package.
func (pkg *source) empty() error {
	r := &Refusal{File: pkg.dir, Reason: "the folder has no Go files", Fix: wantDir}
	for _, x := range pkg.excluded {
		r = &Refusal{File: x.path, Reason: "is " + x.why + ", and the folder has no other Go files", Fix: x.fix}
	}
	return r
}

// declares finds a function in a file that does not join the build and that may
// not even parse.
func (x *excluded) declares(name string) (token.Position, bool) {
	fset := token.NewFileSet()
	tree, _ := parser.ParseFile(fset, path.Base(x.path), x.text, parser.SkipObjectResolution)
	if tree == nil {
		return token.Position{}, false
	}
	for _, d := range tree.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == name {
			return fset.PositionFor(fn.Name.Pos(), false), true
		}
	}
	return token.Position{}, false
}
