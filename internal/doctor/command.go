package doctor

import (
	"io"

	"github.com/Ishan27g/ryo-faas/internal/flags"
)

// Command is the command doctor of a program that serves.
type Command struct {
	given  bool
	output *string
}

// Declare declares the command, whose flags are those of the program and -o. It
// returns the arguments that follow.
func Declare(set *flags.Set, args []string) (*Command, []string) {
	c := &Command{output: new(string)}
	args, c.given = set.Command(args, "doctor", "finds what is wrong on this machine, and says what to do about it; -o json for scripts")
	if c.given {
		set.StringVar(c.output, "o", "text", "`text|json` how findings are printed")
	}
	return c, args
}

// Given reports whether the command line asks for the doctor.
func (c *Command) Given() bool { return c.given }

// Print prints a report and returns the exit code: 0 if all is well, else 1.
func (c *Command) Print(set *flags.Set, stdout io.Writer, r Report) int {
	write := r.Text
	switch *c.output {
	case "text":
	case "json":
		write = r.JSON
	default:
		return set.Failf("invalid value %q for -o: use text or json", *c.output)
	}
	if err := write(stdout); err != nil {
		return set.Fail(err)
	}
	if !r.Well() {
		return 1
	}
	return 0
}
