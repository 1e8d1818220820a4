package funcfw

import (
	"bytes"
	"embed"
	"fmt"
	"go/format"
	"go/version"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/Ishan27g/ryo-faas/proto"
)

// runtimeSource is the runtime module. Tests are left out by name, so a file
// that is added to a package must be added here.
//
//go:embed boot/boot.go serve/body.go serve/conn.go serve/doc.go serve/exchange.go serve/framework.go serve/guard.go serve/mount.go serve/places.go serve/serve.go serve/traffic.go serve/typed.go
var runtimeSource embed.FS

const (
	// minGo has unencrypted HTTP/2 in net/http, which serve uses.
	minGo = "go1.24"
	// cpuLimitGo is the first whose GOMAXPROCS follows the container's CPU limit,
	// unless the go line of the user's module is older.
	cpuLimitGo = "go1.25"
	mainDir    = reserved + "_main"
	// maxFunctions is more than people deploy from one package. One with more is a
	// library, and each function that nobody wants costs a build some 4 ms.
	maxFunctions = 32
)

// Generated is what to build beside the user's files. Paths are slash separated.
type Generated struct {
	// ModuleRoot is the folder to run go build in, relative to the bundle's root.
	ModuleRoot string
	// Main is the package to build, relative to ModuleRoot, as go build takes it:
	// "./hello/zz_ryo_main".
	Main string
	// Overlay maps paths, relative to the bundle's root, to their content. Their
	// folders need not exist.
	Overlay map[string][]byte
	// GoMod and GoSum are for -modfile: two files whose names differ in .mod and .sum.
	GoMod, GoSum []byte
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
	g := &Generated{ModuleRoot: m.root, Overlay: map[string][]byte{}}
	if !m.own {
		g.Overlay[path.Join(m.root, "go.mod")] = []byte("module " + importPath + "\n")
		// Who writes no go.mod means the language of today, as with go run.
		if err := m.file.AddGoStmt(strings.TrimPrefix(version.Lang(p.version()), "go")); err != nil {
			return nil, fmt.Errorf("make a go.mod: %w", err)
		}
	}
	for _, v := range m.vendored {
		if at := path.Join(m.vendor, v.mod.Path, "go.mod"); !exists(fsys, at) {
			g.Overlay[at] = v.goMod()
		}
	}
	if g.GoMod, g.GoSum, err = m.alternative(); err != nil {
		return nil, err
	}
	if err := g.addRuntime(); err != nil {
		return nil, err
	}
	if err := g.addMain(m, t, importPath, p); err != nil {
		return nil, err
	}
	return g, nil
}

