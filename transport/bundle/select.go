package bundle

import (
	"cmp"
	"errors"
	"go/build"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/module"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Definitions are the names of the file of a package's folder that says how its function is
// deployed. It is shipped where go:embed or an include names it.
var Definitions = []string{"deploy.json", "deploy.yaml", "deploy.yml"}

// isDefinition reports whether a file is a definition or an overlay of one, such as
// deploy.prod.json.
func isDefinition(name string) bool {
	first, rest, _ := strings.Cut(name, ".")
	_, ext, overlay := strings.Cut(rest, ".")
	if overlay {
		rest = ext
	}
	return slices.Contains(Definitions, first+"."+rest)
}

// Select lists what has to be shipped for a function whose Dir or FilePath lies
// on this machine. Files are slash separated and sorted, relative to root, an
// absolute folder that may lie above Dir; packagePath is the package's folder
// below root, "." for root itself.
//
// What is wrong with the folder is an ErrInvalid or ErrTooLarge that names it.
func Select(fn *proto.FunctionJson) (root string, files []string, packagePath string, err error) {
	c, err := Survey(fn)
	if err != nil {
		return "", nil, "", err
	}
	return c.Root, c.Files, c.PackagePath, nil
}

// Contents are what is shipped of a function.
type Contents struct {
	Root        string   // absolute
	Files       []string // slash separated and sorted, relative to Root
	PackagePath string   // the package's folder, relative to Root; "." for Root itself
	Bytes       int64    // of all files
	// Whole says that there is no go.mod to tell which files the function needs, so
	// that the whole folder is shipped, without LeftOut.
	Whole   bool
	LeftOut []string // relative to the package's folder: what looks private or is large
}

// Survey is Select with more of what it finds.
func Survey(fn *proto.FunctionJson) (*Contents, error) {
	s, packagePath, err := choose(fn, Modules{})
	if err != nil {
		return nil, err
	}
	leftOut := slices.DeleteFunc(s.leftOut, func(name string) bool {
		_, asked := s.files[name] // by an include, or embedded
		return asked
	})
	return &Contents{s.root, slices.Sorted(maps.Keys(s.files)), packagePath, s.bytes, s.whole, leftOut}, nil
}

// choose is Select with private modules.
func choose(fn *proto.FunctionJson, private Modules) (s *selection, packagePath string, err error) {
	dir, file, err := locate(fn)
	if err != nil {
		return nil, "", err
	}
	if err := checkGoFiles(dir); err != nil { // first: such a folder may hold anything
		return nil, "", err
	}
	s = &selection{root: dir, private: private, tree: newTree(DefaultLimits.Files), files: map[string]*mount{}, folders: map[string]bool{}}
	ignore, err := readIgnored(dir)
	if err != nil {
		return nil, "", err
	}
	moduleRoot, found := findModule(dir)
	if found {
		err = s.addModules(moduleRoot)
	} else {
		s.whole = true
		err = s.walk(dir, func(name string, e fs.DirEntry) bool {
			if filepath.Dir(name) == dir && isDefinition(filepath.Base(name)) || !ignore.shipped(name, e) {
				return false
			}
			if !unasked(e) {
				return true
			}
			if rel, err := filepath.Rel(dir, name); err == nil {
				s.leftOut = append(s.leftOut, filepath.ToSlash(rel))
			}
			return false
		})
	}
	if err != nil {
		return nil, "", err
	}
	if err := s.addPackages(dir); err != nil {
		return nil, "", err
	}
	if err := s.addModulesTxt(); err != nil {
		return nil, "", err
	}
	for _, glob := range fn.GetInclude() {
		if err := s.include(dir, glob, ignore); err != nil {
			return nil, "", err
		}
	}
	if packagePath, err = s.rel(dir); err != nil {
		return nil, "", err
	}
	if _, ok := s.files[path.Join(packagePath, file)]; file != "" && !ok {
		return nil, "", proto.Errorf(proto.ErrInvalid, "filePath %s is not a source file of the package", fn.GetFilePath()).
			WithHint("name a .go file that is neither a test nor hidden, or leave filePath out")
	}
	return s, packagePath, nil
}

// locate finds the package's folder, without symbolic links, and the base name
// of FilePath, which must lie in that folder.
func locate(fn *proto.FunctionJson) (dir, file string, err error) {
	dir, file = fn.GetDir(), fn.GetFilePath()
	switch {
	case dir == "" && file == "":
		return "", "", proto.Errorf(proto.ErrInvalid, "function %s: there is no source", fn.GetName()).
			WithHint("give dir (the package's folder) or package (the digest of an uploaded archive)")
	case dir == "":
		dir = filepath.Dir(file)
	case file != "" && !filepath.IsAbs(file):
		file = filepath.Join(dir, file)
	}
	if !filepath.IsAbs(dir) {
		return "", "", proto.Errorf(proto.ErrInvalid, "%s is a relative path", cmp.Or(fn.GetDir(), fn.GetFilePath())).
			WithHint("give an absolute path: the process that reads the folder may run in another one")
	}
	resolved, err := realDir(dir)
	if err != nil || file == "" {
		return resolved, "", err
	}
	if parent, err := filepath.EvalSymlinks(filepath.Dir(file)); err != nil || parent != resolved {
		return "", "", proto.Errorf(proto.ErrInvalid, "filePath %s is not inside dir %s", file, dir).
			WithHint("give the folder of that file as dir, or leave one of the two out")
	}
	if _, err := os.Lstat(file); err != nil {
		return "", "", unreadable(file, err)
	}
	return resolved, filepath.Base(file), nil
}

// realDir returns dir without symbolic links: a folder may be named through one, but
// nothing below the root of a bundle is one.
func realDir(dir string) (string, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return "", unreadable(dir, err)
	}
	if !info.IsDir() {
		return "", proto.Errorf(proto.ErrInvalid, "%s is a file, not a folder", dir).
			WithHint("give the file as filePath, or its folder as dir")
	}
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", unreadable(dir, err)
	}
	return resolved, nil
}

