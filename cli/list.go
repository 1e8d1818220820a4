package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list [ADDR]",
		Short: "lists what is deployed, or what one agent runs",
		Example: `
  proxyCli list
  proxyCli list localhost:9000 -o json`,
		Args: atMostOne("ADDR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for i, arg := range args {
				addr, err := transport.NormalizeAddr(arg)
				if err != nil {
					return usagef(cmd, "%v", err)
				}
				args[i] = addr
			}
			return a.list(cmd.Context(), args)
		},
	}
}

func (a *app) detailsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "details",
		Short: "lists everything that is deployed",
		Args:  none,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.list(cmd.Context(), nil) },
	}
}

// list prints what the agents run; without agents, everything.
func (a *app) list(ctx context.Context, agents []string) error {
	var rows []*proto.FunctionJsonRsp
	err := a.ask(func(client transport.Interface) (err error) {
		if len(agents) == 0 {
			rows, err = client.Details(ctx)
			return err
		}
		for _, addr := range agents {
			of, err := client.List(ctx, addr)
			if err != nil {
				return err
			}
			rows = append(rows, of...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := a.printRows(rows); err != nil {
		return err
	}
	if len(rows) == 0 {
		a.note("nothing is deployed")
	}
	a.reportRows(rows, nil)
	return nil
}
