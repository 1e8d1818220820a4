package build

import (
	"fmt"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/Ishan27g/ryo-faas/proto"
)

// generated is in every name that package funcfw gives, and runtimeModule is the
// module that it adds. A user's name never holds the one or begins with the other.
const (
	generated     = "zz_ryo"
	runtimeModule = "a.ryo.local"
	wrapped       = "ryo.local/" // begins the module path of a package without go.mod
)

// incomplete is what the go command says of a go.mod that it would add to, and
// advised what it says then.
const (
	incomplete = "updates to go.mod needed"
	advised    = "\tgo mod tidy\n"
)

// maxAsked is how many modules an error names.
const maxAsked = 5

var (
	// position is a place at the beginning of what the go command says.
	position = regexp.MustCompile(`^(\s*(?:go: )?(?:errors parsing )?)([^\s:]+\.(?:go|mod|sum|s)):(\d+)?`)
	// noise is what an error has no use for: package headings and progress. The
	// packages that are compiled stand there as lines of their import path alone.
	noise       = regexp.MustCompile(`(?m)^(# .*|go: (downloading|finding|extracting) .*|[A-Za-z0-9._~+/-]+)(\n|$)`)
	downloading = regexp.MustCompile(`(?m)^go: downloading (\S+) (\S+)$`)
	heading     = regexp.MustCompile(`(?m)^# `)
	// viaMain is the beginning of a chain of imports: from the generated main.
	viaMain = regexp.MustCompile(`(?m)^package \S*` + generated + `\S*\n\timports (\S+)(?: from \S+)?`)
	// noModule are the ways to say that an import is in no known module.
	noModule = regexp.MustCompile(`(?:cannot find module providing package|no required module provides package) ([^\s:;]+)[^\n]*(?:\n\tgo get [^\n]*)?`)
	noSum    = regexp.MustCompile(`missing go\.sum entry for ([^;\n]*)[^\n]*(?:\n\tgo (?:get|mod) [^\n]*)?`)
	// withheld is what the go command says of a module that no proxy has and that the
	// agent has no rights to fetch from its origin.
	withheld = regexp.MustCompile(`(404 Not Found|410 Gone|GOVCS disallows|unrecognized import path|not a known dependency|invalid version: unknown revision)`)
	// offline is what the go command says when a module cannot be fetched at all.
	offline = regexp.MustCompile(`dial tcp|lookup [^\n]*: (no such host|server misbehaving)|i/o timeout|TLS handshake|disabled by GOPROXY=off`)
)

// ended are the ways in which the steps of a build say that they met a limit.
// Go programs die of too little memory in more than one way, with a trace of
// the compiler's inside.
var ended = []struct {
	said  *regexp.Regexp
	means string
}{
	{
		regexp.MustCompile(`failed to create new OS thread|: resource temporarily unavailable`),
		fmt.Sprintf("the build needs more than %d processes and threads", limits.Tasks),
	},
	{
		regexp.MustCompile(`(?m)^(fatal error: |runtime: |SIGSEGV: |\[signal SIG)`),
		fmt.Sprintf("the compiler crashed, as it does when a package needs more than %d MiB of memory", limits.Data>>20),
	},
	{
		regexp.MustCompile(`: signal: killed`),
		fmt.Sprintf("the compiler was ended: a package needs more than %.0f s of processor time, or more memory than there is", limits.CPU.Seconds()),
	},
	{
		regexp.MustCompile(`: file too large`),
		fmt.Sprintf("a package or the program has more than %d MiB", limits.File>>20),
	},
}

// places is where the paths that a build speaks of lie, all absolute.
type places struct {
	root, work         string // of the Spec
	module             string // where the go command runs
	modCache, goRoot   string
	modPath, userGoMod string // the module's path; the user's go.mod relative to root
}

func (b *Builder) places(spec Spec) places {
	return places{
		root: filepath.Clean(spec.Root), work: filepath.Clean(spec.Work),
		module:   filepath.Join(spec.Root, filepath.FromSlash(spec.Generated.ModuleRoot)),
		modCache: b.modCache, goRoot: b.goRoot,
		modPath:   modfile.ModulePath(spec.Generated.GoMod),
		userGoMod: path.Join(spec.Generated.ModuleRoot, "go.mod"),
	}
}

