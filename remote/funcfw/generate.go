package funcfw

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"go/version"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// runtimeSource is the runtime module. Tests are left out by name, so a file
// that is added to a package must be added here.
//
//go:embed boot/boot.go serve/body.go serve/conn.go serve/deadline.go serve/doc.go serve/events.go serve/exchange.go serve/framework.go serve/guard.go serve/listens.go serve/mount.go serve/places.go serve/serve.go serve/traffic.go serve/typed.go serve/variable.go serve/webhook.go
var runtimeSource embed.FS

const (
	// minGo is the first whose net/http has unencrypted HTTP/2, which serve uses.
	minGo = "go1.24"
	// cpuLimitGo is the first whose GOMAXPROCS follows the container's CPU limit,
	// unless the go line of the user's module is older.
	cpuLimitGo = "go1.25"
	// besideDir holds what is generated, beside the bundle's root: go:embed patterns
	// reach whatever lies below it.
	besideDir = "../" + reserved
	mainDir   = besideDir + "/main"
	mainName  = reserved + "_main"
	mainFile  = reserved + "_main.go"
	mainGo    = "1.21" // the language of the generated main
	// maxFunctions is more than people deploy from one package. One with more is a
	// library, and each function that nobody wants costs a build some 4 ms.
	maxFunctions = 32
)

// Generated is what to build beside the user's files. Paths are slash separated.
type Generated struct {
	// ModuleRoot is the folder to run go build in, relative to the bundle's root.
	ModuleRoot string
	// Main is the package to build, as go build takes it in ModuleRoot.
	Main string
	// Overlay maps paths, relative to the bundle's root, to their content. Some lie
	// beside the root, below "../zz_ryo". Their folders need not exist.
	Overlay map[string][]byte
	// GoMod and GoSum are for -modfile: two files whose names differ in .mod and .sum.
	GoMod, GoSum []byte
	// Package is the name of the user's package.
	Package string `json:"-"`
	// Alone says that only modules of the framework are required.
	Alone bool `json:"-"`
	// Warnings are what the user should know of a function that builds, a line each.
	Warnings []string `json:"-"`
}

// Generate returns what makes a program of a target that Check found in fsys, and
// of the other functions of its package, so that those have the same program. An
// error is a *Refusal when the user's module cannot be built.
func Generate(fsys fs.FS, t *Target, p Platform) (*Generated, error) {
	if version.Compare(p.version(), minGo) < 0 {
		return nil, &Refusal{Reason: fmt.Sprintf("%s is too old to build functions", p.GoVersion), Fix: "install " + minGo + " or newer on the agent"}
	}
	m, err := findModule(fsys, t)
	if err != nil {
		return nil, err
	}
	if err := m.check(fsys, p); err != nil {
		return nil, err
	}
	if err := m.checkKind(t); err != nil {
		return nil, err
	}
	importPath, err := m.importPath(t)
	if err != nil {
		return nil, err
	}
	g := &Generated{ModuleRoot: m.root, Package: t.PackageName, Overlay: map[string][]byte{}}
	if !m.own {
		g.Overlay[path.Join(m.root, "go.mod")] = []byte("module " + importPath + "\n")
		// Users without a go.mod mean the language of today, as with go run.
		if err := m.file.AddGoStmt(strings.TrimPrefix(version.Lang(p.version()), "go")); err != nil {
			return nil, fmt.Errorf("make a go.mod: %w", err)
		}
	}
	for _, v := range m.vendored {
		if at := path.Join(m.vendor, v.mod.Path, "go.mod"); !exists(fsys, at) {
			g.Overlay[at] = v.goMod()
		}
	}
	g.addMain(m, t, importPath)
	if err := g.addRuntime(); err != nil {
		return nil, err
	}
	if err := g.addAlternative(m, t, importPath, p); err != nil {
		return nil, err
	}
	return g, nil
}

