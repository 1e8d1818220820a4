package flags

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Usage is the exit code for a command line that cannot be understood.
const Usage = 2

// Set is the set of one program's flags. Declare them with the methods of
// FlagSet; a Func, TextVar or Var that checks its value is also checked, and
// named, when the value comes from the environment.
type Set struct {
	*flag.FlagSet

	summary        string
	stdout, stderr io.Writer
	version        bool
	commands       [][2]string       // how each is written, and what it does
	variables      map[string]string // of flags with one of another name than Env's
}

// New returns the set of the program name. The summary ends the sentence that
// begins with the name: "runs Go functions on this machine".
func New(name, summary string, stdout, stderr io.Writer) *Set {
	s := &Set{
		FlagSet: flag.NewFlagSet(name, flag.ContinueOnError),
		summary: summary, stdout: stdout, stderr: stderr,
	}
	s.SetOutput(io.Discard) // what the standard package prints takes more than one line
	s.Usage = func() {}
	s.BoolVar(&s.version, versionFlag, false, "print the version and exit")
	return s
}

const versionFlag = "version"

// Command declares a word that may come first, before the flags, and does something
// else than to serve. usage is the word with what follows it: "export FILE". It reports
// whether args begin with the word, and returns the rest.
func (s *Set) Command(args []string, usage, does string) (rest []string, given bool) {
	s.commands = append(s.commands, [2]string{usage + " [flags]", does})
	word, _, _ := strings.Cut(usage, " ")
	if len(args) > 0 && args[0] == word {
		return args[1:], true
	}
	return args, false
}

// Parse reads args, which do not hold the program's name, then the environment.
// When it returns false everything has been said and the program must exit with
// the code: 0 after -help and -version, else Usage.
func (s *Set) Parse(args []string) (code int, ok bool) {
	err := s.FlagSet.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		s.help()
		return 0, false
	case err != nil:
		return s.Failf("%s", s.explain(err)), false
	case s.version:
		_, _ = fmt.Fprintf(s.stdout, "%s %s\n", s.Name(), ThisBuild())
		return 0, false
	case s.NArg() > 0:
		return s.Failf("unexpected argument %q%s", s.Arg(0), s.suggest(s.Arg(0))), false
	}
	if err := s.fromEnv(); err != nil {
		return s.Failf("%v", err), false
	}
	return 0, true
}

// Failf prints one line about a command line that cannot be served, for checks
// that a flag's own value cannot make, and returns Usage.
func (s *Set) Failf(format string, args ...any) int {
	_, _ = fmt.Fprintf(s.stderr, "%s: %s (%s -help shows the flags)\n", s.Name(), fmt.Sprintf(format, args...), s.Name())
	return Usage
}

// fromEnv sets the flags that the command line left out. An empty variable
// counts as unset, as shells and service managers cannot always unset one.
func (s *Set) fromEnv() error {
	given := map[string]bool{versionFlag: true}
	s.Visit(func(f *flag.Flag) { given[f.Name] = true })

	var errs []error
	s.VisitAll(func(f *flag.Flag) {
		variable := s.variable(f.Name)
		value := os.Getenv(variable)
		if given[f.Name] || value == "" {
			return
		}
		if err := s.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s", variable, why(f, value, err)))
		}
	})
	if len(errs) > 0 {
		return errs[0] // one line, one fault at a time
	}
	return nil
}

// explain turns the standard package's error into ours: it alone knows which
// flag was unknown, or had what value, and says so in its text only.
func (s *Set) explain(err error) string {
	text := err.Error()
	if name, unknown := strings.CutPrefix(text, "flag provided but not defined: -"); unknown {
		return "unknown flag -" + name + s.suggest(name)
	}
	if name, lacking := strings.CutPrefix(text, "flag needs an argument: -"); lacking {
		return "-" + name + " needs a value"
	}
	if m := invalidValue.FindStringSubmatch(text); m != nil {
		value, unquoted := strconv.Unquote(m[1])
		if f := s.Lookup(m[2]); f != nil && unquoted == nil {
			return fmt.Sprintf("-%s: %s", f.Name, why(f, value, errors.New(m[3])))
		}
	}
	return text
}

// invalidValue is the standard package's error of a value that a flag does not take.
var invalidValue = regexp.MustCompile(`^invalid (?:boolean )?value (".*") for (?:flag )?-(\S+): (.*)$`)

// why says why a flag does not take a value. The standard types speak of parsing.
func why(f *flag.Flag, value string, err error) string {
	if getter, ok := f.Value.(flag.Getter); ok {
		switch getter.Get().(type) {
		case bool:
			return fmt.Sprintf("%q is neither true nor false", value)
		case int, int64, uint, uint64:
			return fmt.Sprintf("%q is not a whole number", value)
		case float64:
			return fmt.Sprintf("%q is not a number", value)
		case time.Duration:
			return fmt.Sprintf("%q is not a duration; write a number with its unit, such as 500ms, 30s or 5m", value)
		}
	}
	return fmt.Sprintf("%q is not taken: %v", value, err)
}

func (s *Set) suggest(word string) string {
	names := []string{"help"}
	s.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	if near := proto.Nearest(word, names); near != "" {
		return "; did you mean -" + near + "?"
	}
	return ""
}

func (s *Set) help() {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s.\n\nUsage: %[1]s [flags]\n", s.Name(), s.summary)
	width := 0
	for _, c := range s.commands {
		width = max(width, len(c[0]))
	}
	for _, c := range s.commands {
		fmt.Fprintf(&b, "       %s %-*s   %s\n", s.Name(), width, c[0], c[1])
	}
	b.WriteString("\nFlags, each with the environment variable that stands in for it:\n")
	s.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "  %s\n        %s", strings.TrimSpace("-"+f.Name+" "+value), usage)
		if f.Name != versionFlag {
			fmt.Fprintf(&b, "\n        (%s", s.variable(f.Name))
			if f.DefValue != "" {
				fmt.Fprintf(&b, ", default %s", f.DefValue)
			}
			b.WriteByte(')')
		}
		b.WriteByte('\n')
	})
	b.WriteString("  -help\n        print this text and exit\n")
	_, _ = io.WriteString(s.stdout, b.String())
}

// Variable gives a flag another environment variable than Env's, which means something
// else to another program of the same machine.
func (s *Set) Variable(name, variable string) {
	if s.variables == nil {
		s.variables = make(map[string]string)
	}
	s.variables[name] = variable
}

func (s *Set) variable(name string) string { return cmp.Or(s.variables[name], Env(name)) }

// Env is the environment variable of a flag, unless Variable gave it another: RYO_SOURCE_ROOT for -source-root.
func Env(name string) string {
	return "RYO_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// StateDir is the default of -dir: $XDG_STATE_HOME/ryo-faas, or
// ~/.local/state/ryo-faas (XDG Base Directory Specification). It is "" for a
// user without a home: -dir must be given then.
func StateDir() string {
	const name = "ryo-faas"
	// The specification tells to ignore relative paths.
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, name)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", name)
}