func unreadable(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return proto.Errorf(proto.ErrInvalid, "%s does not exist", name).
			WithHint("the path is of the machine of the process that reads it; upload the package when it lies elsewhere")
	}
	return proto.Errorf(proto.ErrInvalid, "package: %w", err)
}

// selection gathers the files of one bundle.
type selection struct {
	root    string
	modules []localModule // longest path first
	home    string        // the folder of the module, or of its workspace: where vendor is
	vendor  string        // the vendor folder that applies to the package, if any

	private     Modules
	required    map[string]requirement // by path
	mounts      []*mount
	modulesName string // of the modules.txt of mounts
	modulesTxt  []byte

	whole   bool     // see Contents
	leftOut []string // the same

	tree    *tree
	files   map[string]*mount // names relative to root; where each comes from, nil for root
	folders map[string]bool   // names that were seen to be real folders
	bytes   int64
}

// addPackages adds the package in dir and those of local modules that it imports,
// directly or not.
func (s *selection) addPackages(dir string) error {
	seen := map[string]bool{dir: true}
	for queue := []string{dir}; len(queue) > 0; queue = queue[1:] {
		imports, err := s.addPackage(queue[0])
		if err != nil {
			return err
		}
		for _, path := range imports {
			d, ok, err := s.find(path)
			if err != nil {
				return err
			}
			if ok && !seen[d] {
				seen[d] = true
				queue = append(queue, d)
			}
		}
	}
	return nil
}

// checkGoFiles refuses a folder that is no package.
func checkGoFiles(dir string) error {
	if len(goFiles(dir)) > 0 {
		return nil
	}
	hint := "name the folder of the function's package; tests and hidden files do not count"
	if below := packagesBelow(dir); len(below) > 0 {
		hint = "there are some in " + strings.Join(below, ", ") + ": name the folder of the function's package"
	}
	return proto.Errorf(proto.ErrInvalid, "no Go files in %s", dir).WithHint(hint)
}