// addMain adds the main package: a module of its own, since all that lies in the
// user's is seen by go:embed patterns. Its path lies below the package's, so that it
// may import one in a nested internal/. A package main without func main cannot be
// imported; there the text joins the package's first file.
func (g *Generated) addMain(m *userModule, t *Target, importPath string) {
	data := mainData{names: names{t.IsMain}, ImportPath: importPath, File: mainFile}
	keys := map[string]bool{"": true}
	functions, all := m.together(t)
	if !all {
		g.Warnings = append(g.Warnings, fmt.Sprintf("its package has more than %d functions, so each is built by itself, which takes time and disk; divide the package to build them together", maxFunctions))
	}
	for _, f := range functions {
		data.Functions = append(data.Functions, functionData{names: data.names, Target: f, UserFile: m.rel(f.File)})
		keys[f.Key()] = true
	}
	for _, f := range functions { // one may be known by the name that is made of the declared one
		if made := proto.NameOf(f.Declared); f.Declared != "" && !keys[made] {
			data.Functions = append(data.Functions, functionData{names: data.names, Target: f, UserFile: m.rel(f.File), key: made})
			keys[made] = true
		}
	}
	if t.IsMain {
		g.Main = "./" + m.rel(t.Dir)
		g.Overlay[t.pkg.first.path] = data.within(t.pkg.first)
		return
	}
	g.Main = mainModule(importPath)
	g.Overlay[mainDir+"/go.mod"] = []byte("module " + g.Main + "\n\ngo " + mainGo + "\n")
	g.Overlay[mainDir+"/main.go"] = data.text()
}

// mainModule is the path of the module of the main package.
func mainModule(importPath string) string { return path.Join(importPath, mainName) }

// together returns the functions that one program serves, in one order: the target
// and all of its package that surely are functions too. One that only may be a
// function takes part as the target alone, since it could fail the build of the
// others. all is false when there are too many of them, and the target is alone.
func (m *userModule) together(t *Target) (list []*Target, all bool) {
	list = []*Target{t}
	others, _ := t.pkg.candidates()
	for _, f := range others {
		if f.Key() == t.Key() || m.checkKind(f) != nil {
			continue
		}
		if len(list) == maxFunctions {
			return []*Target{t}, false
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *Target) int { return strings.Compare(a.Key(), b.Key()) })
	return list, true
}

// addRuntime adds the module of boot and serve.
func (g *Generated) addRuntime() error {
	g.Overlay[path.Join(runtimeDir, "go.mod")] = frameworkMod
	return fs.WalkDir(runtimeSource, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		g.Overlay[path.Join(runtimeDir, name)], err = runtimeSource.ReadFile(name)
		return err
	})
}

// These are the generated main below its imports. Within the user's own
// package its names do not clash with the package's.
//
// The first line comment makes the compiler report a wrong type where the user declares
// the function, to the column; after the second it names this file again.
//
// A word after $ stands for what fill puts there. A text/template would do the
// same, and with it the linker drops no method of any type in the program.
const (
	mainBegin = `
func main() {
	err := $serve.Run($serve.Functions{
`
	mainFunction = `		$key: func() ($http.Handler, error) {
			return $open/*line $userFile:$line:$col*/$value$close
//line $file:1
		},
`
	mainEnd = `	})
	if err != nil {
		$log.Fatal(err)
	}
}
`
	mainGin = `
func $ginHandler(fn func(*$gin.Context)) ($http.Handler, error) {
	$gin.SetMode($gin.ReleaseMode)
	engine := $gin.New()
	engine.NoRoute(func(c *$gin.Context) { // each method and every path below the mount
		c.Status($http.StatusOK) // it would be 404
		c.Params = $gin.Params{{Key: "path", Value: c.Request.URL.Path}}
		fn(c)
	})
	return $serve.HTTP(engine.ServeHTTP)
}
`
)

// mainData is what a main is filled from.
type mainData struct {
	names
	ImportPath string // of the user's package
	File       string // that the compiler says this text is of
	Functions  []functionData
}

// HasGin reports whether one of the functions is for gin.
func (d mainData) HasGin() bool {
	return slices.ContainsFunc(d.Functions, func(f functionData) bool { return f.Kind == proto.KindGin && f.Declared == "" })
}

