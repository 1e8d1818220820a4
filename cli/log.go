package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) logCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "log NAME",
		Short:             "prints the last part of what a function printed",
		Example:           "\n  proxyCli log HelloWorld",
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.logs(cmd.Context(), args) },
	}
}

// logs prints what the functions printed, byte for byte.
func (a *app) logs(ctx context.Context, names []string) error {
	for _, name := range names {
		var logs *proto.FunctionLogs
		err := a.ask(func(client transport.Interface) (err error) {
			logs, err = client.Log(ctx, name)
			return err
		})
		if err != nil {
			return err
		}
		if a.output == "json" {
			data, err := marshal(logs)
			if err == nil {
				err = a.printJSON(data)
			}
			if err != nil {
				return err
			}
			continue
		}
		if logs.GetTruncated() {
			a.note("the log is longer; this is its last part")
		}
		if _, err := io.WriteString(a.stdout, logs.GetLogs()); err != nil {
			return err
		}
	}
	return nil
}
