package build

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/dirhash"
)

// read are the files that the go command reads by their names: it compiles them,
// or learns from them what to compile.
var (
	read      = []string{"go.mod", "go.sum", "go.work", "go.work.sum", "modules.txt"}
	compiled  = []string{".go", ".c", ".cc", ".cpp", ".cxx", ".m", ".h", ".hh", ".hpp", ".hxx", ".f", ".F", ".for", ".f90", ".swig", ".swigcxx", ".syso"}
	assembly  = []string{".s", ".S", ".sx"} // includes files of any name
	embedding = regexp.MustCompile(`//go:embed[ \t]([^\n]*)`)
)

// source is a digest of what of a tree can enter a build, whichever of its packages
// is built. Data that a program opens when it runs does not, unless it cannot be
// told from what does.
func source(fsys fs.FS) (string, error) {
	var all, names []string
	var embeds []pattern
	whole := false
	err := fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		ext := path.Ext(name)
		all = append(all, name)
		whole = whole || slices.Contains(assembly, ext)
		if slices.Contains(compiled, ext) || slices.Contains(read, path.Base(name)) {
			names = append(names, name)
		}
		if ext == ".go" {
			text, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			embeds = appendEmbeds(embeds, path.Dir(name), text)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	for _, name := range all {
		if whole || slices.ContainsFunc(embeds, func(e pattern) bool { return e.takes(name) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return dirhash.Hash1(slices.Compact(names), func(name string) (io.ReadCloser, error) { return fsys.Open(name) })
}

// pattern is one of those by which the Go files of a folder embed others.
type pattern struct{ dir, glob string }

// appendEmbeds adds the patterns of a file. It takes everything for one that looks
// like it, also in a string or a file that is not compiled.
func appendEmbeds(list []pattern, dir string, text []byte) []pattern {
	for _, m := range embedding.FindAllSubmatch(text, -1) {
		patterns := bytes.Fields(m[1])
		if bytes.ContainsAny(m[1], "\"`") { // such a pattern may have blanks
			patterns = [][]byte{[]byte("*")}
		}
		for _, p := range patterns {
			list = append(list, pattern{dir, path.Clean(strings.TrimPrefix(string(p), "all:"))})
		}
	}
	return list
}

// takes reports whether the pattern matches a file or a folder above it.
func (e pattern) takes(name string) bool {
	if e.dir != "." {
		var below bool
		if name, below = strings.CutPrefix(name, e.dir+"/"); !below {
			return false
		}
	}
	if e.glob == "." {
		return true
	}
	words := strings.Split(name, "/")
	depth := min(strings.Count(e.glob, "/")+1, len(words))
	matches, err := path.Match(e.glob, strings.Join(words[:depth], "/"))
	return matches || err != nil
}
