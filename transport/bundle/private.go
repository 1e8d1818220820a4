package bundle

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Modules is where the modules of others lie on this machine, so that private
// ones can be sent along: agents have no credentials to fetch them with.
// The zero value has none.
type Modules struct {
	Cache   string // the module cache: go env GOMODCACHE
	Private string // patterns of the paths that no module proxy has: go env GONOPROXY
}

// requirement is a module that is required, and where it comes from.
type requirement struct {
	mod module.Version // as it is imported
	at  string         // file:line of the require line
	to  module.Version // as it is fetched: another one when it is replaced
}

// mount is a module of the module cache that is shipped as a vendored one.
type mount struct {
	requirement
	dir      string // in the module cache
	name     string // of the folder in the bundle
	packages map[string]bool
}

// require notes which modules of others the modules of this machine require. Of two
// versions the higher one counts, of two replacements the first.
func (s *selection) require(files []*modfile.File, work *modfile.WorkFile) {
	s.required = map[string]requirement{}
	var replaced []*modfile.Replace
	if work != nil {
		replaced = work.Replace
	}
	for _, f := range files {
		replaced = append(replaced, f.Replace...)
		for _, r := range f.Require {
			if old, ok := s.required[r.Mod.Path]; ok && semver.Compare(old.mod.Version, r.Mod.Version) >= 0 {
				continue
			}
			s.required[r.Mod.Path] = requirement{r.Mod, fmt.Sprintf("%s:%d", f.Syntax.Name, r.Syntax.Start.Line), r.Mod}
		}
	}
	for _, r := range slices.Backward(replaced) {
		req, ok := s.required[r.Old.Path]
		if ok && r.New.Version != "" && (r.Old.Version == "" || r.Old.Version == req.mod.Version) {
			req.to = r.New
			s.required[r.Old.Path] = req
		}
	}
}

// findPrivate returns the folder of a package of a private module, which is
// mounted.
func (s *selection) findPrivate(importPath string) (dir string, found bool, err error) {
	for modPath := importPath; modPath != "."; modPath = path.Dir(modPath) {
		req, ok := s.required[modPath]
		if !ok || !module.MatchPrefixPatterns(s.private.Private, req.to.Path) {
			continue
		}
		m, err := s.mount(req)
		if err != nil {
			return "", false, err
		}
		dir := filepath.Join(m.dir, filepath.FromSlash(strings.TrimPrefix(importPath, modPath)))
		if len(goFiles(dir)) > 0 {
			m.packages[importPath] = true
			return dir, true, nil
		}
	}
	return "", false, nil
}

// mount adds a private module to the bundle's vendored ones.
func (s *selection) mount(req requirement) (*mount, error) {
	for _, m := range s.mounts {
		if m.mod == req.mod {
			return m, nil
		}
	}
	escaped, err := module.EscapePath(req.to.Path)
	if err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "%s: %w", req.at, err).WithHint("correct the module's path")
	}
	version, err := module.EscapeVersion(req.to.Version)
	if err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "%s: %w", req.at, err).WithHint("correct the module's version")
	}
	name, err := s.rel(filepath.Join(s.home, "vendor", filepath.FromSlash(req.mod.Path)))
	if err != nil {
		return nil, err
	}
	m := &mount{requirement: req, dir: filepath.Join(s.private.Cache, filepath.FromSlash(escaped)+"@"+version), name: name, packages: map[string]bool{}}
	if info, err := os.Stat(m.dir); s.private.Cache == "" || err != nil || !info.IsDir() {
		return nil, proto.Errorf(proto.ErrInvalid, "%s: the private module %s has to be sent along, and this machine does not have it", req.at, req.to).
			WithHint("run go mod download where go.mod is, or go mod vendor; agents never get credentials")
	}
	s.mounts = append(s.mounts, m)
	return m, nil
}

// mounted returns the mount that a file or folder lies in, and its name in the
// bundle.
func (s *selection) mounted(file string) (_ *mount, name string) {
	for _, m := range s.mounts {
		if rel, err := filepath.Rel(m.dir, file); err == nil && filepath.IsLocal(rel) {
			return m, path.Join(m.name, filepath.ToSlash(rel))
		}
	}
	return nil, ""
}

// addModulesTxt lists the mounted modules, as go mod vendor does. Unlike there their
// go.mod is shipped too: the package needs other modules beside them.
func (s *selection) addModulesTxt() error {
	if len(s.mounts) == 0 {
		return nil
	}
	slices.SortFunc(s.mounts, func(a, b *mount) int { return strings.Compare(a.mod.Path, b.mod.Path) })
	var text bytes.Buffer
	for _, m := range s.mounts {
		fmt.Fprintf(&text, "# %s %s", m.mod.Path, m.mod.Version)
		if m.to != m.mod {
			fmt.Fprintf(&text, " => %s %s", m.to.Path, m.to.Version)
		}
		text.WriteString("\n## explicit")
		if mod, err := readModule(m.dir); err == nil && mod.Go != nil {
			text.WriteString("; go " + mod.Go.Version)
		}
		text.WriteString("\n")
		for _, p := range slices.Sorted(maps.Keys(m.packages)) {
			text.WriteString(p + "\n")
		}
		if file := filepath.Join(m.dir, "go.mod"); m.to.Path == m.mod.Path && isFile(file) {
			if err := s.add(file); err != nil {
				return err
			}
		}
	}
	s.modulesTxt = text.Bytes()
	name, err := s.rel(filepath.Join(s.home, "vendor", "modules.txt"))
	if err != nil {
		return err
	}
	s.modulesName = name
	return s.tree.add(name, false)
}
