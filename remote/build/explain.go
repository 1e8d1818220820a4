package build

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
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
	downloading = regexp.MustCompile(`(?m)^go: downloading (\S+) (\S+)$`)
	heading     = regexp.MustCompile(`(?m)^# `)
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

// alongWith is the way out for a module that the agent cannot fetch.
const alongWith = "to send modules along, run go mod vendor in the function's module, or name them in GOPRIVATE where proxyCli runs beside a go command; or have the agent ask a module proxy that has them (-goproxy, -goprivate)"

// explain turns what a failed build said into an error: a *Failure when it is
// about the user's source.
func explain(places funcfw.Places, output string) error {
	if strings.Contains(output, "no space left on device") {
		return proto.Errorf(proto.ErrExhausted, "no space is left to build").WithHint("free some of the agent's disk")
	}
	for _, end := range ended {
		if end.said.MatchString(output) {
			return &Failure{end.means}
		}
	}
	compiled := heading.MatchString(output) // then what it says is about source, not modules
	said, ours := places.Explain(output)
	switch {
	case !compiled && offline.MatchString(said):
		return proto.Errorf(proto.ErrUnavailable, "a module that the function needs cannot be fetched%s: %s", asked(output), said).
			WithHint("start the agent with a network and a module proxy (-goproxy); " + alongWith)
	case !compiled && withheld.MatchString(said):
		return &Failure{places.Advise(said) + "\nthe agent cannot have a private module; " + alongWith}
	case said == "":
		return proto.Errorf(proto.ErrInternal, "the generated files do not build: %s", ours)
	}
	return &Failure{places.Advise(said)}
}

// shown is a line of a build that goes on: what concerns the generated files is
// left out, and what the build itself will mend.
func (b *Builder) shown(places funcfw.Places, line string) string {
	line, ours := places.Line(line)
	if ours || b.sandbox.lacks.MatchString(line) || strings.Contains(line, incomplete) || line == advised {
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
