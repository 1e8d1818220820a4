package dev

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// snapshot is a state of the sources of a package.
type snapshot struct {
	root  string   // the bundle's, absolute
	dir   string   // the package's folder below it, slash separated
	files []string // absolute
	sum   [sha256.Size]byte
	err   error // why the sources cannot be read
}

// look takes a snapshot of what a deploy would send.
func look(fn *proto.FunctionJson) snapshot {
	root, names, dir, err := bundle.Select(fn)
	if err != nil {
		return snapshot{err: err, sum: sha256.Sum256([]byte(err.Error()))}
	}
	s := snapshot{root: root, dir: dir}
	hash := sha256.New()
	for _, name := range names {
		file := filepath.Join(root, filepath.FromSlash(name))
		s.files = append(s.files, file)
		fmt.Fprintf(hash, "%q %d\n", file, digest(hash, file))
	}
	hash.Sum(s.sum[:0])
	return s
}

// has reports whether a file is one of the sources, or becomes one when it is made.
func (s snapshot) has(file string) bool {
	switch filepath.Ext(file) {
	case ".go", ".mod", ".sum", ".work":
		return true
	}
	return slices.Contains(s.files, file)
}

// digest adds a file's content to a hash and returns its size; 0 for a file that was
// just removed, whose event is still to come.
func digest(hash io.Writer, file string) int64 {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	n, _ := io.Copy(hash, f)
	return n
}
