package funcfw

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

// frameworkGraph says what the modules of framework.mod require themselves, in lines of
// go mod graph. frameworkSum has the checksums of these modules too.
//
//go:embed framework.graph
var frameworkGraph string

// enough are the versions that the user's go.mod may keep, though framework.mod has
// later ones: with them the framework runs, and the go command wants no module that
// neither file names.
var enough = map[string]string{"go.uber.org/zap": "v1.25.0", "go.uber.org/multierr": "v1.10.0"}

// addFramework requires what the framework needs and no more, since the user has
// tested other versions. The go command would raise the same requirements, but only
// after it has fetched all that it takes to know them.
func (m *userModule) addFramework(ours *modfile.File) error {
	have := required(m.file)
	need := map[string]string{}
	for _, r := range ours.Require {
		v, least := have[r.Mod.Path], enough[r.Mod.Path]
		suffices := least != "" && semver.Compare(v, least) >= 0 && !m.isVendored(r.Mod.Path)
		if !suffices && semver.Compare(v, r.Mod.Version) <= 0 {
			need[r.Mod.Path] = r.Mod.Version
		}
	}
	for line := range strings.Lines(frameworkGraph) {
		from, to, err := edge(line)
		if err != nil {
			return err
		}
		// What the user's own version of a module requires, the user's go.mod has already.
		if need[from.Path] == from.Version && have[to.Path] != "" && semver.Compare(to.Version, need[to.Path]) > 0 {
			need[to.Path] = to.Version
		}
	}
	var errs []error
	for _, modPath := range slices.Sorted(maps.Keys(need)) {
		if semver.Compare(have[modPath], need[modPath]) < 0 {
			errs = append(errs, m.file.AddRequire(modPath, need[modPath]))
		}
	}
	return errors.Join(errs...)
}

// required are the versions that a go.mod requires.
func required(f *modfile.File) map[string]string {
	versions := map[string]string{}
	for _, r := range f.Require {
		if semver.Compare(r.Mod.Version, versions[r.Mod.Path]) > 0 {
			versions[r.Mod.Path] = r.Mod.Version
		}
	}
	return versions
}

// Required are the modules that a go.mod requires, without those that a folder
// replaces; none when it cannot be read.
func Required(mod []byte) (list []module.Version) {
	f, err := modfile.Parse("go.mod", mod, nil)
	if err != nil {
		return nil
	}
	for _, r := range f.Require {
		isReplaced := func(to *modfile.Replace) bool {
			return to.Old.Path == r.Mod.Path && to.New.Version == "" && (to.Old.Version == "" || to.Old.Version == r.Mod.Version)
		}
		if !slices.ContainsFunc(f.Replace, isReplaced) {
			list = append(list, r.Mod)
		}
	}
	return list
}

// edge parses a line of frameworkGraph.
func edge(line string) (from, to module.Version, err error) {
	a, b, _ := strings.Cut(strings.TrimSpace(line), " ")
	var ok, ok2 bool
	from.Path, from.Version, ok = strings.Cut(a, "@")
	to.Path, to.Version, ok2 = strings.Cut(b, "@")
	if !ok || !ok2 {
		return from, to, fmt.Errorf("embedded framework.graph: %q", line)
	}
	return from, to, nil
}

// Raised returns a line for each of the user's modules that the alternative go.mod
// requires at a later version after a build than before it. Modules of the framework
// are left out: the alternative go.mod has them whether or not the user does.
func Raised(before, after []byte) ([]string, error) {
	old, err := modfile.ParseLax("go.mod", before, nil)
	if err != nil {
		return nil, err
	}
	ours, err := modfile.Parse("framework.mod", frameworkMod, nil)
	if err != nil {
		return nil, err
	}
	f, err := modfile.Parse("go.mod", after, nil)
	if err != nil {
		return nil, err
	}
	versions := required(old)
	for _, r := range ours.Require {
		delete(versions, r.Mod.Path)
	}
	return raised(versions, f), nil
}

func raised(before map[string]string, after *modfile.File) (lines []string) {
	for _, r := range after.Require {
		v := before[r.Mod.Path]
		isReplaced := slices.ContainsFunc(after.Replace, func(to *modfile.Replace) bool {
			return to.Old.Path == r.Mod.Path && to.Old.Version == ""
		})
		if v == "" || isReplaced || semver.Compare(r.Mod.Version, v) <= 0 {
			continue
		}
		who := "another module"
		if strings.Contains(frameworkGraph, " "+r.Mod.String()+"\n") || strings.Contains(frameworkGraph, r.Mod.String()+" ") {
			who = "the functions framework"
		}
		lines = append(lines, fmt.Sprintf("%s %s → %s (%s requires it)", r.Mod.Path, v, r.Mod.Version, who))
	}
	return lines
}
