package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpWidth is how long a line of help may be.
const helpWidth = 80

// help prints what a command does to stdout, its flags with one dash. The usage
// of a flag begins with the name of its value in back quotes.
func (a *app) help(cmd *cobra.Command) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s.\n", cmd.CommandPath(), cmd.Short)
	if cmd.Long != "" {
		fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(cmd.Long))
	}
	use := cmd.UseLine()
	if cmd.HasSubCommands() {
		use = cmd.CommandPath() + " COMMAND [flags]"
	}
	fmt.Fprintf(&b, "\nUsage: %s\n", use)

	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if cmd.HasSubCommands() {
		_, _ = fmt.Fprintf(w, "\nCommands:\n")
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				_, _ = fmt.Fprintf(w, "  %s\t%s\n", strings.TrimPrefix(strings.TrimSuffix(c.UseLine(), " [flags]"), cmd.CommandPath()+" "), c.Short)
			}
		}
	}
	printFlags(w, "Flags", cmd.LocalFlags())
	printFlags(w, "Flags of every command", cmd.InheritedFlags())
	_ = w.Flush()
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.Trim(cmd.Example, "\n"))
	}
	_, _ = io.WriteString(a.stdout, b.String())
}

func printFlags(w io.Writer, title string, set *pflag.FlagSet) {
	if !set.HasAvailableFlags() {
		return
	}
	_, _ = fmt.Fprintf(w, "\n%s:\n", title)
	set.VisitAll(func(f *pflag.Flag) {
		value, _ := pflag.UnquoteUsage(f)
		usage := strings.TrimPrefix(f.Usage, "`"+value+"` ")
		name := "-" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		_, _ = fmt.Fprintf(w, "  %s\t%s\n", strings.TrimSpace(name+" "+value), usage)
	})
}

// noChecks lets a command that asks nobody work in any environment.
func noChecks(*cobra.Command, []string) error { return nil }

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "help [COMMAND]",
		Short:             "prints what a command does",
		PersistentPreRunE: noChecks,
		RunE: func(cmd *cobra.Command, args []string) error {
			topic := cmd.Root()
			for _, word := range args {
				sub := child(topic, word)
				if sub == nil {
					return unknownCommand(topic, word)
				}
				topic = sub
			}
			a.help(topic)
			return nil
		},
	}
}
