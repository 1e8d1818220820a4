package build

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

const (
	// ignoredLine is what `go list` says of a package of others that has Go files which
	// are left out: its folder, its path and the files, each in a field of its own.
	ignoredLine = `{{if not .Standard}}{{if .IgnoredGoFiles}}{{.Dir}}{{"\t"}}{{.ImportPath}}{{range .IgnoredGoFiles}}{{"\t"}}{{.}}{{end}}{{"\n"}}{{end}}{{end}}`
	// maxNamed is how many packages a warning names.
	maxNamed = 3
	// maxGoFile is more than a file that people write has, in bytes.
	maxGoFile = 2 << 20
)

// warnOfCgo says which packages of a program have files that are left out since they
// need cgo: most fail at the first call only.
func (a *attempt) warnOfCgo(ctx context.Context) error {
	if a.Warn == nil {
		return nil
	}
	list := new(bytes.Buffer)
	_, err := a.run(ctx, a.sandbox.compile, unreachable, list,
		slices.Concat([]string{"list", "-deps", "-f=" + ignoredLine, "-mod=readonly"}, a.files, []string{a.Generated.Main})...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil // the program is there all the same
	}
	if err != nil {
		return err
	}
	platform := a.platform
	platform.Tags = a.Tags
	var found []string
	for line := range strings.Lines(list.String()) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) > 2 && slices.ContainsFunc(fields[2:], func(name string) bool { return needsCgo(filepath.Join(fields[0], name), platform) }) {
			found = append(found, a.places.PackageName(fields[1]))
		}
	}
	if len(found) == 0 {
		return nil
	}
	has := " has files that need"
	if len(found) > 1 {
		has = " have files that need"
	}
	named := strings.Join(found[:min(len(found), maxNamed)], ", ")
	if len(found) > maxNamed {
		named += " and others"
	}
	a.Warn(named + has + " cgo, and functions are built without it: what these files do is missing, which may only show at a call; use a package in Go alone")
	return nil
}

// needsCgo reports whether a file would be built if there were cgo.
func needsCgo(name string, p funcfw.Platform) bool {
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxGoFile))
	return err == nil && funcfw.NeedsCgo(filepath.Base(name), text, p)
}
