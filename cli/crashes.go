package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) crashesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "crashes NAME",
		Short: "shows when and why processes of a function crashed",
		Long: `
Prints each crash, the newest first: its time, version, agent and cause, and how long
the process had run; below it, indented, the panic or the last lines that the process
printed.`,
		Example:           "\n  proxyCli crashes HelloWorld",
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := answer(a, func(client *transport.Client) ([]*proto.Crash, error) {
				return client.Crashes(cmd.Context(), args[0])
			})
			if err != nil {
				return err
			}
			if a.output != "json" && len(list) == 0 { // every agent has answered
				a.note("no process of %s has exited by itself", args[0])
			}
			return a.printCrashes(list)
		},
	}
}

func (a *app) printCrashes(list []*proto.Crash) error {
	if a.output == "json" {
		return printList(a, list)
	}
	list = slices.DeleteFunc(list, func(c *proto.Crash) bool { return a.noteSilent("crashes", c) })
	var b strings.Builder
	for _, c := range list {
		fmt.Fprintf(&b, "%s  %s  version %d  %s  %s  lived %s\n", clean(c.GetTime()), ago(c.GetTime()), c.GetVersion(),
			clean(c.GetAtAgent()), clean(c.GetCause()), clean(c.GetLived()))
		for line := range strings.Lines(c.GetOutput()) {
			b.WriteString(strings.TrimRight("  "+clean(strings.TrimRight(line, "\r\n")), " ") + "\n")
		}
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}
