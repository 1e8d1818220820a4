package bundle

import (
	"path"
	"strings"
	"unicode"

	"golang.org/x/mod/module"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	// maxName bounds a name in an archive in bytes. Few paths pass 200; with any
	// folder before it this stays far below the 4096 of Linux.
	maxName = 512
	// maxElement is the longest name of one file on common file systems, in bytes.
	maxElement = 255
	// reserved is how the names begin that the platform adds to a function's source.
	reserved = "zz_ryo_"
)

// versionControl holds the folders that a version control system reads settings
// from, and with them commands to run. They never belong to a function.
var versionControl = map[string]bool{".git": true, ".hg": true, ".svn": true, ".bzr": true, ".fossil": true}

// checkName reports why name, slash separated, cannot be in an archive.
func checkName(name string) error {
	if len(name) > maxName {
		return proto.Errorf(proto.ErrInvalid, "file name %.40q… is longer than %d bytes", name, maxName).
			WithHint("shorten the names of its folders")
	}
	if err := module.CheckFilePath(name); err != nil {
		return proto.Errorf(proto.ErrInvalid, "%w", err).
			WithHint(`names are relative and slash separated, of letters, digits and the punctuation that Go modules allow`)
	}
	for elem := range strings.SplitSeq(name, "/") {
		low := strings.ToLower(elem)
		switch {
		case len(elem) > maxElement:
			return proto.Errorf(proto.ErrInvalid, "file name %.40q… has a part longer than %d bytes", name, maxElement).
				WithHint("shorten it")
		case versionControl[low]:
			return proto.Errorf(proto.ErrInvalid, "%s belongs to a version control system", name).
				WithHint("leave the folder " + elem + " out of the archive")
		case strings.HasPrefix(low, reserved):
			return proto.Errorf(proto.ErrInvalid, "%s: names that begin with %s are kept for the platform", name, reserved).
				WithHint("rename " + elem)
		}
	}
	if strings.EqualFold(path.Ext(name), ".syso") {
		return proto.Errorf(proto.ErrInvalid, "%s: objects that are linked as they are cannot be shipped", name).
			WithHint("leave it out; functions are built from Go source alone")
	}
	return nil
}

// tree holds the names of one archive. It refuses a name that on some file system is
// the same file as another.
type tree struct {
	limit int
	nodes map[string]node // by folded name
}

type node struct {
	name   string
	folder bool
}

func newTree(limit int) *tree { return &tree{limit: limit, nodes: map[string]node{}} }

// add takes a name with the folders that it implies.
func (t *tree) add(name string, folder bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	for i, r := range name {
		if r != '/' {
			continue
		}
		if err := t.put(name[:i], true); err != nil {
			return err
		}
	}
	return t.put(name, folder)
}

func (t *tree) put(name string, folder bool) error {
	key := fold(name)
	old, ok := t.nodes[key]
	switch {
	case !ok && len(t.nodes) >= t.limit:
		return proto.Errorf(proto.ErrTooLarge, "%s: there are more than %d files and folders", name, t.limit).
			WithHint("give the function a folder of its own, or include fewer files")
	case !ok:
		t.nodes[key] = node{name, folder}
	case old.name != name:
		return proto.Errorf(proto.ErrInvalid, "%s and %s differ in case alone", old.name, name).
			WithHint("rename one: on some file systems they are one file")
	case old.folder != folder:
		return proto.Errorf(proto.ErrInvalid, "%s is both a file and a folder", name).WithHint("make the archive anew")
	case !folder:
		return proto.Errorf(proto.ErrInvalid, "%s is in the archive twice", name).WithHint("make the archive anew")
	}
	return nil
}

// fold maps names that differ in case alone to one name.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		// SimpleFold walks the runes that are equal to r upwards, then begins anew at
		// the smallest.
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, name)
}
