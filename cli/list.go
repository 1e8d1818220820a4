package cli

import (
	"cmp"
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) listCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "list [ADDR]",
		Short: "lists what is deployed, or what one agent runs",
		Example: `
  proxyCli list
  proxyCli list localhost:9000 -o json
  proxyCli list -all`,
		Args: atMostOne("ADDR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for i, arg := range args {
				addr, err := transport.NormalizeAddr(arg)
				if err != nil {
					return usagef(cmd, "%v", err)
				}
				args[i] = addr
			}
			return a.list(cmd.Context(), args, all)
		},
	}
	allFlag(cmd, &all)
	return cmd
}

// allFlag adds the flag -all.
func allFlag(cmd *cobra.Command, all *bool) {
	cmd.Flags().BoolVar(all, "all", false, "also list functions that are stopped")
}

// listed returns the rows of an agent, or, for "", of all.
func listed(ctx context.Context, client transport.Interface, addr string, all bool) (rows []*proto.FunctionJsonRsp, err error) {
	if addr == "" {
		rows, err = client.Details(ctx)
	} else {
		rows, err = client.List(ctx, addr)
	}
	if err != nil || !all {
		return rows, err
	}
	stopped, err := client.Stopped(ctx, addr)
	return append(rows, stopped...), err
}

func (a *app) detailsCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "details",
		Short: "lists what is deployed with versions and processes",
		Long: `
Prints one line for each function and agent: what list prints, the version that
serves, how many processes are ready, the agent, and the memory and processor time
that its processes use. If there is more to say, the line goes on with it: how a
canary shares the calls, restarts, on how many agents the proxy keeps the function,
how many processes it wants and why, the stage of a deploy, and when a function
that keeps crashing is started again. With -o json memory and processor time are left
out; top -o json has them.`,
		Args: noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.details(cmd.Context(), all) },
	}
	allFlag(cmd, &all)
	return cmd
}

func (a *app) details(ctx context.Context, all bool) error {
	var rows []*proto.FunctionJsonRsp
	var used []*proto.Usage
	var unmeasured error
	err := a.ask(func(client *transport.Client) (err error) {
		rows, err = listed(ctx, client, "", all)
		if err == nil && a.output != "json" {
			used, unmeasured = client.Usage(ctx, "")
		}
		return cmp.Or(err, ctx.Err())
	})
	if err != nil {
		return err
	}
	return a.tell(rows, func() error { return a.printDetails(rows, used) }, func() {
		a.warnRows(rows)
		a.reportRows(a.noteAbsent(rows, proto.Deployed, proto.Failed), nil)
		// Of agents that do not answer, the rows say so.
		if unmeasured != nil && !slices.ContainsFunc(rows, func(r *proto.FunctionJsonRsp) bool { return r.GetReason() == proto.ReasonUnreachable }) {
			a.note("memory and processor time are not known: %s", firstLine(unmeasured.Error()))
		}
	})
}

// list prints what agents run, or everything if there are no agents.
func (a *app) list(ctx context.Context, agents []string, all bool) error {
	var rows []*proto.FunctionJsonRsp
	err := a.ask(func(client *transport.Client) (err error) {
		if len(agents) == 0 {
			rows, err = listed(ctx, client, "", all)
			return err
		}
		for _, addr := range agents {
			of, err := listed(ctx, client, addr, all)
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
	return a.tell(rows, func() error { return a.printRows(rows) }, func() {
		for _, r := range a.noteAbsent(rows, proto.Deployed, proto.Failed) {
			a.noteRow(r)
		}
	})
}

// tell prints rows with show. Unless the output is JSON, which says all, report then
// says to stderr what the rows do not.
func (a *app) tell(rows []*proto.FunctionJsonRsp, show func() error, report func()) error {
	if err := show(); err != nil {
		return err
	}
	if len(rows) == 0 {
		a.note("nothing is deployed")
	}
	if a.output != "json" {
		report()
	}
	return nil
}
