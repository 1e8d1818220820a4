package funcfw

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// BuildFlags are what all programs are built with: files are not named by where
// they lie, and no version control is asked. They are parts of the cache's keys.
var BuildFlags = []string{"-trimpath", "-buildvcs=false"}

// LinkerBase are the linker's flags of all programs: tables that no function
// needs are left out.
const LinkerBase = "-s -w"

// LinkerFlags adds the user's -X flags to LinkerBase and refuses all others: they
// can run programs and read files of the machine that builds.
func LinkerFlags(user string) (string, error) {
	flags := LinkerBase
	words := strings.Fields(user)
	for i := 0; i < len(words); i++ {
		value, joined := strings.CutPrefix(words[i], "-X=")
		if words[i] == "-X" && i+1 < len(words) {
			i++
			value, joined = words[i], true
		}
		if name, _, ok := strings.Cut(value, "="); !joined || !ok || name == "" || strings.ContainsAny(value, `'"`) {
			return "", proto.Errorf(proto.ErrInvalid, "linker flag %q: only -X importpath.name=value is allowed", words[i])
		}
		flags += " -X=" + value
	}
	return flags, nil
}

// Layout returns the files that a build needs in its folder work, by their paths
// relative to it: go.mod and go.sum for -modfile, overlay.json for -overlay, and
// what that names. root is the bundle's; both are absolute.
func (g *Generated) Layout(root, work string) (map[string][]byte, error) {
	var overlay struct{ Replace map[string]string }
	overlay.Replace = make(map[string]string, len(g.Overlay))
	files := map[string][]byte{"go.mod": g.GoMod, "go.sum": g.GoSum}
	for name, content := range g.Overlay {
		path := filepath.FromSlash(name)
		below, beside := strings.CutPrefix(name, besideDir+"/")
		if !filepath.IsLocal(filepath.FromSlash(below)) {
			return nil, fmt.Errorf("%q is not a path of generated files", name)
		}
		file := filepath.Join("overlay", path)
		if beside {
			file = filepath.Join("beside", filepath.FromSlash(below))
		}
		files[file] = content
		overlay.Replace[filepath.Join(root, path)] = filepath.Join(work, file)
	}
	var err error
	files["overlay.json"], err = json.Marshal(overlay)
	return files, err
}
