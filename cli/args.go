package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/Ishan27g/ryo-faas/proto"
)

// normalize rewrites the flags of a command line from one dash, which is how
// they are documented, to the two dashes that cobra wants, and refuses what the
// tree of commands does not know. Values are never touched: in `-d -help` the
// second word is data.
func normalize(root *cobra.Command, args []string) ([]string, error) {
	cmd, words := root, 0 // words counts cmd's arguments
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...), nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			out = append(out, arg)
			sub := child(cmd, arg)
			switch {
			case words > 0 || !cmd.HasSubCommands():
				words++
			case sub == nil:
				return nil, unknownCommand(cmd, arg)
			default:
				cmd = sub
			}
			continue
		}
		flag, rest := lookup(cmd, arg)
		if flag == nil && arg[1] >= '0' && arg[1] <= '9' {
			out = append(out, "--", arg) // a number below 0, which the command refuses by name
			return append(out, args[i+1:]...), nil
		}
		if flag == nil {
			return nil, unknownFlag(cmd, arg)
		}
		short := len(arg) > 1 && arg[1] != '-' && flag.Name != strings.Split(arg[1:], "=")[0]
		if rest.joined {
			writtenShort(flag, short, rest.value)
			out = append(out, "--"+flag.Name+"="+rest.value)
			continue
		}
		out = append(out, "--"+flag.Name)
		if flag.NoOptDefVal == "" && i+1 < len(args) {
			// Joined, so that a value such as "--" or "-x" is not read as a flag.
			i++
			out[len(out)-1] += "=" + args[i]
			writtenShort(flag, short, args[i])
		} else {
			writtenShort(flag, short, "")
		}
	}
	return out, nil
}

// inline is a value that is written in one word with its flag.
type inline struct {
	value  string
	joined bool
}

// lookup finds the flag that arg stands for: -name, --name, -name=value,
// --name=value, -n, -n=value and, as curl takes it, -nvalue.
func lookup(cmd *cobra.Command, arg string) (*pflag.Flag, inline) {
	name, value, joined := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
	if f := cmd.Flag(name); f != nil {
		return f, inline{value, joined}
	}
	if strings.HasPrefix(arg, "--") || name == "" {
		return nil, inline{}
	}
	f := shorthand(cmd, name[:1])
	switch {
	case f == nil:
		return nil, inline{}
	case len(name) == 1:
		return f, inline{value, joined}
	case f.NoOptDefVal != "":
		return nil, inline{} // a switch takes no value, and switches are not bundled
	}
	return f, inline{arg[2:], true}
}

func shorthand(cmd *cobra.Command, letter string) *pflag.Flag {
	if f := cmd.Flags().ShorthandLookup(letter); f != nil {
		return f
	}
	return cmd.InheritedFlags().ShorthandLookup(letter)
}

func child(cmd *cobra.Command, name string) *cobra.Command {
	for _, c := range cmd.Commands() {
		if c.Name() == name || c.HasAlias(name) {
			return c
		}
	}
	return nil
}

// maxNamed is how many commands an error lists.
const maxNamed = 6

func unknownCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	near := didYouMean("", word, names)
	if near == "" && len(names) > 0 && len(names) <= maxNamed {
		near = "; there are " + strings.Join(names, ", ")
	}
	return usagef(cmd, "unknown command %q%s", word, near)
}

func unknownFlag(cmd *cobra.Command, arg string) error {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	var names []string
	each(cmd, func(f *pflag.Flag) { names = append(names, f.Name) })
	return usagef(cmd, "unknown flag -%s%s", name, didYouMean("-", name, names))
}

// each visits the flags that cmd takes, its own before the common ones.
func each(cmd *cobra.Command, visit func(*pflag.Flag)) {
	cmd.LocalFlags().VisitAll(visit)
	cmd.InheritedFlags().VisitAll(visit)
}

// shortValues is the annotation of a flag that has the values given by its short name.
const shortValues = "ryo_short_values"

func writtenShort(f *pflag.Flag, short bool, value string) {
	if !short {
		return
	}
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[shortValues] = append(f.Annotations[shortValues], value)
}

// asWritten is a flag by the name with which it was given a value.
func asWritten(f *pflag.Flag, value string) string {
	if slices.Contains(f.Annotations[shortValues], value) {
		return "-" + f.Shorthand
	}
	return "-" + f.Name
}

// badFlag says in plain words what is wrong with a flag's value. The standard
// library's errors speak of parsing.
func badFlag(cmd *cobra.Command, err error) error {
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		value, _ := pflag.UnquoteUsage(missing.GetFlag())
		return usagef(cmd, "%s needs a value: %s", asWritten(missing.GetFlag(), ""), value)
	}
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return usagef(cmd, "%s", strings.ReplaceAll(err.Error(), "--", "-"))
	}
	cause := proto.AsError(bad.Unwrap())
	if what, ok := wanted[bad.GetFlag().Value.Type()]; ok {
		cause.Message = fmt.Sprintf("%.40q is %s", bad.GetValue(), what)
	}
	return proto.AsError(usagef(cmd, "%s: %s", asWritten(bad.GetFlag(), bad.GetValue()), cause.Message)).WithHint(cause.Hint)
}

// wanted says, for the types of pflag, what a wrong value is not.
var wanted = map[string]string{
	"bool":     "neither true nor false",
	"uint32":   "not a whole number from 0 on",
	"duration": "not a duration; write a number with its unit, such as 500ms, 30s or 5m",
}

func didYouMean(dash, word string, known []string) string {
	if near := proto.Nearest(word, known); near != "" {
		return "; did you mean " + dash + near + "?"
	}
	return ""
}

// usagef is an error of the command line: one line that ends with where help is.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return proto.Errorf(proto.ErrInvalid, "%s (see %s -help)", fmt.Sprintf(format, args...), cmd.CommandPath())
}
