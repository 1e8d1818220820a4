package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/Ishan27g/ryo-faas/transport"
)

// What commands take after their flags.

func noArgument(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(cmd, "%s takes no argument, such as %q", cmd.Name(), args[0])
	}
	return nil
}

func atMostOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > 1 {
			return usagef(cmd, "%s takes one %s; %q is too much", cmd.Name(), what, args[1])
		}
		return notBlank(cmd, what, args)
	}
}

// exactlyOne refuses none and several.
func exactlyOne(what string) cobra.PositionalArgs {
	return cobra.MatchAll(atLeastOne(what), atMostOne(what))
}

func atLeastOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef(cmd, "%s needs %s", cmd.Name(), one(what))
		}
		return notBlank(cmd, what, args)
	}
}

// one puts the article before the name of an argument.
func one(what string) string {
	if strings.ContainsAny(what[:1], "AEIO") {
		return "an " + what
	}
	return "a " + what
}

// notBlank refuses empty arguments: an unset variable of a script must not mean the
// default.
func notBlank(cmd *cobra.Command, what string, args []string) error {
	if slices.Contains(args, "") {
		return usagef(cmd, "the %s is empty", what)
	}
	return nil
}

// completeFlags prints, in the form of cobra's scripts, the flags that begin with
// word, with as many dashes as it has. before are the words before it, normalized.
func (a *app) completeFlags(root *cobra.Command, before []string, word string) error {
	cmd := root
	for _, w := range before {
		if sub := child(cmd, w); sub != nil {
			cmd = sub
		}
	}
	dashes := "-"
	if strings.HasPrefix(word, "--") {
		dashes = "--"
	}
	var b strings.Builder
	each(cmd, func(f *pflag.Flag) {
		if flag := dashes + f.Name; strings.HasPrefix(flag, word) && !f.Hidden {
			value, _ := pflag.UnquoteUsage(f)
			fmt.Fprintf(&b, "%s\t%s\n", flag, strings.TrimPrefix(f.Usage, "`"+value+"` "))
		}
	})
	fmt.Fprintf(&b, ":%d\n", cobra.ShellCompDirectiveNoFileComp)
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// offer lets a shell complete a flag with one of the values that it takes.
func offer(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // it fails for unknown flags alone
}

// completeLimit keeps a shell from hanging at the Tab key.
const completeLimit = time.Second

// completeNames offers the names of what is deployed to the shell.
func (a *app) completeNames(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(cmd, false)
}

// completeAllNames is completeNames with the functions that are stopped.
func (a *app) completeAllNames(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return a.complete(cmd, true)
}

func (a *app) complete(cmd *cobra.Command, all bool) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	if err := a.checkGlobals(cmd); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeLimit)
	defer cancel()
	err := a.ask(func(client *transport.Client) error {
		rows, err := listed(ctx, client, "", all)
		for _, r := range rows {
			names = append(names, r.GetName())
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
