package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) versionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "versions NAME",
		Short: "lists the versions of a function that are kept",
		Long: `
Prints the versions that are kept, the newest first, with the part of the calls that
each of them gets. You can roll back to any of them, and call any of them as
NAME@VERSION.`,
		Example: `
  proxyCli versions HelloWorld
  proxyCli versions HelloWorld -o json`,
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := answer(a, func(client *transport.Client) ([]*proto.Version, error) {
				return client.Versions(cmd.Context(), args[0])
			})
			if err != nil {
				return err
			}
			return a.printVersions(list)
		},
	}
}

func (a *app) printVersions(list []*proto.Version) error {
	if a.output == "json" {
		return printList(a, list)
	}
	list = slices.DeleteFunc(list, func(v *proto.Version) bool { return a.noteSilent("versions", v) })
	rows := [][]string{{"VERSION", "CALLS", "DEPLOYED", "KIND", "PACKAGE", "PROGRAM", "AGENT", "NOTE"}}
	before := ""
	for i, v := range list {
		row := []string{
			fmt.Sprint(v.GetVersion()), share(v, list), ago(v.GetTime()), v.GetKind(),
			short(v.GetPackage()), short(v.GetProgram().GetDigest()), v.GetAtAgent(), v.GetNote(),
		}
		// Agents deploy a version at different times; all else tells whether it is the same.
		const deployed, agent = 2, 6
		alike := fmt.Sprintf("%q %q", row[:deployed], row[deployed+1:agent])
		if last := len(rows) - 1; i > 0 && alike == before {
			rows[last][agent] += "," + row[agent]
			continue
		}
		rows, before = append(rows, row), alike
	}
	if missing := gaps(list); len(missing) > 0 {
		a.note("not listed: %s (deploys that failed, or versions that are not kept any more)", strings.Join(missing, ", "))
	}
	return a.printTable(rows, "PROGRAM", "PACKAGE", "KIND")
}

// gaps are the numbers of versions that are missing in list.
func gaps(list []*proto.Version) (missing []string) {
	for i := 1; i < len(list); i++ { // the newest first
		for n := list[i-1].GetVersion(); n > list[i].GetVersion()+1; n-- {
			missing = append(missing, fmt.Sprint(n-1))
		}
	}
	slices.Reverse(missing)
	return missing
}

// share says which part of the calls a version gets. If two share the calls of an
// agent, the newer one is the canary.
func share(v *proto.Version, list []*proto.Version) string {
	switch v.GetWeight() {
	case 0:
		return ""
	case 100:
		return "serves"
	}
	for _, other := range list {
		if other.GetAtAgent() == v.GetAtAgent() && other.GetWeight() > 0 && other.GetVersion() > v.GetVersion() {
			return fmt.Sprintf("serves %d%%", v.GetWeight())
		}
	}
	return fmt.Sprintf("canary %d%%", v.GetWeight())
}

func (a *app) rollbackCommand() *cobra.Command {
	var to uint32
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "lets an earlier version of a function serve again",
		Long: `
Nothing is built: a version is kept with its program and its settings. Calls that are
in progress finish in the version that they reached.`,
		Example: `
  proxyCli rollback HelloWorld
  proxyCli rollback HelloWorld -to 3`,
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("to") && to == 0 {
				return usagef(cmd, "-to: versions count from 1")
			}
			return a.release(cmd.Context(), func(client *transport.Client) ([]*proto.FunctionJsonRsp, error) {
				return client.Rollback(cmd.Context(), args[0], to)
			})
		},
	}
	cmd.Flags().Uint32Var(&to, "to", 0, "`VERSION` to go back to, as versions NAME shows it (default: the one that served before)")
	return cmd
}

// release makes a request that changes which versions serve, and prints its rows.
func (a *app) release(ctx context.Context, call func(*transport.Client) ([]*proto.FunctionJsonRsp, error)) error {
	paused := a.paused(ctx)
	rows, err := answer(a, call)
	if err != nil {
		return err
	}
	if err := a.printRows(rows); err != nil {
		return err
	}
	for _, r := range rows {
		if calls := shares(r); len(calls) > 0 {
			a.note("%s on %s: %s", r.GetName(), r.GetAtAgent(), strings.Join(calls, ", "))
		}
	}
	a.reportRows(rows, nil)
	a.tellResumed(rows, paused)
	if code := rowsCode(rows); code != exitOK {
		return reported(code)
	}
	return nil
}

// shares says which versions of a function get its calls, the one that serves first.
func shares(r *proto.FunctionJsonRsp) (list []string) {
	for i, s := range r.GetServing() {
		switch {
		case s.GetWeight() == 0: // called by its number alone
		case s.GetWeight() == 100:
			list = append(list, fmt.Sprintf("version %d serves", s.GetVersion()))
		case i == 0:
			list = append(list, fmt.Sprintf("version %d serves %d%%", s.GetVersion(), s.GetWeight()))
		default:
			list = append(list, fmt.Sprintf("the canary %d gets %d%%", s.GetVersion(), s.GetWeight()))
		}
	}
	return list
}