// Imports are what a main imports, in groups.
func (d mainData) Imports() [][]string {
	groups := [][]string{
		{"_ " + strconv.Quote(runtimeModule+"/boot")}, // first: it announces the function
		{d.imported("log", "log"), d.imported("http", "net/http")},
		{d.imported("serve", runtimeModule+"/serve")},
	}
	if d.HasGin() {
		groups[2] = append(groups[2], d.imported("gin", ginPath))
	}
	switch {
	case d.apart:
		return groups
	case slices.ContainsFunc(d.Functions, func(f functionData) bool { return f.Declared == "" }):
		return append(groups, []string{"fn " + strconv.Quote(d.ImportPath)})
	}
	return append(groups, []string{"_ " + strconv.Quote(d.ImportPath)})
}

// names makes the names in generated text: apart from the user's where they share a
// package.
type names struct{ apart bool }

// As is the name of something generated or imported.
func (n names) As(name string) string {
	if n.apart {
		return reserved + "_" + name
	}
	return name
}

// imported is the import of the package at a path by a name.
func (n names) imported(name, importPath string) string {
	if n.apart {
		return n.As(name) + " " + strconv.Quote(importPath)
	}
	return strconv.Quote(importPath)
}

// functionData is what a function's part of a main is filled from.
type functionData struct {
	names
	*Target
	key      string // "" for the function's own Key
	UserFile string // relative to the module's root, as the compiler names files
}

// Value is the function, as the main knows it.
func (d functionData) Value() string {
	switch name := cmp.Or(d.Function, d.Name); {
	case d.Declared != "":
		return strconv.Quote(d.Declared)
	case d.IsMain:
		return name
	default:
		return "fn." + name
	}
}

// Open is what stands before the function's Value, to make a handler of it.
func (d functionData) Open() string {
	serve := d.As("serve") + "."
	switch {
	case d.Declared != "":
		return serve + "Declared("
	case d.Variable:
		return serve + "Variable(" + strconv.Quote(cmp.Or(d.Function, d.Name)) + ", &"
	case d.Kind == proto.KindGin:
		return d.As("ginHandler") + "("
	case d.Kind == proto.KindCloudEvent:
		return serve + cmp.Or(d.wrapper, "CloudEvent") + "("
	case d.Kind == proto.KindEvent:
		return serve + "Event("
	case d.wrapper != "":
		return serve + "HTTP(" + serve + d.wrapper + "("
	}
	return serve + "HTTP("
}

// Close closes what Open has opened.
func (d functionData) Close() string { return strings.Repeat(")", strings.Count(d.Open(), "(")) }

// text is a main as a file of its own.
func (d mainData) text() []byte {
	var out bytes.Buffer
	out.WriteString("// Code generated to serve the functions of package " + d.Functions[0].PackageName + ". DO NOT EDIT.\n\npackage main\n\nimport (\n")
	for i, group := range d.Imports() {
		if i > 0 {
			out.WriteString("\n")
		}
		for _, line := range group {
			out.WriteString("\t" + line + "\n")
		}
	}
	out.WriteString(")\n")
	d.writeMain(&out)
	return out.Bytes()
}

// within is the text of a file of a package main, with a main added. Its lines keep
// their numbers.
func (d mainData) within(f *file) []byte {
	var out bytes.Buffer
	out.Write(f.text[:f.clauseEnd])
	for _, line := range slices.Concat(d.Imports()...) {
		out.WriteString("; import " + line)
	}
	out.Write(f.text[f.clauseEnd:])
	out.WriteString("\n//line " + d.File + ":1\n")
	d.writeMain(&out)
	return out.Bytes()
}

// writeMain writes what is below the imports.
func (d mainData) writeMain(out *bytes.Buffer) {
	fill := func(text string, values ...string) {
		for _, name := range []string{"serve", "http", "log", "ginHandler", "gin"} { // the longer name first
			values = append(values, "$"+name, d.As(name))
		}
		_, _ = strings.NewReplacer(values...).WriteString(out, text) // a buffer takes all
	}
	fill(mainBegin)
	for _, f := range d.Functions {
		fill(mainFunction, "$key", strconv.Quote(cmp.Or(f.key, f.Key())), "$open", f.Open(), "$value", f.Value(), "$close", f.Close(),
			"$userFile", f.UserFile, "$line", strconv.Itoa(f.Line), "$col", strconv.Itoa(f.Col), "$file", d.File)
	}
	fill(mainEnd)
	if d.HasGin() {
		fill(mainGin)
	}
}