// packagesBelow names a few of the folders below one that have Go files.
func packagesBelow(dir string) (found []string) {
	const few, looked = 3, 1000
	n := 0
	_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		n++
		switch {
		case err != nil || len(found) == few || n > looked:
			return fs.SkipAll
		case !e.IsDir() || name == dir:
			return nil
		case leftOut(e.Name()) || e.Name()[0] == '_':
			return fs.SkipDir
		}
		if rel, err := filepath.Rel(dir, name); err == nil && len(goFiles(name)) > 0 {
			found = append(found, filepath.ToSlash(rel))
		}
		return nil
	})
	return found
}

// addPackage adds the files of one package and returns what they import.
func (s *selection) addPackage(dir string) (imports []string, err error) {
	files := goFiles(dir)
	for _, f := range files {
		if err := s.add(filepath.Join(dir, f.Name())); err != nil {
			return nil, err
		}
	}
	if s.vendored(dir) {
		if err := s.addAssembly(dir); err != nil {
			return nil, err
		}
	}
	every := build.Context{
		Compiler: "gc", CgoEnabled: true, UseAllFiles: true,
		ReadDir: func(string) ([]fs.FileInfo, error) { return files, nil },
	}
	// Errors are left to the check of the signature and to the compiler, which say
	// more; pkg holds what could be read.
	pkg, _ := every.ImportDir(dir, 0)
	for _, pattern := range pkg.EmbedPatterns {
		if err := s.embed(dir, pattern); err != nil {
			return nil, err
		}
	}
	return pkg.Imports, nil
}

// vendored reports whether a folder lies in the vendor folder of this machine or of
// the bundle.
func (s *selection) vendored(dir string) bool {
	if m, _ := s.mounted(dir); m != nil {
		return true
	}
	rel, err := filepath.Rel(s.vendor, dir)
	return s.vendor != "" && err == nil && filepath.IsLocal(rel)
}

// addAssembly adds the files besides Go that the go command compiles without a C
// compiler.
func (s *selection) addAssembly(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unreadable(dir, err)
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); e.IsDir() || hidden(e.Name()) || ext != ".s" && ext != ".h" {
			continue
		}
		if err := s.add(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// goFiles lists the source files of the package in dir. A folder that cannot be
// read has none.
func goFiles(dir string) []fs.FileInfo {
	var files []fs.FileInfo
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		name := e.Name()
		if filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") || hidden(name) || e.IsDir() {
			continue
		}
		if info, err := e.Info(); err == nil {
			files = append(files, info)
		}
	}
	return files
}

// hidden reports whether the go command leaves a name out by itself.
func hidden(name string) bool { return name[0] == '.' || name[0] == '_' }

// find returns the folder of a package that is local, vendored or of a private module.
func (s *selection) find(importPath string) (dir string, found bool, err error) {
	for _, m := range s.modules {
		rest, ok := strings.CutPrefix(importPath, m.path)
		if !ok || rest != "" && rest[0] != '/' {
			continue
		}
		dir := filepath.Join(m.dir, filepath.FromSlash(rest))
		if len(goFiles(dir)) == 0 {
			continue
		}
		if owner, ok := findModule(dir); ok && owner == m.dir {
			return dir, true, nil
		}
	}
	if s.vendor == "" {
		return s.findPrivate(importPath)
	}
	dir = filepath.Join(s.vendor, filepath.FromSlash(importPath))
	sound := module.CheckImportPath(importPath) == nil // and thereby below vendor
	return dir, sound && len(goFiles(dir)) > 0, nil
}