// addMain adds the main package: a file for each function and one that names them.
func (g *Generated) addMain(m *userModule, t *Target, importPath string, p Platform) error {
	file := generatedFile(t, "main")
	g.Main = "./" + path.Dir(m.rel(file))
	functions := m.together(t)
	text, err := fill(mainTemplate, mainData{
		names: names{t.IsMain}, PackageName: t.PackageName, Functions: functions,
		FollowCPULimit: version.Compare(p.version(), cpuLimitGo) >= 0,
	})
	if err != nil {
		return err
	}
	if g.Overlay[file], err = format.Source(text); err != nil {
		return fmt.Errorf("generate %s: %w", file, err)
	}
	for _, f := range functions {
		file := functionFile(f)
		g.Overlay[file], err = fill(functionTemplate, functionData{
			names: names{t.IsMain}, Target: f, ImportPath: importPath, UserFile: m.rel(f.File), File: m.rel(file),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// together returns the functions that one program serves, ordered by name: the
// target and all of its package that surely are functions too. One that only may
// be a function takes part as the target alone, since it could fail the build of
// the others.
func (m *userModule) together(t *Target) []*Target {
	list := []*Target{t}
	others, _ := t.pkg.candidates()
	for _, f := range others {
		// Functions whose names differ in case share a path, so only one is deployed;
		// and the go command refuses files whose names do.
		taken := slices.ContainsFunc(list, func(have *Target) bool { return strings.EqualFold(have.Name, f.Name) })
		if taken || m.checkKind(f) != nil {
			continue
		}
		if len(list) == maxFunctions {
			return []*Target{t}
		}
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *Target) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// addRuntime adds the module of boot and serve.
func (g *Generated) addRuntime() error {
	root := path.Join(g.ModuleRoot, runtimeDir)
	g.Overlay[path.Join(root, "go.mod")] = frameworkMod
	return fs.WalkDir(runtimeSource, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		g.Overlay[path.Join(root, name)], err = runtimeSource.ReadFile(name)
		return err
	})
}

// generatedFile is the path of a file of the main package.
func generatedFile(t *Target, name string) string {
	if t.IsMain {
		return path.Join(t.Dir, reserved+"_"+name+".go")
	}
	return path.Join(t.Dir, mainDir, name+".go")
}

// functionFile is the path of a function's generated file. Names are upper-case at
// their beginning, so that only what follows a _ could be an ending that means
// something to Go, such as _test or _linux.
func functionFile(t *Target) string {
	name := "main_" + t.Name
	if strings.Contains(t.Name, "_") {
		name += "_fn"
	}
	return generatedFile(t, name)
}

// mainTemplate is the generated main. Within the user's own package its names do
// not clash with the package's.
var mainTemplate = template.Must(template.New("main").Parse(
	`// Code generated to serve the functions of package {{.PackageName}}. DO NOT EDIT.
{{if .FollowCPULimit}}
//go:debug containermaxprocs=1
//go:debug updatemaxprocs=1
{{end}}
package main

import (
	_ "a.ryo.local/boot" // first: it announces the function

	{{.Import "log"}}

	{{.Import "serve"}}
)

func main() {
	err := {{.Name "serve"}}.Run({{.Name "serve"}}.Functions{
{{- range .Functions}}
		"{{.Name}}": {{$.Name "handle"}}{{.Name}},
{{- end}}
	})
	if err != nil {
		{{.Name "log"}}.Fatal(err)
	}
}
`))

// functionTemplate is the file of one function, which is called when it is the one
// that the process serves.
//
// The first line comment makes the compiler report a wrong type where the user
// declares the function, to the column; the second has it name this file again.
var functionTemplate = template.Must(template.New("function").Parse(
	`// Code generated to serve {{.Target.Name}}. DO NOT EDIT.

package main

import (
{{- range .Imports}}
{{- range .}}
	{{$.Import .}}
{{- end}}
{{end}}
{{- if not .Target.IsMain}}
	{{.User}} {{printf "%q" .ImportPath}}
{{end}})
{{define "fn"}}/*line {{.UserFile}}:{{.Target.Line}}:{{.Target.Col}}*/{{if not .Target.IsMain}}fn.{{end}}{{.Target.Name}}{{end}}
func {{.Name "handle"}}{{.Target.Name}}() ({{.Name "http"}}.Handler, error) {
{{- if .Target.Declared}}
	return {{.Name "serve"}}.Declared("{{.Target.Name}}")
{{- else}}
	var target{{with .Type}} {{.}}{{end}} = {{if .Wrapper}}{{.Name "serve"}}.{{.Wrapper}}({{template "fn" .}}){{else}}{{template "fn" .}}{{end}}
//line {{.File}}:1
{{- if eq .Target.Kind "gin"}}
	{{.Name "gin"}}.SetMode({{.Name "gin"}}.ReleaseMode)
	engine := {{.Name "gin"}}.New()
	engine.NoRoute(func(c *{{.Name "gin"}}.Context) { // each method and every path below the mount
		c.Status({{.Name "http"}}.StatusOK) // it would be 404
		c.Params = {{.Name "gin"}}.Params{{"{{"}}Key: "path", Value: c.Request.URL.Path{{"}}"}}
		target(c)
	})
{{- end}}
	return {{.Name "serve"}}.Registered({{.Name "funcframework"}}.{{.Register}}({{.Name "context"}}.Background(), "/", {{.Handler}}))
{{- end}}
}
`))

// mainData is what mainTemplate is filled from.
type mainData struct {
	names
	PackageName    string
	Functions      []*Target
	FollowCPULimit bool
}

// functionData is what functionTemplate is filled from.
type functionData struct {
	names
	Target         *Target
	ImportPath     string
	UserFile, File string // relative to the module's root, as the compiler names files
}

// importPaths are those of the packages that a main may need, by name.
var importPaths = map[string]string{
	"context": "context", "log": "log", "http": "net/http",
	"serve":         runtimeModule + "/serve",
	"cloudevents":   "github.com/cloudevents/sdk-go/v2",
	"funcframework": frameworkPath + "/funcframework",
	"gin":           ginPath,
}

// names are those of a generated file: kept apart from the user's where they
// share a package.
type names struct{ apart bool }

// Name is the name of something generated or imported.
func (n names) Name(name string) string {
	if n.apart {
		return reserved + "_" + name
	}
	return name
}

// Import is the line that imports a package under its Name.
func (n names) Import(name string) string {
	quoted := strconv.Quote(importPaths[name])
	if n.apart || name == "cloudevents" { // its package is called v2
		return n.Name(name) + " " + quoted
	}
	return quoted
}

// Imports are the packages that a function's file needs, in two groups.
func (d functionData) Imports() [][]string {
	if d.Target.Declared {
		return [][]string{{"http"}, {"serve"}}
	}
	other := []string{"serve", "funcframework"}
	switch d.Target.Kind {
	case proto.KindCloudEvent:
		other = append(other, "cloudevents")
	case proto.KindGin:
		other = append(other, "gin")
	}
	return [][]string{{"context", "http"}, other}
}

// User is the name that the user's package is imported by.
func (d functionData) User() string {
	if d.Target.Declared {
		return "_"
	}
	return "fn"
}

// Type is the function's type, where it is known.
func (d functionData) Type() string {
	switch d.Target.Kind {
	case proto.KindHTTP:
		return fmt.Sprintf("func(%s.ResponseWriter, *%[1]s.Request)", d.Name("http"))
	case proto.KindCloudEvent:
		return fmt.Sprintf("func(%s.Context, %s.Event) error", d.Name("context"), d.Name("cloudevents"))
	case proto.KindGin:
		return fmt.Sprintf("func(*%s.Context)", d.Name("gin"))
	}
	return ""
}

// Wrapper is the function of package serve that wraps one whose type is not known.
func (d functionData) Wrapper() string { return d.Target.wrapper }

// Register is the framework's function that registers one of this kind.
func (d functionData) Register() string {
	switch d.Target.Kind {
	case proto.KindCloudEvent:
		return "RegisterCloudEventFunctionContext"
	case proto.KindEvent:
		return "RegisterEventFunctionContext"
	}
	return "RegisterHTTPFunctionContext"
}

// Handler is what is registered.
func (d functionData) Handler() string {
	switch d.Target.Kind {
	case proto.KindCloudEvent, proto.KindEvent:
		return "target"
	case proto.KindGin:
		return d.Name("serve") + ".Guard(engine.ServeHTTP)"
	}
	return d.Name("serve") + ".Guard(target)"
}

func fill(t *template.Template, data any) ([]byte, error) {
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("generate a main: %w", err)
	}
	return out.Bytes(), nil
}
