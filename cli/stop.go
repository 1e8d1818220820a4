package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) stopCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stop NAME…",
		Short: "stops functions and keeps their versions",
		Long: `
Lets calls that are under way finish, and stops the functions' processes. Versions and
log stay: rollback or deploy starts a function again, list -all shows it, rm
removes it.`,
		Example:           "\n  proxyCli stop HelloWorld\n  proxyCli rollback HelloWorld",
		Args:              atLeastOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.stop(cmd.Context(), args) },
	}
}

func (a *app) rmCommand() *cobra.Command {
	var branch string
	cmd := &cobra.Command{
		Use:   "rm NAME…",
		Short: "removes functions with their versions and logs",
		Long: `
Removes functions, running or stopped, from all agents. Nothing of them is kept:
neither versions with their settings and secrets nor logs. Agents that do not answer
their proxy now do so when they are back, which is said.

With -preview it removes the previews of a branch: those of the functions that are
named, or all. If there are none, it exits with 0.`,
		Example: `
  proxyCli rm HelloWorld
  proxyCli rm -preview feature/login`,
		Args: func(cmd *cobra.Command, args []string) error {
			if branch != "" {
				return nil
			}
			return atLeastOne("NAME")(cmd, args)
		},
		ValidArgsFunction: a.completeAllNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if branch != "" {
				return a.removePreviews(cmd.Context(), branch, args)
			}
			return a.each(args, func(client *transport.Client, name string) ([]*proto.FunctionJsonRsp, error) {
				row, err := client.Remove(cmd.Context(), name)
				return []*proto.FunctionJsonRsp{row}, err
			})
		},
	}
	cmd.Flags().StringVar(&branch, "preview", "", "`BRANCH` remove the previews of this branch")
	return cmd
}

func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "pause NAME…",
		Short:             "answers calls of functions with 503 until they are resumed",
		Long:              "\nThe functions have no processes then. They serve again after resume, a deploy or a\nrollback.",
		Example:           "\n  proxyCli pause HelloWorld\n  proxyCli resume HelloWorld",
		Args:              atLeastOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(args, func(client *transport.Client, name string) ([]*proto.FunctionJsonRsp, error) {
				return client.Pause(cmd.Context(), name)
			})
		},
	}
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "resume NAME…",
		Short:             "lets functions that were paused serve again",
		Example:           "\n  proxyCli resume HelloWorld",
		Args:              atLeastOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(args, func(client *transport.Client, name string) ([]*proto.FunctionJsonRsp, error) {
				return client.Resume(cmd.Context(), name)
			})
		},
	}
}

// stop stops functions.
func (a *app) stop(ctx context.Context, names []string) error {
	return a.each(names, func(client *transport.Client, name string) ([]*proto.FunctionJsonRsp, error) {
		row, err := client.Stop(ctx, name)
		return []*proto.FunctionJsonRsp{row}, err
	})
}

// each makes a request for each name. It goes on after a name that is not known, but
// not after another error: that would come again.
func (a *app) each(names []string, ask func(client *transport.Client, name string) ([]*proto.FunctionJsonRsp, error)) error {
	var rows []*proto.FunctionJsonRsp
	var unknown []error
	var failure error
	for _, name := range names {
		err := a.ask(func(client *transport.Client) error {
			got, err := ask(client, name)
			if err == nil {
				rows = append(rows, got...)
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
		unknown = append(unknown, err)
	}
	if len(rows) > 0 || len(unknown) == 0 && failure == nil {
		if err := a.printRows(rows); err != nil {
			return err
		}
		a.reportRows(rows, nil)
	}
	for _, err := range unknown {
		a.report(err)
	}
	switch {
	case failure != nil:
		return failure
	case len(unknown) == 0:
		return nil
	case len(rows) == 0:
		return reported(exitNotFound)
	}
	return reported(exitPartly)
}
