package funcfw

import (
	"errors"
	"fmt"
	"go/token"
	"go/version"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// surroundings are a module's workspace and vendor folder, which enter the user's own
// builds. An alternative go.mod can have neither, so both become lines of it.
type surroundings struct {
	work     *modfile.WorkFile
	workDir  string // relative to the bundle's root, like all folders here
	siblings []sibling
	sums     [][]byte

	vendor   string // the folder; "" for none
	vendored []vendored
}

// sibling is another module of the workspace.
type sibling struct {
	dir  string
	file *modfile.File
}

func (s sibling) modPath() string { return s.file.Module.Mod.Path }

// vendored is a module of a vendor folder.
type vendored struct {
	mod       module.Version
	goVersion string // of its go line; may be empty
	replaced  bool   // by another module
	line      int    // in modules.txt
}

// look finds the surroundings of a module.
func (m *userModule) look(fsys fs.FS) error {
	if err := m.lookForWorkspace(fsys); err != nil {
		return err
	}
	vendor := path.Join(m.root, "vendor")
	if m.work != nil {
		vendor = path.Join(m.workDir, "vendor")
	}
	at := path.Join(vendor, "modules.txt")
	text, err := readText(fsys, at, maxModFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m.vendor = vendor
	m.vendored, err = parseVendored(at, text)
	return err
}

// lookForWorkspace reads the nearest go.work at or above the module, if that uses it.
func (m *userModule) lookForWorkspace(fsys fs.FS) error {
	dir := m.root
	for !exists(fsys, path.Join(dir, "go.work")) {
		if dir == "." {
			return nil
		}
		dir = path.Dir(dir)
	}
	at := path.Join(dir, "go.work")
	text, err := readText(fsys, at, maxModFile)
	if err != nil {
		return err
	}
	work, err := modfile.ParseWork(at, text, nil)
	if err != nil {
		return modError(at, err)
	}
	if !slices.ContainsFunc(work.Use, func(u *modfile.Use) bool { return path.Join(dir, u.Path) == m.root }) {
		return nil
	}
	m.work, m.workDir = work, dir
	for _, use := range work.Use {
		if path.Join(dir, use.Path) == m.root {
			continue
		}
		if err := m.addSibling(fsys, use); err != nil {
			return err
		}
	}
	return m.addSum(fsys, path.Join(dir, "go.work.sum"))
}

func (m *userModule) addSibling(fsys fs.FS, use *modfile.Use) error {
	dir := path.Join(m.workDir, use.Path)
	at := path.Join(dir, "go.mod")
	if path.IsAbs(use.Path) || !fs.ValidPath(at) || !exists(fsys, at) {
		return refuse(path.Join(m.workDir, "go.work"), start(use.Syntax), fmt.Sprintf("%s is not in the package that was sent", use.Path), "send the folder that holds all modules of go.work, or remove the line")
	}
	text, err := readText(fsys, at, maxModFile)
	if err != nil {
		return err
	}
	file, err := modfile.Parse(at, text, nil)
	if err != nil {
		return modError(at, err)
	}
	if file.Module == nil {
		return &Refusal{File: at, Reason: "has no module line", Fix: "go mod init example.com/" + path.Base(dir)}
	}
	m.siblings = append(m.siblings, sibling{dir, file})
	return m.addSum(fsys, path.Join(dir, "go.sum"))
}

func (m *userModule) addSum(fsys fs.FS, at string) error {
	sum, err := readText(fsys, at, maxSumFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	m.sums = append(m.sums, sum)
	return nil
}

// start is the place of a line.
func start(line *modfile.Line) token.Position {
	if line == nil {
		return token.Position{}
	}
	return token.Position{Line: line.Start.Line, Column: line.Start.LineRune}
}

// parseVendored reads a modules.txt, as go mod vendor writes it.
func parseVendored(at string, text []byte) ([]vendored, error) {
	var list []vendored
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		if note, ok := strings.CutPrefix(line, "## "); ok {
			if len(list) > 0 {
				list[len(list)-1].note(note)
			}
			continue
		}
		heading, ok := strings.CutPrefix(line, "# ")
		if !ok {
			continue // a package
		}
		words := strings.Fields(heading)
		if len(words) > 1 && words[1] == "=>" {
			continue // a replacement of all versions; the module has a heading of its own
		}
		if len(words) < 2 || !isVersion(words[0], words[1]) {
			return nil, refuse(at, token.Position{Line: n, Column: 1}, "is not as go mod vendor writes it", "run go mod vendor and deploy again")
		}
		if len(list) == maxRequires {
			return nil, &Refusal{File: at, Reason: fmt.Sprintf("has more than %d modules", maxRequires)}
		}
		list = append(list, vendored{mod: module.Version{Path: words[0], Version: words[1]}, replaced: len(words) > 2, line: n})
	}
	return list, nil
}

// isVersion reports whether a module of that path can have that version in a go.mod.
func isVersion(modPath, v string) bool {
	_, major, ok := module.SplitPathVersion(modPath)
	return ok && module.CheckImportPath(modPath) == nil && module.CanonicalVersion(v) == v && module.CheckPathMajor(v, major) == nil
}

// note takes what stands below a module's heading, such as "explicit; go 1.21".
func (v *vendored) note(text string) {
	for part := range strings.SplitSeq(text, ";") {
		if g, ok := strings.CutPrefix(strings.TrimSpace(part), "go "); ok && modfile.GoVersionRE.MatchString(g) {
			v.goVersion = g
		}
	}
}

// goMod is the go.mod that makes a module of a vendored folder.
func (v vendored) goMod() []byte {
	text := "module " + v.mod.Path + "\n"
	if v.goVersion != "" {
		text += "\ngo " + v.goVersion + "\n"
	}
	return []byte(text)
}

// checkSurroundings refuses surroundings that cannot be built.
func (m *userModule) checkSurroundings(fsys fs.FS, p Platform) error {
	for _, s := range m.siblings {
		other := userModule{root: s.dir, file: s.file, surroundings: surroundings{vendored: m.vendored}}
		if err := other.checkFile(fsys, p); err != nil {
			return err
		}
	}
	if m.work != nil {
		if err := m.checkReplacements(fsys, path.Join(m.workDir, "go.work"), m.work.Replace); err != nil {
			return err
		}
	}
	required := map[string]*modfile.Require{}
	if m.work == nil { // a workspace's modules agree on the highest
		for _, r := range m.file.Require {
			required[r.Mod.Path] = r
		}
	}
	for _, v := range m.vendored {
		at, pos := path.Join(m.vendor, "modules.txt"), token.Position{Line: v.line, Column: 1}
		if r := required[v.mod.Path]; r != nil && r.Mod.Version != v.mod.Version {
			return refuse(at, pos, fmt.Sprintf("has %s %s, and go.mod requires %s", v.mod.Path, v.mod.Version, r.Mod.Version), "run go mod vendor and deploy again")
		}
		if v.goVersion != "" && version.Compare("go"+v.goVersion, p.version()) > 0 {
			return refuse(at, pos, fmt.Sprintf("module %s requires go >= %s, and %s builds it", v.mod.Path, v.goVersion, p.GoVersion), "deploy to an agent with a newer Go")
		}
	}
	return nil
}

// isVendored reports whether a module comes from the vendor folder, whatever
// replaces it.
func (m *userModule) isVendored(modPath string) bool {
	return slices.ContainsFunc(m.vendored, func(v vendored) bool { return v.mod.Path == modPath })
}

// join writes the surroundings into the module's go.mod: siblings and vendored modules
// become replacements by folders, and what siblings require and replace is required and
// replaced here. ours are the framework's requirements.
func (m *userModule) join(ours *modfile.File) error {
	local := map[string]bool{m.modPath(): true}
	var errs []error
	for _, s := range m.siblings {
		local[s.modPath()] = true
		errs = append(errs, m.raise(module.Version{Path: s.modPath(), Version: "v0.0.0"}))
	}
	if m.work != nil {
		for _, r := range m.work.Replace { // these come before those of a go.mod
			errs = append(errs, m.replace(r, m.workDir, true))
		}
	}
	for _, s := range m.siblings {
		errs = append(errs, m.raiseGo(s.file.Go), m.point(s.modPath(), s.dir))
		for _, r := range s.file.Require {
			if r.Mod.Path != m.modPath() {
				errs = append(errs, m.raise(r.Mod))
			}
		}
		for _, r := range s.file.Replace {
			if !local[r.Old.Path] {
				errs = append(errs, m.replace(r, s.dir, false))
			}
		}
	}
	for _, v := range m.vendored {
		if local[v.mod.Path] || v.mod.Path == frameworkPath {
			continue
		}
		// The agent's copy is whole; a vendor folder holds only the packages that the
		// user's code needs.
		if o := find(ours, v.mod.Path); o != nil && !v.replaced && semver.Compare(v.mod.Version, o.Mod.Version) <= 0 {
			continue
		}
		errs = append(errs, m.file.AddRequire(v.mod.Path, v.mod.Version), m.point(v.mod.Path, path.Join(m.vendor, v.mod.Path)))
	}
	return errors.Join(errs...)
}

func find(file *modfile.File, modPath string) *modfile.Require {
	for _, r := range file.Require {
		if r.Mod.Path == modPath {
			return r
		}
	}
	return nil
}

// raise requires a module at a version, if not at a higher one.
func (m *userModule) raise(mod module.Version) error {
	if have := find(m.file, mod.Path); have != nil && semver.Compare(have.Mod.Version, mod.Version) >= 0 {
		return nil
	}
	return m.file.AddRequire(mod.Path, mod.Version)
}

// raiseGo makes the go line at least that of a module that is required: the go
// command demands it.
func (m *userModule) raiseGo(line *modfile.Go) error {
	if line == nil || m.file.Go != nil && version.Compare("go"+m.file.Go.Version, "go"+line.Version) >= 0 {
		return nil
	}
	return m.file.AddGoStmt(line.Version)
}

// point replaces all versions of a module by a folder.
func (m *userModule) point(modPath, dir string) error {
	for _, r := range slices.Clone(m.file.Replace) {
		if r.Old.Path == modPath {
			if err := m.file.DropReplace(r.Old.Path, r.Old.Version); err != nil {
				return err
			}
		}
	}
	to, err := m.relative(dir)
	if err != nil {
		return err
	}
	return m.file.AddReplace(modPath, "", to, "")
}

// replace adds a replacement of a file in dir. One that go.mod has already stays,
// unless must is set.
func (m *userModule) replace(r *modfile.Replace, dir string, must bool) error {
	if !must && slices.ContainsFunc(m.file.Replace, func(have *modfile.Replace) bool { return have.Old == r.Old }) {
		return nil
	}
	to := r.New.Path
	if r.New.Version == "" {
		var err error
		if to, err = m.relative(path.Join(dir, to)); err != nil {
			return err
		}
	}
	return m.file.AddReplace(r.Old.Path, r.Old.Version, to, r.New.Version)
}

// relative is a folder's path in a replacement of the module's go.mod.
func (m *userModule) relative(dir string) (string, error) {
	to, err := filepath.Rel(filepath.FromSlash(m.root), filepath.FromSlash(dir))
	if err != nil {
		return "", err
	}
	if to = filepath.ToSlash(to); !strings.HasPrefix(to, "../") && to != ".." {
		to = "./" + to
	}
	return to, nil
}
