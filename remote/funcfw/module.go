package funcfw

import (
	_ "embed"
	"errors"
	"fmt"
	"go/token"
	"go/version"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// runtimeModule holds boot and serve in every program. An early path, see boot.
	runtimeModule = "a.ryo.local"
	runtimeDir    = besideDir + "/runtime"
	// unnamed is the module path for a package without a go.mod, when its name cannot
	// be one.
	unnamed = "function"
	// frameworkPath is the one module that may not be replaced: serve links to it.
	frameworkPath = "github.com/GoogleCloudPlatform/functions-framework-go"

	maxModFile  = 1 << 20 // bytes; the largest go.mod files in public have some 100 KB
	maxSumFile  = 8 << 20 // bytes
	maxRequires = 1_000   // modules; each may be asked for over the network
)

// frameworkMod is the go.mod of the runtime module, tidied, and frameworkSum its
// go.sum: the framework's own requirements, raised as doc.go says.
var (
	//go:embed framework.mod
	frameworkMod []byte
	//go:embed framework.sum
	frameworkSum []byte
	//go:embed std.txt
	stdPackages string
)

// userModule is the module that a package lies in.
type userModule struct {
	root string // its folder, relative to the bundle's root
	file *modfile.File
	own  bool // the user has a go.mod
	sum  []byte
	surroundings
}