// alongWith is the way out for a module that the agent cannot fetch.
const alongWith = "to send modules along, run go mod vendor in the function's module, or name them in GOPRIVATE where proxyCli runs beside a go command; or have the agent ask a module proxy that has them (-goproxy, -goprivate)"

// explain turns what a failed build said into an error: a *Failure when it is
// about the user's source.
func (p places) explain(output string) error {
	if strings.Contains(output, "no space left on device") {
		return proto.Errorf(proto.ErrExhausted, "no space is left to build").WithHint("free some of the agent's disk")
	}
	for _, end := range ended {
		if end.said.MatchString(output) {
			return &Failure{end.means}
		}
	}
	compiled := heading.MatchString(output) // then what it says is about source, not modules
	text := viaMain.ReplaceAllString(noise.ReplaceAllString(output, ""), "package $1")
	var kept, ours []string
	for line := range strings.Lines(text) {
		line = p.rename(line)
		if strings.Contains(line, generated) || strings.Contains(line, runtimeModule) {
			ours = append(ours, line)
		} else {
			kept = append(kept, line)
		}
	}
	said := strings.TrimSpace(strings.Join(kept, ""))
	switch {
	case !compiled && offline.MatchString(said):
		return proto.Errorf(proto.ErrUnavailable, "a module that the function needs cannot be fetched%s: %s", asked(output), said).
			WithHint("start the agent with a network and a module proxy (-goproxy); " + alongWith)
	case !compiled && withheld.MatchString(said):
		return &Failure{p.wayOut(said) + "\nthe agent cannot have a private module; " + alongWith}
	case said == "":
		return proto.Errorf(proto.ErrInternal, "the generated files do not build: %s", strings.TrimSpace(strings.Join(ours, "")))
	}
	return &Failure{p.wayOut(said)}
}

// shown is a line of a build that goes on: what concerns the generated files is
// left out, and what the build itself will mend.
func (b *Builder) shown(p places, line string) string {
	line = p.rename(line)
	if strings.Contains(line, generated) || strings.Contains(line, runtimeModule) ||
		b.sandbox.lacks.MatchString(line) || strings.Contains(line, incomplete) || line == advised {
		return ""
	}
	return line
}

// asked names the modules that a build tried to fetch: the go command does not
// repeat them in its errors.
func asked(output string) string {
	var names []string
	for _, m := range downloading.FindAllStringSubmatch(output, maxAsked) {
		names = append(names, m[1]+"@"+m[2])
	}
	if len(names) == 0 {
		return ""
	}
	return " (it asked for " + strings.Join(names, ", ") + ")"
}

// rename gives the files in a line the names that the user knows them by.
func (p places) rename(line string) string {
	if m := position.FindStringSubmatchIndex(line); m != nil {
		line = line[:m[4]] + p.name(line[m[4]:m[5]]) + line[m[5]:]
	}
	return strings.NewReplacer(
		filepath.Join(p.work, "overlay")+"/", "",
		filepath.Join(p.work, "go.mod"), p.userGoMod,
		p.work+"/", "",
		p.root+"/", "",
		p.modCache+"/", "",
		p.goRoot+"/", "$GOROOT/",
	).Replace(line)
}

// name is a file's name relative to the bundle's root, or what the replacements
// of rename make of one outside.
func (p places) name(file string) string {
	if !filepath.IsAbs(file) {
		file = filepath.Join(p.module, file)
	}
	if rel, err := filepath.Rel(p.root, file); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return file
}

// wayOut replaces the advice of the go command, which is meant for the machine
// that it runs on, by what the user can do.
func (p places) wayOut(said string) string {
	said = noSum.ReplaceAllString(said, `missing go.sum entry for $1; run "go mod tidy" in the function's folder and deploy again`)
	return noModule.ReplaceAllStringFunc(said, func(found string) string {
		pkg := noModule.FindStringSubmatch(found)[1]
		switch {
		case strings.HasPrefix(p.modPath, wrapped):
			return "package " + pkg + ` is not in the standard library, and there is no go.mod; run "go mod init example.com/function" and "go get ` + pkg + `" in the function's folder and deploy again`
		case pkg == p.modPath || strings.HasPrefix(pkg, p.modPath+"/"):
			return "package " + pkg + " is missing: its folder in module " + p.modPath + " holds no Go files"
		}
		return "no module in go.mod has package " + pkg + `; run "go get ` + pkg + `" in the function's folder and deploy again`
	})
}
