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
	// ofSource is a message of the compiler about a place in a source, which may hold
	// any words of it, with the lines that go on with it.
	ofSource = regexp.MustCompile(`(?m)^\S+\.(go|s):\d+[^\n]*\n?(\t[^\n]*\n?)*`)
	// withheld is what the go command says of a module that no proxy has and that the
	// agent has no rights to fetch from its origin.
	withheld = regexp.MustCompile(`(404 Not Found|410 Gone|GOVCS disallows|unrecognized import path|not a known dependency|invalid version: unknown revision)`)
)

// fault is a failure that no source is to blame for, known by what the go command says.
type fault struct {
	said  *regexp.Regexp
	kind  proto.Kind
	means string // with what was said, if it ends in a colon
	hint  string
}

// faults are looked for in this order. Go programs die of too little memory in more
// than one way, with a trace of the compiler's inside.
var faults = []fault{
	{
		regexp.MustCompile(`no space left on device|disk quota exceeded|read-only file system`),
		proto.ErrExhausted, "no space is left to build", "free some of the agent's disk and deploy again",
	},
	{
		regexp.MustCompile(`failed to create new OS thread|: resource temporarily unavailable|: too many open files`),
		proto.ErrExhausted, fmt.Sprintf("the build needs more than %d processes and threads, or than %d files", limits.Tasks, limits.Files),
		"deploy again when the agent's machine has less to do",
	},
	{
		regexp.MustCompile(`(?m)^(fatal error: |runtime: |SIGSEGV: |\[signal SIG)|: cannot allocate memory`),
		proto.ErrExhausted, fmt.Sprintf("the compiler crashed, as it does when a package needs more than %d MiB of memory", limits.Data>>20),
		"deploy to an agent with more memory, or divide the package that is compiled then",
	},
	{
		regexp.MustCompile(`: signal: (killed|CPU time limit exceeded)`),
		proto.ErrExhausted, fmt.Sprintf("the compiler was killed: a package needs more than %.0f s of processor time, or more memory than there is", limits.CPU.Seconds()),
		"deploy again when the agent's machine has more memory free, or divide the package that is compiled then",
	},
	{
		regexp.MustCompile(`: exec format error|fork/exec `),
		proto.ErrUnavailable, "the agent's Go toolchain cannot be run:", "install Go on the agent's machine anew, from https://go.dev/dl",
	},
}

// fetchFaults are those of getting modules, looked for when nothing was compiled.
var fetchFaults = []fault{
	{
		regexp.MustCompile(`SECURITY ERROR|checksum mismatch|no verifiable signatures|invalid signature|inconsistent signed tree`),
		proto.ErrConflict, "a module is not the one that was published:",
		"if it was published anew, run go clean -modcache and go mod tidy in the function's module; else the module proxy or the checksum database that the agent asks is not to be trusted",
	},
	{
		regexp.MustCompile(`(Get|Head) "[^"\n]*": |dial tcp|lookup [^\n]*: (no such host|server misbehaving)|i/o timeout|TLS handshake|x509: |connection re(set|fused)|unexpected EOF|no route to host|disabled by GOPROXY=off|: (401|403|408|429|5\d\d) [A-Z]`),
		proto.ErrUnavailable, "a module that the function needs cannot be fetched:",
		"start the agent with a network and a module proxy (-goproxy); " + alongWith,
	},
	{
		regexp.MustCompile(`: (permission denied|operation not permitted|input/output error)`),
		proto.ErrInternal, "the build may not use its own files:", "see that the agent's folder (-dir) is its own, and its log",
	},
}

// largeFile is the failure of a source whose package or program is too large.
var largeFile = fmt.Sprintf("a package or the program has more than %d MiB", limits.File>>20)

// err is the error of a fault, for modules that were asked for.
func (f *fault) err(said, asked string) error {
	text, ends := strings.CutSuffix(f.means, ":")
	if ends {
		text += asked + ": " + said
	}
	return proto.Errorf(f.kind, "%s", text).WithHint(f.hint)
}

// alongWith is the way out for a module that the agent cannot fetch.
const alongWith = "to send modules along, run go mod vendor in the function's module, or name them in GOPRIVATE where proxyCli runs beside a go command; or have the agent ask a module proxy that has them (-goproxy, -goprivate)"

// explain turns what a failed build said into an error: a *Failure when it is
// about the user's source.
func explain(places funcfw.Places, output string) error {
	compiled := heading.MatchString(output) // then what it says is about source, not modules
	tools := output
	if compiled {
		tools = ofSource.ReplaceAllString(output, "")
	}
	said, ours := places.Explain(output)
	for _, f := range faults {
		if f.said.MatchString(tools) {
			return f.err(said, "")
		}
	}
	if strings.Contains(tools, ": file too large") {
		return &Failure{largeFile}
	}
	for _, f := range fetchFaults {
		if !compiled && f.said.MatchString(said) {
			return f.err(said, asked(output))
		}
	}
	switch {
	case !compiled && withheld.MatchString(said):
		return &Failure{places.Advise(said) + "\nthe agent cannot have a private module; " + alongWith}
	case said == "":
		return proto.Errorf(proto.ErrInternal, "the generated files do not build: %s", ours)
	}
	return &Failure{places.Advise(said)}
}

// shown is a line of the go command as users see it. It is empty for lines about the
// generated files and for errors that the build itself will mend.
func (a *attempt) shown(line string) string {
	if a.sandbox.lacks.MatchString(line) || strings.Contains(line, incomplete) || line == advised {
		return ""
	}
	named, ours := a.places.Line(line)
	if goesOn := strings.HasPrefix(line, "\t"); goesOn {
		ours = ours || a.hidden // with the line before
	}
	if a.hidden = ours; ours {
		return ""
	}
	return named
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