// embed adds what a go:embed pattern matches, by the rules of the go command. A
// pattern that is wrong or matches nothing is left to the compiler's message.
func (s *selection) embed(dir, pattern string) error {
	glob, all := strings.CutPrefix(pattern, "all:")
	if glob == "." {
		return nil
	}
	matches, _ := fs.Glob(os.DirFS(dir), glob)
	for _, match := range matches {
		err := s.walk(filepath.Join(dir, filepath.FromSlash(match)), func(name string, e fs.DirEntry) bool {
			bad := module.CheckFilePath(e.Name()) != nil || versionControl[e.Name()]
			other := e.IsDir() && isModule(name)
			return !bad && !other && (all || !hidden(e.Name())) && (e.IsDir() || e.Type().IsRegular())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// include adds the files and whole folders that a glob of the function matches.
func (s *selection) include(dir, glob string, ignore ignored) error {
	matches, err := fs.Glob(os.DirFS(dir), path.Clean(glob))
	if err != nil {
		return proto.Errorf(proto.ErrInvalid, "include %q: %w", glob, err).WithHint("a glob takes *, ? and [a-z]")
	}
	matches = slices.DeleteFunc(matches, func(match string) bool {
		info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(match)))
		folder := err == nil && info.IsDir()
		return match != "." && (slices.ContainsFunc(strings.Split(match, "/"), leftOut) || ignore.matchesPath(match, folder))
	})
	if len(matches) == 0 {
		return proto.Errorf(proto.ErrInvalid, "include %q matches no file below %s", glob, dir).
			WithHint("globs count from the package's folder; names that begin with a dot, and those in " + ignoreName + ", are not shipped")
	}
	for _, match := range matches {
		if err := s.walk(filepath.Join(dir, filepath.FromSlash(match)), ignore.shipped); err != nil {
			return err
		}
	}
	return nil
}

// leftOut reports whether a file or folder of this name is never shipped as data.
func leftOut(name string) bool {
	return name[0] == '.' || strings.HasSuffix(name, "_test.go") || name == "node_modules" || name == "vendor"
}

// walk adds the file top, or the files below the folder top that keep keeps.
func (s *selection) walk(top string, keep func(name string, e fs.DirEntry) bool) error {
	return filepath.WalkDir(top, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return unreadable(name, err)
		case name != top && !keep(name, e):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return nil
		}
		return s.add(name)
	})
}

// add takes one file, given by its absolute path.
func (s *selection) add(file string) error {
	from, name := s.mounted(file)
	if from == nil {
		var err error
		if name, err = s.rel(file); err != nil {
			return err
		}
	}
	if _, twice := s.files[name]; twice {
		return nil
	}
	if from == nil {
		if err := s.checkFolders(path.Dir(name)); err != nil {
			return err
		}
	}
	info, err := os.Lstat(file)
	switch {
	case err != nil:
		return unreadable(file, err)
	case !info.Mode().IsRegular():
		return irregular(file)
	}
	if s.bytes += info.Size(); s.bytes > DefaultLimits.Bytes {
		return DefaultLimits.tooLarge(file, DefaultLimits.Bytes)
	}
	s.files[name] = from
	return s.tree.add(name, false)
}

// checkFolders refuses a folder of the bundle that is reached by a symbolic link.
func (s *selection) checkFolders(name string) error {
	if name == "." || s.folders[name] {
		return nil
	}
	if err := s.checkFolders(path.Dir(name)); err != nil {
		return err
	}
	file := filepath.Join(s.root, filepath.FromSlash(name))
	info, err := os.Lstat(file)
	if err != nil {
		return unreadable(file, err)
	}
	if !info.IsDir() {
		return irregular(file)
	}
	s.folders[name] = true
	return nil
}

func irregular(name string) error {
	return proto.Errorf(proto.ErrInvalid, "%s is a symbolic link or a special file, which cannot be shipped", name).
		WithHint("put a copy in its place, or move it out of the function's folder")
}

func (s *selection) rel(file string) (string, error) {
	name, err := filepath.Rel(s.root, file)
	if err != nil {
		return "", proto.Errorf(proto.ErrInvalid, "package: %w", err)
	}
	return filepath.ToSlash(name), nil
}
