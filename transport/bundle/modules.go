package bundle

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/mod/modfile"

	"github.com/Ishan27g/ryo-faas/proto"
)

// localModule is a module whose source lies in a folder of this machine.
type localModule struct{ path, dir string }

// addModules finds the modules of this machine that a package of the one in root
// may import: itself, those of its workspace, and local replacements. It widens
// the bundle's root to all of them and adds the files that the go command reads
// of each.
func (s *selection) addModules(root string) error {
	s.root = root
	main, err := readModule(root)
	if err != nil {
		return err
	}
	s.addModule(main.Module.Mod.Path, root)
	s.home = root
	files, local := []*modfile.File{main}, []replacements{{root, main.Syntax.Name, main.Replace}}
	read := []string{filepath.Join(root, "go.sum")}
	dir, work, err := findWorkspace(root)
	if err != nil {
		return err
	}
	if work != nil {
		s.home = dir
		s.root = commonParent(s.root, dir)
		read = append(read, filepath.Join(dir, "go.work"), filepath.Join(dir, "go.work.sum"))
		local = append(local, replacements{dir, work.Syntax.Name, work.Replace})
		for _, use := range work.Use {
			used, err := usedModule(dir, work, use)
			if err != nil {
				return err
			}
			at := filepath.Dir(used.Syntax.Name)
			if at == root {
				continue
			}
			s.addModule(used.Module.Mod.Path, at)
			files = append(files, used)
			local = append(local, replacements{at, used.Syntax.Name, used.Replace})
			read = append(read, filepath.Join(at, "go.sum"))
		}
	}
	if name := filepath.Join(s.home, "vendor", "modules.txt"); isFile(name) {
		s.vendor = filepath.Dir(name) // it holds replaced modules too
		read = append(read, name)
	} else if err := s.addReplacements(local); err != nil {
		return err
	}
	s.require(files, work)
	slices.SortStableFunc(s.modules, func(a, b localModule) int { return len(b.path) - len(a.path) })

	for _, m := range s.modules {
		if err := s.add(filepath.Join(m.dir, "go.mod")); err != nil {
			return err
		}
	}
	for _, name := range read {
		if !isFile(name) {
			continue
		}
		if err := s.add(name); err != nil {
			return err
		}
	}
	return nil
}

func (s *selection) addModule(path, dir string) {
	s.modules = append(s.modules, localModule{path, dir})
	s.root = commonParent(s.root, dir)
}

// replacements are the replace lines of a file in a folder.
type replacements struct {
	dir, name string
	lines     []*modfile.Replace
}

// addReplacements adds the modules that are replaced by folders.
func (s *selection) addReplacements(local []replacements) error {
	for _, l := range local {
		for _, r := range l.lines {
			if r.New.Version != "" {
				continue
			}
			if filepath.IsAbs(r.New.Path) {
				return proto.Errorf(proto.ErrInvalid, "%s:%d: the replacement %s is an absolute path, which another machine does not have", l.name, r.Syntax.Start.Line, r.New.Path).
					WithHint("write it relative to " + filepath.Base(l.name))
			}
			// This package may not need a folder that is missing. If it does, the build says so.
			if dir := filepath.Join(l.dir, filepath.FromSlash(r.New.Path)); isModule(dir) {
				s.addModule(r.Old.Path, dir)
			}
		}
	}
	return nil
}

// readModule reads the go.mod of a folder.
func readModule(dir string) (*modfile.File, error) {
	name := filepath.Join(dir, "go.mod")
	data, err := readRegular(name)
	if err != nil {
		return nil, err
	}
	mod, err := modfile.Parse(name, data, nil)
	if err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "%w", err).WithHint("go mod verify shows the same; correct the file")
	}
	if mod.Module == nil {
		return nil, proto.Errorf(proto.ErrInvalid, "%s has no module line", name).WithHint("add one, such as: module example.com/hello")
	}
	return mod, nil
}

// findWorkspace returns the go.work that applies to the module in root, and its folder:
// the nearest one at or above, if that uses the module; else nil.
func findWorkspace(root string) (dir string, work *modfile.WorkFile, err error) {
	for dir = root; !isFile(filepath.Join(dir, "go.work")); {
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil, nil
		}
		dir = parent
	}
	name := filepath.Join(dir, "go.work")
	data, err := readRegular(name)
	if err != nil {
		return "", nil, err
	}
	work, err = modfile.ParseWork(name, data, nil)
	if err != nil {
		return "", nil, proto.Errorf(proto.ErrInvalid, "%w", err).WithHint("go work edit -fmt shows the same; correct the file")
	}
	if !slices.ContainsFunc(work.Use, func(u *modfile.Use) bool {
		return filepath.Join(dir, filepath.FromSlash(u.Path)) == root
	}) {
		return "", nil, nil
	}
	return dir, work, nil
}

// usedModule reads the go.mod that a line of a go.work in dir names.
func usedModule(dir string, work *modfile.WorkFile, use *modfile.Use) (*modfile.File, error) {
	at := filepath.Join(dir, filepath.FromSlash(use.Path))
	switch {
	case filepath.IsAbs(use.Path):
		return nil, proto.Errorf(proto.ErrInvalid, "%s:%d: %s is an absolute path, which another machine does not have", work.Syntax.Name, use.Syntax.Start.Line, use.Path).
			WithHint("write it relative to go.work")
	case !isModule(at):
		return nil, proto.Errorf(proto.ErrInvalid, "%s:%d: there is no go.mod in %s", work.Syntax.Name, use.Syntax.Start.Line, use.Path).
			WithHint("remove the line: go work edit -dropuse=" + use.Path)
	}
	return readModule(at)
}

// commonParent is the deepest folder that is or holds both of two clean absolute paths.
func commonParent(a, b string) string {
	for {
		if rel, err := filepath.Rel(a, b); err == nil && filepath.IsLocal(rel) {
			return a
		}
		parent := filepath.Dir(a)
		if parent == a {
			return a
		}
		a = parent
	}
}

// findModule returns the nearest folder at or above dir that holds a go.mod.
func findModule(dir string) (string, bool) {
	for {
		if isModule(dir) {
			return dir, true
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

func isModule(dir string) bool { return isFile(filepath.Join(dir, "go.mod")) }

// isFile reports whether name exists and is not a folder.
func isFile(name string) bool {
	info, err := os.Lstat(name)
	return err == nil && !info.IsDir()
}

// readRegular reads a text that is no symbolic link. Editors of some systems begin
// one with a byte order mark, which is left out.
func readRegular(name string) ([]byte, error) {
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return nil, irregular(name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), nil
}
