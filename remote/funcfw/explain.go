package funcfw

import (
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

var (
	// position is a place at the beginning of what the go command says.
	position = regexp.MustCompile(`^(\s*(?:go: )?(?:errors parsing )?)([^\s:]+\.(?:go|mod|sum|s)):(\d+)?`)
	// noise is what does not help in an error: package headings and progress. A package
	// that is being compiled has a line with its import path alone.
	noise = regexp.MustCompile(`(?m)^(# .*|go: (downloading|finding|extracting) .*|[A-Za-z0-9._~+/-]+)(\n|$)`)
	// viaMain is the beginning of a chain of imports: from the generated main.
	viaMain = regexp.MustCompile(`(?m)^package \S*` + reserved + `\S*\n\timports (\S+)(?: from \S+)?`)
	// handedOver is what the compiler says of a function of another type than package
	// serve takes: users do not know the generated main.
	handedOver = regexp.MustCompile(`(?m)cannot use (?:fn\.)?(\S+ \(.*) in argument to (?:` + reserved + `_)?serve\.\w+$`)
	// unnamedAt is where the go command names a package by the path that it got for want of
	// a go.mod.
	unnamedAt = regexp.MustCompile(`(^# |^package |imported by )` + unnamed + `\b`)
	// noModule are the ways to say that an import is in no known module.
	noModule = regexp.MustCompile(`(?:cannot find module providing package|no required module provides package) ([^\s:;]+)[^\n]*(?:\n\tgo get [^\n]*)?`)
	// noStd is what it says of an import path whose first part has no dot.
	noStd = regexp.MustCompile(`package (\S+) is not in std(?: \([^)\n]*\))?`)
	noSum = regexp.MustCompile(`missing go\.sum entry for ([^;\n]*)[^\n]*(?:\n\tgo (?:get|mod) [^\n]*)?`)
)

// Places are the folders that a build's output speaks of; all are absolute.
type Places struct {
	Root, Work       string // as Layout was given them
	ModCache, GoRoot string // of the go command
	Generated        *Generated
}

// Module is the folder that the go command runs in.
func (p Places) Module() string {
	return filepath.Join(p.Root, filepath.FromSlash(p.Generated.ModuleRoot))
}

// Explain takes apart what the go command said of a build that failed. said is about
// the user's files, which have names relative to the bundle's root. ours is about the
// generated files: when said is empty, the fault is ours.
func (p Places) Explain(output string) (said, ours string) {
	text := viaMain.ReplaceAllString(noise.ReplaceAllString(output, ""), "package $1")
	var user, own strings.Builder
	last := &user
	for line := range strings.Lines(text) {
		line, ours := p.Line(line)
		switch {
		case ours:
			last = &own
		case !strings.HasPrefix(line, "\t"): // else it goes on with the one above
			last = &user
		}
		last.WriteString(line)
	}
	return strings.TrimSpace(user.String()), strings.TrimSpace(own.String())
}

// Line returns a line of the go command's with files named as the user knows them, and
// whether it is about the generated files.
func (p Places) Line(line string) (renamed string, ours bool) {
	line = p.rename(line)
	// A user's name never holds the one or begins with the other.
	return line, strings.Contains(line, reserved) || strings.Contains(line, runtimeModule)
}

// PackageName returns the name by which the user knows the package of an import path.
func (p Places) PackageName(importPath string) string {
	if importPath == unnamed && p.madeModule() {
		return p.Generated.Package
	}
	return importPath
}

// madeModule reports whether the user's package has no go.mod.
func (p Places) madeModule() bool {
	_, made := p.Generated.Overlay[path.Join(p.Generated.ModuleRoot, "go.mod")]
	return made
}

func (p Places) rename(line string) string {
	if p.madeModule() {
		line = unnamedAt.ReplaceAllString(line, "${1}"+p.PackageName(unnamed))
	}
	if m := position.FindStringSubmatchIndex(line); m != nil {
		line = line[:m[4]] + p.name(line[m[4]:m[5]]) + line[m[5]:]
	}
	line = handedOver.ReplaceAllString(line, "cannot use $1")
	return strings.NewReplacer(
		filepath.Join(p.Work, "overlay")+"/", "",
		filepath.Join(p.Root, besideDir), reserved,
		filepath.Join(p.Work, "beside"), reserved,
		filepath.Join(p.Work, "go.mod"), path.Join(p.Generated.ModuleRoot, "go.mod"),
		filepath.Clean(p.Work)+"/", "",
		filepath.Clean(p.Root)+"/", "",
		p.ModCache+"/", "",
		p.GoRoot+"/", "$GOROOT/",
	).Replace(line)
}

// name is a file's name relative to the bundle's root, or what the replacements
// of rename make of one outside.
func (p Places) name(file string) string {
	if !filepath.IsAbs(file) {
		file = filepath.Join(p.Module(), file)
	}
	if rel, err := filepath.Rel(p.Root, file); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return file
}

// Advise replaces the go command's advice in what Explain returned, which is about the
// generated files, by what the user can do.
func (p Places) Advise(said string) string {
	modPath := modfile.ModulePath(p.Generated.GoMod)
	made := p.madeModule()
	const begin = `there is no go.mod; run "go mod init example.com/`
	begins := begin + modPath + ` && go mod tidy" in the function's folder`
	tidy := `run "go mod tidy" in the function's folder`
	if made {
		tidy = begins
	}
	said = noSum.ReplaceAllString(said, "missing go.sum entry for $1; "+tidy)
	said = noStd.ReplaceAllStringFunc(said, func(found string) string {
		pkg := noStd.FindStringSubmatch(found)[1]
		if made {
			return "package " + pkg + " is not in the standard library, and " + begins + ", and import packages of it by that path"
		}
		return "package " + pkg + " is neither in the standard library nor in module " + modPath
	})
	return noModule.ReplaceAllStringFunc(said, func(found string) string {
		pkg := noModule.FindStringSubmatch(found)[1]
		switch {
		case made:
			return "package " + pkg + " is not in the standard library, and " + begins
		case pkg == modPath || strings.HasPrefix(pkg, modPath+"/"):
			return "package " + pkg + " is missing: its folder in module " + modPath + " holds no Go files"
		case p.isVendored(pkg):
			return "package " + pkg + ` is not in the vendor folder; run "go mod vendor" beside it`
		}
		return "no module in go.mod has package " + pkg + `; run "go get ` + pkg + `" in the function's folder`
	})
}

// isVendored reports whether a package is one of a module that is replaced by its
// folder below vendor.
func (p Places) isVendored(pkg string) bool {
	mod, err := modfile.Parse("go.mod", p.Generated.GoMod, nil)
	return err == nil && slices.ContainsFunc(mod.Replace, func(r *modfile.Replace) bool {
		in := pkg == r.Old.Path || strings.HasPrefix(pkg, r.Old.Path+"/")
		return in && strings.HasSuffix(r.New.Path, "/vendor/"+r.Old.Path)
	})
}
