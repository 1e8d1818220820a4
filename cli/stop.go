package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "stop NAME…",
		Short:             "ends functions and forgets them",
		Example:           "\n  proxyCli stop HelloWorld",
		Args:              atLeastOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.stop(cmd.Context(), args) },
	}
}

// stop stops all names it can. A name that is not known does not keep the
// others from being stopped; any other failure would meet them too.
func (a *app) stop(ctx context.Context, names []string) error {
	var rows []*proto.FunctionJsonRsp
	var missed []error
	var failure error
	for _, name := range names {
		err := a.ask(func(client transport.Interface) error {
			row, err := client.Stop(ctx, name)
			if err == nil {
				rows = append(rows, row)
			}
			return err
		})
		if err == nil {
			continue
		}
		if proto.AsError(err).Kind != proto.ErrNotFound {
			failure = err
			break
		}
		missed = append(missed, err)
	}
	if len(rows) > 0 || len(missed) == 0 && failure == nil {
		if err := a.printRows(rows); err != nil {
			return err
		}
	}
	for _, err := range missed {
		a.fail(err)
	}
	switch {
	case failure != nil:
		return failure
	case len(missed) == 0:
		return nil
	case len(rows) == 0:
		return reported(exitNotFound)
	}
	return reported(exitPartly)
}
