package funcfw

import (
	"fmt"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Platform is what a source is checked and generated for: the toolchain that
// will build it, not the one that built this program.
type Platform struct {
	GOOS, GOARCH string
	GoVersion    string   // as go env GOVERSION says it: "go1.26.8"
	Tags         []string // additional build tags
}

// version is GoVersion without the experiments that may follow it.
func (p Platform) version() string {
	v, _, _ := strings.Cut(p.GoVersion, " ")
	return v
}

// Target is a function that was found.
type Target struct {
	Name        string
	Kind        string // proto.KindHTTP
	Dir         string // the package's folder, slash separated, relative to the bundle's root; "." for the root
	PackageName string // as its package clauses say
	IsMain      bool   // the package is main, without func main
	File        string // that declares the function, relative to the bundle's root
	Line, Col   int    // of its name there
	// Deferred says why only the compiler can tell whether the function has the
	// right type; empty when it surely has.
	Deferred string
	// Note is something the user may want to know; mostly empty.
	Note string
}

// Check finds the function name in the package folder dir (slash separated,
// relative to the root of fsys; "" and "." mean the root) and reports as a
// *Refusal why it cannot be deployed. filePath, when not empty, is the file in
// dir that should declare it; a function found in another file is taken, with a
// Note. An error of another type is one of fsys.
func Check(fsys fs.FS, dir, name, filePath string, p Platform) (*Target, error) {
	if err := proto.CheckName(name); err != nil {
		e := proto.AsError(err)
		return nil, &Refusal{Reason: e.Message, Fix: e.Hint}
	}
	pkg, err := scan(fsys, dir, p)
	if err != nil {
		return nil, err
	}
	t, err := pkg.find(name)
	if err != nil {
		return nil, err
	}
	if filePath == "" {
		return t, nil
	}
	want := path.Join(pkg.dir, filePath)
	if want == t.File {
		return t, nil
	}
	if _, err := fs.Stat(fsys, want); err != nil {
		return nil, &Refusal{File: want, Reason: "no such file in the package", Fix: name + " is declared in " + t.File}
	}
	t.Note = fmt.Sprintf("%s is declared in %s, not in %s", name, t.File, want)
	return t, nil
}

// Candidates returns the functions of a package that surely can be deployed,
// ordered by name. It returns none without an error when there are none.
func Candidates(fsys fs.FS, dir string, p Platform) ([]*Target, error) {
	pkg, err := scan(fsys, dir, p)
	if err != nil {
		return nil, err
	}
	var found []*Target
	for name := range pkg.decls {
		if proto.CheckName(name) != nil {
			continue
		}
		if t, err := pkg.find(name); err == nil && t.Deferred == "" {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *Target) int { return strings.Compare(a.Name, b.Name) })
	return found, nil
}

// find returns the function called name, or why it cannot be deployed.
func (pkg *source) find(name string) (*Target, error) {
	d, ok := pkg.decls[name]
	if !ok {
		return nil, pkg.missing(name)
	}
	t := &Target{
		Name: name, Kind: proto.KindHTTP,
		Dir: pkg.dir, PackageName: pkg.name, IsMain: pkg.name == "main",
		File: d.file.path, Line: d.at.Line, Col: d.at.Column,
	}
	switch d.kind {
	case token.FUNC:
		var err error
		t.Deferred, err = pkg.checkSignature(d)
		if err != nil {
			return nil, err
		}
	case token.VAR:
		t.Deferred = name + " is a variable"
	default:
		return nil, refuse(d.file.path, d.at, fmt.Sprintf("%s is a %s, not a function", name, kindWords[d.kind]), wantFix(name))
	}
	return t, nil
}

var kindWords = map[token.Token]string{token.TYPE: "type", token.CONST: "constant"}

// wantFix tells how the function must be declared.
func wantFix(name string) string {
	return "declare it as func " + name + "(w http.ResponseWriter, r *http.Request)"
}

// missing says why there is no function called name, as near to the user's
// mistake as can be told.
func (pkg *source) missing(name string) error {
	if m, ok := pkg.methods[name]; ok {
		return refuse(m.file.path, m.at, name+" is a method; only a function can be deployed", wantFix(name))
	}
	for _, x := range pkg.excluded {
		if at, ok := x.declares(name); ok {
			return refuse(x.path, at, fmt.Sprintf("%s is declared in a file that is %s", name, x.why), x.fix)
		}
	}
	r := &Refusal{Reason: fmt.Sprintf("package %s has no function %s", pkg.name, name), Fix: wantFix(name)}
	var names []string
	for other, d := range pkg.decls {
		if d.kind != token.FUNC {
			continue
		}
		if proto.Path(other) == proto.Path(name) {
			r.File, r.Line, r.Col = d.file.path, d.at.Line, d.at.Column
			r.Fix = fmt.Sprintf("did you mean %s?", other)
			if !token.IsExported(other) {
				r.Fix = fmt.Sprintf("rename %s to %s: only exported functions can be deployed", other, name)
			}
			return r
		}
		if token.IsExported(other) {
			names = append(names, other)
		}
	}
	if near := proto.Nearest(name, names); near != "" {
		r.Fix = fmt.Sprintf("did you mean %s?", near)
	}
	return r
}
