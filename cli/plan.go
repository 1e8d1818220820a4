package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
)

func (a *app) planCommand() *cobra.Command {
	var prune bool
	cmd := &cobra.Command{
		Use:   "plan FILE…",
		Short: "says what the deploys of definition files would change",
		Long: `
Changes nothing and uploads nothing. It prints one line for each function and agent:
whether a deploy would create the function, change its code or settings, or change
nothing, with the digest of the new package and the names of the settings that
change; and what an agent runs instead of what its proxy was asked for, if somebody has
changed it there. Sections other than deploy are ignored.`,
		Example: `
  proxyCli plan deploy.json
  proxyCli deploy -plan ./example/hello`,
		Args: atLeastOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			steps, err := a.readDefinitions(ctx, args)
			if err == nil && prune {
				err = prunable(steps)
			}
			if err != nil {
				return err
			}
			entries := entriesOf(steps)
			if len(entries) == 0 {
				return proto.Errorf(proto.ErrInvalid, "%s: there is no section deploy to plan", strings.Join(args, ", "))
			}
			p := a.startProgress()
			defer p.stop()
			if err := a.checkEntries(cmd.Context(), entries, p); err != nil {
				return err
			}
			var surplus []*proto.FunctionJsonRsp
			if prune {
				if surplus, err = a.surplus(ctx, steps); err != nil {
					return err
				}
			}
			return a.plan(ctx, entries, p, surplus...)
		},
	}
	a.overlayFlag(cmd)
	cmd.Flags().BoolVar(&prune, "prune", false, "print, too, what def -prune would remove")
	return cmd
}

// plan prints what a deploy of entries that have been checked would change, and which
// functions would be removed.
func (a *app) plan(ctx context.Context, entries []*entry, p *progress, surplus ...*proto.FunctionJsonRsp) error {
	for _, e := range entries {
		e.fn.Plan = true
	}
	rows, err := a.submit(ctx, entries, p)
	if err != nil {
		return err
	}
	for _, r := range surplus {
		r.Change = "remove"
		rows = append(rows, r)
	}
	if a.output == "json" {
		err = printList(a, rows)
	} else {
		err = a.printPlan(rows)
	}
	if err != nil {
		return err
	}
	// A row that is planned may be of a function that has failed; its error is old.
	unplanned := slices.DeleteFunc(rows, func(r *proto.FunctionJsonRsp) bool { return r.GetChange() != "" })
	a.reportRows(unplanned, nil)
	switch {
	case len(unplanned) == 0:
		return nil
	case len(unplanned) < len(rows):
		return reported(exitPartly)
	}
	return reported(rowsCode(unplanned))
}

func (a *app) printPlan(rows []*proto.FunctionJsonRsp) error {
	table := [][]string{{"FUNCTION", "AGENT", "CHANGE", "PACKAGE", "SETTINGS"}}
	drifts := slices.ContainsFunc(rows, func(r *proto.FunctionJsonRsp) bool { return r.GetDrift() != "" })
	if drifts {
		table[0] = append(table[0], "DRIFT")
	}
	for _, r := range rows {
		pkg := ""
		if change := r.GetChange(); change == "create" || change == "code" {
			pkg = short(r.GetPackage())
		}
		settings := slices.DeleteFunc(slices.Clone(r.GetChanged()), func(name string) bool { return name == "package" })
		line := []string{r.GetName(), r.GetAtAgent(), r.GetChange(), pkg, strings.Join(settings, ",")}
		if drifts {
			line = append(line, r.GetDrift())
		}
		table = append(table, line)
	}
	return a.printTable(table, "PACKAGE")
}
