package funcfw

import (
	"cmp"
	"errors"
	"fmt"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Platform is what a source is checked and generated for: the toolchain that
// will build it, not the one that built this program.
type Platform struct {
	GOOS, GOARCH string
	GoVersion    string   // as go env GOVERSION prints it: "go1.26.8"
	Tags         []string // additional build tags
}

// version is GoVersion without the experiments that may follow it.
func (p Platform) version() string {
	v, _, _ := strings.Cut(p.GoVersion, " ")
	return v
}

// Spec says which function is meant.
type Spec struct {
	Dir string // the package's folder, slash separated, relative to the bundle's root; "" and "." mean the root
	// Name is the deployed function's. Without a Target it also says where to look: at
	// the exported function of that name, or at a declared one whose name makes it.
	Name string
	// Target is the name of a declared function, any text, or of an exported one; ""
	// means Name.
	Target string
	File   string // the file in Dir that should declare it; "" for any
	Kind   string // the kind that it should be of, one of proto's; "" for any
}

// Target is a function that was found.
type Target struct {
	Name        string // of the deployed function
	Kind        string // one of proto's
	Dir         string // the package's folder, slash separated, relative to the bundle's root; "." for the root
	PackageName string // as its package clauses say
	IsMain      bool   // the package is main, without func main
	File        string // the one that declares the function, relative to the bundle's root
	Line, Col   int    // where its name stands in File
	// Declared is the name that the package declares the function by, with
	// functions.HTTP, CloudEvent or Typed; "" for an exported one.
	Declared string
	// Function is the exported function's name, where Name is another.
	Function string
	// Variable says that the target is a variable that holds a handler.
	Variable bool
	// Deferred says why only the compiler can tell whether the function has the
	// right type; empty when it surely has.
	Deferred string
	// Note is something the user may want to know; mostly empty.
	Note string

	wrapper string  // see form
	pkg     *source // where it was found
}

// Key is what RYO_FUNCTION names the function by in its program.
func (t *Target) Key() string { return cmp.Or(t.Declared, t.Function, t.Name) }

// Check finds a function and reports as a *Refusal why it cannot be deployed. A
// function that is found in another file than spec names is taken, with a Note. Any
// other error comes from fsys.
func Check(fsys fs.FS, spec Spec, p Platform) (*Target, error) {
	if err := proto.CheckName(spec.Name); err != nil {
		e := proto.AsError(err)
		return nil, &Refusal{Reason: e.Message, Fix: e.Hint}
	}
	pkg, err := scan(fsys, spec.Dir, p)
	if err != nil {
		return nil, err
	}
	var t *Target
	if spec.Target == "" {
		t, err = pkg.find(spec.Name, spec.Kind)
	} else {
		t, err = pkg.targeted(spec.Target, spec.Name, spec.Kind)
	}
	if err != nil {
		return nil, err
	}
	t.Note = pkg.withoutCgo()
	if spec.File == "" {
		return t, nil
	}
	want := path.Join(pkg.dir, spec.File)
	if want == t.File {
		return t, nil
	}
	if _, err := fs.Stat(fsys, want); err != nil {
		return nil, &Refusal{File: want, Reason: "no such file in the package", Fix: spec.Name + " is declared in " + t.File}
	}
	t.Note = fmt.Sprintf("%s is declared in %s, not in %s", spec.Name, t.File, want)
	return t, nil
}

// Candidates returns the functions of a package that surely can be deployed, and
// why its other exported or declared functions cannot; both ordered by name. The
// error is that of a package which cannot be read as a whole.
func Candidates(fsys fs.FS, dir string, p Platform) (found []*Target, refused []*Refusal, err error) {
	pkg, err := scan(fsys, dir, p)
	if err != nil {
		return nil, nil, err
	}
	found, refused = pkg.candidates()
	return found, refused, nil
}

func (pkg *source) candidates() (found []*Target, refused []*Refusal) {
	names := map[string]bool{}
	for name, d := range pkg.decls {
		if token.IsExported(name) && (d.kind == token.FUNC || pkg.isHandler(d)) {
			names[name] = true
		}
	}
	for declared := range pkg.declared {
		names[cmp.Or(proto.NameOf(declared), declared)] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		t, err := pkg.find(name, "")
		if refusal := (*Refusal)(nil); errors.As(err, &refusal) {
			refused = append(refused, refusal)
		} else if err == nil && t.Deferred == "" {
			found = append(found, t)
		}
	}
	return found, refused
}

// find returns the function called name, or why it cannot be deployed as one of the
// given kind; "" means any kind.
func (pkg *source) find(name, kind string) (*Target, error) {
	if d, ok := pkg.declared[name]; ok && (d.sure || pkg.decls[name] == nil || pkg.decls[name].kind != token.FUNC) {
		if err := proto.CheckName(name); err != nil {
			return nil, refuse(d.file.path, d.at, fmt.Sprintf("no function name can be made of %q", name), "choose one with the setting name, and give this one as target")
		}
		return d.target(pkg, name, kind)
	}
	if pkg.decls[name] != nil {
		return pkg.function(name, kind)
	}
	d, err := pkg.declaredAs(name)
	switch {
	case err != nil:
		return nil, err
	case d != nil:
		return d.target(pkg, name, kind)
	}
	return nil, pkg.missing(name, kind)
}

// function returns the exported function called name.
func (pkg *source) function(name, kind string) (*Target, error) {
	d := pkg.decls[name]
	t := &Target{
		Name: name, pkg: pkg,
		Dir: pkg.dir, PackageName: pkg.name, IsMain: pkg.name == "main",
		File: d.file.path, Line: d.at.Line, Col: d.at.Column,
	}
	switch d.kind {
	case token.FUNC:
		s, err := pkg.signature(d)
		if err != nil {
			return nil, err
		}
		if err := pkg.ofAnotherPlatform(s); err != nil {
			return nil, err
		}
		f, deferred, err := s.formOf(kind)
		if err != nil {
			return nil, err
		}
		t.Kind, t.Deferred, t.wrapper = f.kind, deferred, f.wrapper
		return t, nil
	case token.VAR:
		return t, pkg.variable(t, d, kind)
	}
	return nil, refuse(d.file.path, d.at, fmt.Sprintf("%s is a %s, not a function", name, kindWords[d.kind]), wantFix(name, cmp.Or(kind, proto.KindHTTP)))
}

var kindWords = map[token.Token]string{token.TYPE: "type", token.CONST: "constant"}

// missing says why there is no function called name, as near to the user's
// mistake as can be told.
func (pkg *source) missing(name, kind string) error {
	fix := wantFix(name, cmp.Or(kind, proto.KindHTTP))
	if m, ok := pkg.methods[name]; ok {
		if n := pkg.decls["New"]; name == "Handle" && n != nil && n.kind == token.FUNC {
			return pkg.instance()
		}
		return refuse(m.file.path, m.at, name+" is a method; only a function can be deployed", fix)
	}
	for _, x := range pkg.excluded {
		if at, ok := x.declares(name); ok {
			return refuse(x.path, at, fmt.Sprintf("%s is declared in a file that is %s", name, x.why), x.fix)
		}
	}
	r := &Refusal{Reason: fmt.Sprintf("package %s has no function %s", pkg.name, name), Fix: fix}
	if len(pkg.unnamed) > 0 {
		d := pkg.unnamed[0]
		r.Fix = fmt.Sprintf("if functions.%s at %s:%d declares it, give that name in the setting target: it is made at run time", d.verb, d.file.path, d.at.Line)
	}
	var names []string
	for other := range pkg.declared {
		names = append(names, cmp.Or(proto.NameOf(other), other))
	}
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
	} else if found, _ := pkg.candidates(); len(found) == 1 && r.Fix == fix {
		r.Fix = fmt.Sprintf("deploy its function %s, or %s", found[0].Name, fix)
	}
	return r
}
