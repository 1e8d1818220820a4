package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// help prints what a command does to stdout, its flags with one dash. The usage
// of a flag begins with the name of its value in back quotes.
func (a *app) help(cmd *cobra.Command) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s.\n", cmd.CommandPath(), cmd.Short)
	if cmd.Long != "" {
		fmt.Fprintf(&b, "\n%s\n", paragraphs(cmd.Long))
	}
	use := cmd.UseLine()
	if cmd.HasSubCommands() {
		use = cmd.CommandPath() + " COMMAND [flags]"
	}
	fmt.Fprintf(&b, "\nUsage: %s\n", use)

	if cmd.HasSubCommands() {
		var items [][2]string
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				items = append(items, [2]string{strings.TrimPrefix(strings.TrimSuffix(c.UseLine(), " [flags]"), cmd.CommandPath()+" "), c.Short})
			}
		}
		printItems(&b, "Commands", items)
	}
	printItems(&b, "Flags", flagItems(cmd.LocalFlags()))
	printItems(&b, "Flags of every command", flagItems(cmd.InheritedFlags()))
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.Trim(cmd.Example, "\n"))
	}
	_, _ = io.WriteString(a.stdout, b.String())
}

// flagItems are the flags of a set with their values, and their usage.
func flagItems(set *pflag.FlagSet) (items [][2]string) {
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, _ := pflag.UnquoteUsage(f)
		usage := strings.TrimPrefix(f.Usage, "`"+value+"` ")
		name := "-" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if !strings.HasPrefix(value, "[=") { // an optional value is one word with the flag
			name += " "
		}
		items = append(items, [2]string{strings.TrimSpace(name + value), usage})
	})
	return items
}

// maxItem is the longest name with its description beside it; that of a longer one
// is below it.
const maxItem = 22

// printItems prints commands or flags in lines that fit a terminal.
func printItems(b *strings.Builder, title string, items [][2]string) {
	if len(items) == 0 {
		return
	}
	column := 0
	for _, item := range items {
		if n := utf8.RuneCountInString(item[0]); n <= maxItem {
			column = max(column, n)
		}
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, item := range items {
		name := "  " + item[0]
		if n := utf8.RuneCountInString(item[0]); n > maxItem {
			b.WriteString(name + "\n")
			name = "  " + strings.Repeat(" ", column)
		} else {
			name += strings.Repeat(" ", column-n)
		}
		for _, line := range wrap(item[1], usualWidth-column-4) {
			b.WriteString(name + "  " + line + "\n")
			name = "  " + strings.Repeat(" ", column)
		}
	}
}

// paragraphs wraps the paragraphs of a help text, except for indented ones.
func paragraphs(text string) string {
	var out []string
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		if strings.HasPrefix(p, " ") || strings.Contains(p, "\n  ") {
			out = append(out, p)
			continue
		}
		out = append(out, strings.Join(wrap(p, usualWidth), "\n"))
	}
	return strings.Join(out, "\n\n")
}

// noChecks is for commands that send no request: they work in any environment.
func noChecks(*cobra.Command, []string) error { return nil }

func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND|errors [WORD…]]",
		Short: "prints what a command does, or what errors mean",
		Example: `
  proxyCli help deploy
  proxyCli help errors
  proxyCli help errors stalled`,
		PersistentPreRunE: noChecks,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && args[0] == errorTopic {
				return a.helpErrors(args[1:])
			}
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
