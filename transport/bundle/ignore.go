package bundle

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/Ishan27g/ryo-faas/proto"
)

// ignoreName is the file that lists what in a package's folder is not shipped. Each
// line is a pattern of path.Match. A pattern with a slash before its end counts from
// the folder, any other matches names at any depth; a slash at the end means folders
// alone. Empty lines and those that begin with # mean nothing.
const ignoreName = ".ryoignore"

// lineEnds makes all line ends newlines.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

type ignored struct {
	dir      string
	patterns []ignorePattern
}

type ignorePattern struct {
	glob     string
	anchored bool // it matches paths, not names
	folders  bool // it matches folders alone
}

// maxUnasked is the largest file, in bytes, that is shipped although no include names
// it: templates and pages are smaller, databases and archives are not.
const maxUnasked = 4 << 20

// private are names of files that hold keys and passwords by custom, in lower case.
var private = []string{
	"*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.tfstate", "*.tfvars",
	"id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "secret.*", "secrets.*", "credentials.*", "credentials", "htpasswd", "*.env",
}

// unasked reports whether a file looks private or is large, so that it is left out of
// a folder that is shipped as a whole.
func unasked(e fs.DirEntry) bool {
	if e.IsDir() || path.Ext(e.Name()) == ".go" {
		return false
	}
	name := strings.ToLower(e.Name())
	if slices.ContainsFunc(private, func(glob string) bool { ok, _ := path.Match(glob, name); return ok }) {
		return true
	}
	info, err := e.Info()
	return err == nil && info.Mode().IsRegular() && info.Size() > maxUnasked
}

// readIgnored reads the ignore file of a package's folder, if there is one.
func readIgnored(dir string) (ignored, error) {
	ig := ignored{dir: dir}
	name := filepath.Join(dir, ignoreName)
	if !isFile(name) {
		return ig, nil
	}
	data, err := readRegular(name)
	if err != nil {
		return ig, err
	}
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 { // its patterns would match nothing
		return ig, proto.Errorf(proto.ErrInvalid, "%s is not a text in UTF-8", name).WithHint("save it as UTF-8, so that what it names is left out")
	}
	n := 0
	for line := range strings.SplitSeq(lineEnds.Replace(string(data)), "\n") {
		n++
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		p, err := parseIgnored(line)
		if err != nil {
			return ig, proto.Errorf(proto.ErrInvalid, "%s:%d: %q: %w", name, n, line, err).
				WithHint("a pattern is like *.tmp, logs/ or data/*.csv; a line cannot bring back what another leaves out")
		}
		ig.patterns = append(ig.patterns, p)
	}
	return ig, nil
}

func parseIgnored(line string) (ignorePattern, error) {
	if line[0] == '!' || strings.Contains(line, "**") {
		return ignorePattern{}, errors.New("! and ** are not supported")
	}
	glob, folders := strings.CutSuffix(line, "/")
	p := ignorePattern{anchored: strings.Contains(glob, "/"), folders: folders}
	p.glob = strings.TrimPrefix(glob, "/")
	_, err := path.Match(p.glob, "")
	return p, err
}

// shipped reports whether a file of the folder's tree is shipped.
func (ig ignored) shipped(file string, e fs.DirEntry) bool {
	return !leftOut(e.Name()) && !ig.matches(file, e.IsDir())
}

func (ig ignored) matches(file string, folder bool) bool {
	rel, err := filepath.Rel(ig.dir, file)
	if err != nil {
		return false
	}
	rel = filepath.ToSlash(rel)
	for _, p := range ig.patterns {
		name := path.Base(rel)
		if p.anchored {
			name = rel
		}
		if ok, _ := path.Match(p.glob, name); ok && (folder || !p.folders) {
			return true
		}
	}
	return false
}

// matchesPath reports whether a path below the folder or a folder that it lies in
// is left out.
func (ig ignored) matchesPath(rel string, folder bool) bool {
	for ; rel != "."; rel, folder = path.Dir(rel), true {
		if ig.matches(filepath.Join(ig.dir, filepath.FromSlash(rel)), folder) {
			return true
		}
	}
	return false
}
