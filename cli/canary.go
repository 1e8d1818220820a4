package cli

import (
	"context"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) canaryCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "canary NAME PERCENT",
		Short: "sets the percentage of calls that a canary gets",
		Long: `
A canary is a version that was deployed with -canary. It gets a part of the calls;
the version before gets the others. With 0 percent the canary is dropped, with 100 it
gets all calls and the version before is retired.`,
		Example: `
  proxyCli deploy -canary 10 ./hello
  proxyCli canary HelloWorld 50`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef(cmd, "canary needs a NAME and a PERCENT")
			}
			return notBlank(cmd, "NAME or PERCENT", args)
		},
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			percent, err := strconv.ParseUint(strings.TrimSuffix(args[1], "%"), 10, 32)
			if err != nil || percent > 100 {
				return usagef(cmd, "%q is not a percentage from 0 to 100", args[1])
			}
			return a.shift(cmd.Context(), args[0], uint32(percent))
		},
	}
}

func (a *app) promoteCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "promote NAME",
		Short:             "gives all calls of a function to its canary",
		Long:              "\nThe same as canary NAME 100. The version before is retired and kept: rollback brings\nit back.",
		Example:           "\n  proxyCli promote HelloWorld",
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.shift(cmd.Context(), args[0], 100) },
	}
}

func (a *app) dropCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "drop NAME",
		Short:             "drops the canary of a function",
		Long:              "\nThe version beside the canary gets all calls. The canary's version is kept, so that\nrollback -to can bring it back.",
		Example:           "\n  proxyCli drop HelloWorld",
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.shift(cmd.Context(), args[0], 0) },
	}
}

func (a *app) shift(ctx context.Context, name string, percent uint32) error {
	return a.release(ctx, func(client *transport.Client) ([]*proto.FunctionJsonRsp, error) {
		return client.Shift(ctx, name, percent)
	})
}
