package funcfw

import (
	"bytes"
	"embed"
	"fmt"
	"go/version"
	"io/fs"
	"path"
	"strings"
	"text/template"

	"github.com/Ishan27g/ryo-faas/proto"
)

// runtimeSource is the runtime module. Tests are left out by name, so a file
// that is added to a package must be added here.
//
//go:embed boot/boot.go serve/body.go serve/declared.go serve/doc.go serve/drain.go serve/framework.go serve/guard.go serve/mount.go serve/serve.go serve/typed.go
var runtimeSource embed.FS

const (
	// minGo has unencrypted HTTP/2 in net/http, which serve uses.
	minGo = "go1.24"
	// cpuLimitGo is the first whose GOMAXPROCS follows the container's CPU limit,
	// unless the go line of the user's module is older.
	cpuLimitGo = "go1.25"
	mainDir    = reserved + "_main"
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

// Generate returns what makes a program of a target that Check found in fsys. An
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
	file := mainFile(t)
	g.Main = "./" + path.Dir(m.rel(file))
	g.Overlay[file], err = mainSource(mainData{
		Target: t, ImportPath: importPath,
		UserFile: m.rel(t.File), File: m.rel(file),
		FollowCPULimit: version.Compare(p.version(), cpuLimitGo) >= 0,
	})
	return g, err
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

// mainFile is the path of the generated main. Names are upper-case at their
// beginning, so that only what follows a _ could be an ending that means
// something to Go, such as _test or _linux.
func mainFile(t *Target) string {
	name := "main_" + t.Name
	if strings.Contains(t.Name, "_") {
		name += "_fn"
	}
	if t.IsMain {
		return path.Join(t.Dir, reserved+"_"+name+".go")
	}
	return path.Join(t.Dir, mainDir, name+".go")
}

// mainTemplate is the generated main. Within the user's own package its imports
// have names that do not clash with the package's.
//
// The first line comment makes the compiler report a wrong type where the user
// declares the function, to the column; the second has it name this file again.
var mainTemplate = template.Must(template.New("main").Parse(
	`// Code generated to serve {{.Target.Name}}. DO NOT EDIT.
{{if .FollowCPULimit}}
//go:debug containermaxprocs=1
//go:debug updatemaxprocs=1
{{end}}
package main

import (
	_ "a.ryo.local/boot" // first: it announces the function
{{range .Imports}}
{{range .}}{{if .}}	{{$.Alias .}}{{printf "%q" (index $.Paths .)}}
{{end}}{{end}}{{end}}
{{- if not .Target.IsMain}}
	{{.User}} {{printf "%q" .ImportPath}}
{{end}})
{{define "fn"}}/*line {{.UserFile}}:{{.Target.Line}}:{{.Target.Col}}*/{{if not .Target.IsMain}}fn.{{end}}{{.Target.Name}}{{end}}
{{- if .Target.Declared}}
func main() {
	// An init function has declared it by name.
	if err := {{.Name "serve"}}.RunDeclared({{printf "%q" .Target.Name}}); err != nil {
		{{.Name "log"}}.Fatal(err)
	}
}
{{else}}
var {{.Name "target"}}{{with .Type}} {{.}}{{end}} = {{if .Wrapper}}{{.Name "serve"}}.{{.Wrapper}}({{template "fn" .}}){{else}}{{template "fn" .}}{{end}}

//line {{.File}}:1
func main() {
	err := {{.Name "funcframework"}}.{{.Register}}({{.Name "context"}}.Background(), "/", {{.Handler}})
	if err == nil {
		err = {{.Name "serve"}}.Run()
	}
	if err != nil {
		{{.Name "log"}}.Fatal(err)
	}
}
{{- if eq .Target.Kind "gin"}}

// {{.Name "engine"}} has gin serve each method and every path below the mount.
func {{.Name "engine"}}() *{{.Name "gin"}}.Engine {
	{{.Name "gin"}}.SetMode({{.Name "gin"}}.ReleaseMode)
	e := {{.Name "gin"}}.New()
	e.NoRoute(func(c *{{.Name "gin"}}.Context) {
		c.Status({{.Name "http"}}.StatusOK) // it would be 404
		c.Params = {{.Name "gin"}}.Params{{"{{"}}Key: "path", Value: c.Request.URL.Path{{"}}"}}
		{{.Name "target"}}(c)
	})
	return e
}
{{- end}}
{{end}}`))

// mainData is what mainTemplate is filled from.
type mainData struct {
	Target         *Target
	ImportPath     string
	UserFile, File string // relative to the module's root, as the compiler names files
	FollowCPULimit bool
}

// Paths are the import paths of the packages that a main may need, by name.
func (mainData) Paths() map[string]string {
	return map[string]string{
		"context": "context", "log": "log", "http": "net/http",
		"serve":         runtimeModule + "/serve",
		"cloudevents":   "github.com/cloudevents/sdk-go/v2",
		"funcframework": frameworkPath + "/funcframework",
		"gin":           ginPath,
	}
}

// Imports are the names of the packages that this main needs, in two groups.
func (d mainData) Imports() [][]string {
	if d.Target.Declared {
		return [][]string{{"log"}, {"serve"}}
	}
	std, other := []string{"context", "log"}, []string{"serve", "funcframework"}
	switch d.Target.Kind {
	case proto.KindHTTP:
		std = append(std, "http")
	case proto.KindCloudEvent:
		other = append(other, "cloudevents")
	case proto.KindGin:
		std, other = append(std, "http"), append(other, "gin")
	}
	return [][]string{std, other}
}

// User is the name that the user's package is imported by.
func (d mainData) User() string {
	if d.Target.Declared {
		return "_"
	}
	return "fn"
}

// Type is the function's type, where it is known.
func (d mainData) Type() string {
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
func (d mainData) Wrapper() string { return d.Target.wrapper }

// Register is the framework's function that registers one of this kind.
func (d mainData) Register() string {
	switch d.Target.Kind {
	case proto.KindCloudEvent:
		return "RegisterCloudEventFunctionContext"
	case proto.KindEvent:
		return "RegisterEventFunctionContext"
	}
	return "RegisterHTTPFunctionContext"
}

// Handler is what is registered.
func (d mainData) Handler() string {
	switch d.Target.Kind {
	case proto.KindCloudEvent, proto.KindEvent:
		return d.Name("target")
	case proto.KindGin:
		return d.Name("serve") + ".Guard(" + d.Name("engine") + "().ServeHTTP)"
	}
	return d.Name("serve") + ".Guard(" + d.Name("target") + ")"
}

// Name is a name of the generated file, kept apart from the user's.
func (d mainData) Name(name string) string {
	if d.Target.IsMain {
		return reserved + "_" + name
	}
	return name
}

// Alias is what stands before an import path so that the package gets its Name.
func (d mainData) Alias(name string) string {
	if d.Target.IsMain || name == "cloudevents" { // its package is called v2
		return d.Name(name) + " "
	}
	return ""
}

func mainSource(d mainData) ([]byte, error) {
	var out bytes.Buffer
	if err := mainTemplate.Execute(&out, d); err != nil {
		return nil, fmt.Errorf("generate %s: %w", d.File, err)
	}
	return out.Bytes(), nil
}
