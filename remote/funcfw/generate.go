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
)

// runtimeSource is the runtime module. Tests are left out by name, so a file
// that is added to a package must be added here.
//
//go:embed boot/boot.go serve/doc.go serve/drain.go serve/framework.go serve/guard.go serve/mount.go serve/serve.go
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

	{{.Alias "context"}}"context"
	{{.Alias "log"}}"log"
	{{.Alias "http"}}"net/http"

	{{.Alias "serve"}}"a.ryo.local/serve"
	{{.Alias "funcframework"}}"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"
{{- if not .Target.IsMain}}

	fn {{printf "%q" .ImportPath}}
{{- end}}
)

var {{.Name "target"}} func({{.Name "http"}}.ResponseWriter, *{{.Name "http"}}.Request) = /*line {{.UserFile}}:{{.Target.Line}}:{{.Target.Col}}*/{{if not .Target.IsMain}}fn.{{end}}{{.Target.Name}}

//line {{.File}}:1
func main() {
	err := {{.Name "funcframework"}}.RegisterHTTPFunctionContext({{.Name "context"}}.Background(), "/", {{.Name "serve"}}.Guard({{.Name "target"}}))
	if err == nil {
		err = {{.Name "serve"}}.Run()
	}
	if err != nil {
		{{.Name "log"}}.Fatal(err)
	}
}
`))

// mainData is what mainTemplate is filled from.
type mainData struct {
	Target         *Target
	ImportPath     string
	UserFile, File string // relative to the module's root, as the compiler names files
	FollowCPULimit bool
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
	if d.Target.IsMain {
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