// findModule reads the nearest go.mod at or above a target's folder.
func findModule(fsys fs.FS, t *Target) (*userModule, error) {
	for dir := t.Dir; ; dir = path.Dir(dir) {
		at := path.Join(dir, "go.mod")
		text, err := readText(fsys, at, maxModFile)
		if errors.Is(err, fs.ErrNotExist) {
			if dir != "." {
				continue
			}
			m := &userModule{root: t.Dir, file: new(modfile.File)}
			return m, m.file.AddModuleStmt(wrappedPath(t.PackageName))
		}
		if err != nil {
			return nil, err
		}
		m := &userModule{root: dir, own: true}
		if m.file, err = modfile.Parse(at, text, nil); err != nil {
			return nil, modError(at, err)
		}
		if m.file.Module == nil {
			return nil, &Refusal{File: at, Reason: "has no module line", Fix: "go mod init example.com/" + t.PackageName}
		}
		m.sum, err = readText(fsys, path.Join(dir, "go.sum"), maxSumFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err := m.look(fsys); err != nil {
			return nil, err
		}
		return m, nil
	}
}

// wrappedPath is the module path for a package without a go.mod: the package's name,
// since it stands before file names in traces and messages.
func wrappedPath(packageName string) string {
	if module.CheckImportPath(packageName) != nil || taken(packageName, false) != "" {
		return unnamed // a name may hold letters that a path may not
	}
	return packageName
}

// taken says why the go command takes a path for something else than a package of a module,
// though its form is right; "": it does not. A package main is built, and not imported.
func taken(importPath string, isMain bool) string {
	top, _, below := strings.Cut(importPath, "/")
	whole := !below || !isMain // what is below top is taken as well
	switch {
	case importPath == "main" && !isMain:
		return "a package of path main cannot be imported"
	case importPath == "all", importPath == "tool", importPath == "work": // see go help packages
		return fmt.Sprintf("import path %s stands for several packages of the go command", importPath)
	case importPath == "builtin", isStandard(importPath), whole && (top == "std" || top == "cmd"):
		return fmt.Sprintf("import path %s is one of the standard library", importPath)
	case whole && top == "C":
		return fmt.Sprintf("import path %s is one of cgo", importPath)
	}
	return ""
}

// isStandard reports whether the standard library has a package of that path.
func isStandard(importPath string) bool {
	return strings.Contains("\n"+stdPackages, "\n"+importPath+"\n")
}

// modError is the first error in a go.mod.
func modError(at string, err error) error {
	var list modfile.ErrorList
	if !errors.As(err, &list) || len(list) == 0 {
		return &Refusal{File: at, Reason: err.Error()}
	}
	e := list[0]
	e.Filename, e.Pos = "", modfile.Position{}
	return refuse(at, token.Position{Line: list[0].Pos.Line, Column: list[0].Pos.LineRune}, e.Error(), "")
}

// rel is a path below the module's root, relative to it.
func (m *userModule) rel(at string) string {
	if m.root == "." {
		return at
	}
	return strings.TrimPrefix(strings.TrimPrefix(at, m.root), "/")
}

func (m *userModule) modPath() string { return m.file.Module.Mod.Path }

// refuse is a refusal at a line of the user's go.mod.
func (m *userModule) refuse(line *modfile.Line, reason, fix string) error {
	return refuse(path.Join(m.root, "go.mod"), start(line), reason, fix)
}

// importPath is the path that the generated main imports a package by.
func (m *userModule) importPath(t *Target) (string, error) {
	p := path.Join(m.modPath(), m.rel(t.Dir))
	if err := module.CheckImportPath(p); err != nil {
		return "", &Refusal{File: t.Dir, Reason: err.Error(), Fix: "rename the folder or the module: letters, digits and -._~/ make an import path"}
	}
	if why := taken(p, t.IsMain); why != "" {
		return "", m.refuse(m.file.Module.Syntax, why, "give the module another name, such as example.com/"+m.modPath())
	}
	return p, nil
}

// check refuses what cannot be built, or not with this toolchain.
func (m *userModule) check(fsys fs.FS, p Platform) error {
	if err := m.checkFile(fsys, p); err != nil {
		return err
	}
	if at := path.Join(m.root, reserved); exists(fsys, at) { // an error in it would be taken for one of ours
		return &Refusal{File: at, Reason: "names beginning " + reserved + " are reserved", Fix: "rename it"}
	}
	return m.checkSurroundings(fsys, p)
}

// checkFile refuses what go.mod says.
func (m *userModule) checkFile(fsys fs.FS, p Platform) error {
	if g := m.file.Go; g != nil && version.Compare("go"+g.Version, p.version()) > 0 {
		return m.refuse(g.Syntax, fmt.Sprintf("the module requires go >= %s, and %s builds it", g.Version, p.GoVersion), "deploy to an agent with a newer Go, or lower the go line")
	}
	if len(m.file.Require) > maxRequires {
		return m.refuse(nil, fmt.Sprintf("requires more than %d modules", maxRequires), "")
	}
	return m.checkReplacements(fsys, path.Join(m.root, "go.mod"), m.file.Replace)
}

// checkReplacements refuses replacements of a go.mod or go.work.
func (m *userModule) checkReplacements(fsys fs.FS, at string, list []*modfile.Replace) error {
	for _, r := range list {
		switch local := modfile.IsDirectoryPath(r.New.Path) || path.IsAbs(r.New.Path); {
		case r.Old.Path == frameworkPath:
			return refuse(at, start(r.Syntax), "functions-framework-go cannot be replaced: programs are built with the version that was tested", "remove the replacement")
		case !local || m.isVendored(r.Old.Path):
		case path.IsAbs(r.New.Path):
			return refuse(at, start(r.Syntax), fmt.Sprintf("replacement %s is an absolute path", r.New.Path), "use a path relative to "+path.Base(at))
		default:
			if mod := path.Join(path.Dir(at), r.New.Path, "go.mod"); !fs.ValidPath(mod) || !exists(fsys, mod) {
				return refuse(at, start(r.Syntax), fmt.Sprintf("replacement %s is not in the package that was sent", r.New.Path), "send the folder that holds both modules, or require a published version")
			}
		}
	}
	return nil
}

// checkKind refuses a gin function whose module does not say which gin it is for.
func (m *userModule) checkKind(t *Target) error {
	requires := func(r *modfile.Require) bool { return r.Mod.Path == ginPath }
	if t.Kind != proto.KindGin || m.modPath() == ginPath || slices.ContainsFunc(m.file.Require, requires) {
		return nil
	}
	if !m.own {
		return &Refusal{File: t.File, Reason: "a gin function needs a go.mod that requires gin", Fix: "go mod init example.com/" + t.PackageName + " && go get " + ginPath}
	}
	return m.refuse(m.file.Module.Syntax, "the module does not require gin, which "+t.Name+" is for", "go get "+ginPath)
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// addAlternative adds the go.mod and go.sum to build with: the user's, with the
// generated modules, the framework and what that requires.
func (g *Generated) addAlternative(m *userModule, t *Target, importPath string, p Platform) error {
	ours, err := modfile.Parse("framework.mod", frameworkMod, nil)
	if err != nil {
		return fmt.Errorf("embedded framework.mod: %w", err)
	}
	framework := find(ours, frameworkPath).Mod
	if mine := find(m.file, frameworkPath); mine != nil && semver.Compare(mine.Mod.Version, framework.Version) > 0 {
		return m.refuse(mine.Syntax, fmt.Sprintf("functions-framework-go %s has not been tested; programs are built with %s", mine.Mod.Version, framework.Version), "go get "+framework.String())
	}
	f := m.file
	before := required(f)
	if err := m.join(ours); err != nil {
		return fmt.Errorf("complete go.mod: %w", err)
	}
	g.Alone = !slices.ContainsFunc(f.Require, func(r *modfile.Require) bool { return find(ours, r.Mod.Path) == nil })
	f.DropToolchainStmt()
	for _, t := range slices.Clone(f.Tool) {
		err = errors.Join(err, f.DropTool(t.Path))
	}
	if f.Go == nil || version.Compare("go"+f.Go.Version, "go"+ours.Go.Version) < 0 {
		err = errors.Join(err, f.AddGoStmt(ours.Go.Version))
	}
	err = errors.Join(err,
		m.addFramework(ours),
		// Another module's requirement must not raise it either.
		f.AddReplace(frameworkPath, "", frameworkPath, framework.Version),
		m.add(runtimeModule, runtimeDir))
	if !t.IsMain {
		err = errors.Join(err, m.add(mainModule(importPath), mainDir))
	}
	if version.Compare(p.version(), cpuLimitGo) >= 0 {
		err = errors.Join(err, m.followCPULimit())
	}
	if err != nil {
		return fmt.Errorf("complete go.mod: %w", err)
	}
	f.Cleanup()
	g.GoMod, g.GoSum = modfile.Format(f.Syntax), sums(slices.Concat([][]byte{m.sum}, m.sums, [][]byte{frameworkSum})...)
	g.Warnings = append(g.Warnings, raised(before, f)...)
	return nil
}

// add requires a module that lies in a folder.
func (m *userModule) add(modPath, dir string) error {
	return errors.Join(m.file.AddRequire(modPath, "v0.0.0"), m.point(modPath, dir))
}

// followCPULimit makes GOMAXPROCS follow the container's limit whatever the go
// line of the module is, unless the user has said otherwise.
func (m *userModule) followCPULimit() (err error) {
	for _, key := range []string{"containermaxprocs", "updatemaxprocs"} {
		if !slices.ContainsFunc(m.file.Godebug, func(g *modfile.Godebug) bool { return g.Key == key }) {
			err = errors.Join(err, m.file.AddGodebug(key, "1"))
		}
	}
	return err
}

// sums joins go.sum files: each line once, the first file's first.
func sums(files ...[]byte) []byte {
	var out strings.Builder
	seen := map[string]bool{}
	for _, text := range files {
		for line := range strings.Lines(string(text)) {
			line = strings.TrimRight(line, "\r\n")
			if line != "" && !seen[line] {
				seen[line] = true
				out.WriteString(line + "\n")
			}
		}
	}
	return []byte(out.String())
}
