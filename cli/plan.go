package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
)

func (a *app) planCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plan FILE…",
		Short: "says what the deploys of definition files would change",
		Long: `
Changes nothing and uploads nothing. It prints one line for each function and agent:
whether a deploy would create the function, change its code or settings, or change
nothing, with the digest of the new package and the names of the settings that
change. Sections other than deploy are ignored.`,
		Example: `
  proxyCli plan deploy.json
  proxyCli deploy -plan ./example/hello`,
		Args: atLeastOne("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			steps, err := a.readDefinitions(ctx, args)
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
			return a.plan(ctx, entries, p)
		},
	}
}

// plan prints what a deploy of entries that have been checked would change.
func (a *app) plan(ctx context.Context, entries []*entry, p *progress) error {
	for _, e := range entries {
		e.fn.Plan = true
	}
	rows, err := a.submit(ctx, entries, p)
	if err != nil {
		return err
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
	for _, r := range rows {
		pkg := ""
		if change := r.GetChange(); change == "create" || change == "code" {
			pkg = short(r.GetPackage())
		}
		settings := slices.DeleteFunc(slices.Clone(r.GetChanged()), func(name string) bool { return name == "package" })
		table = append(table, []string{r.GetName(), r.GetAtAgent(), r.GetChange(), pkg, strings.Join(settings, ",")})
	}
	return a.printTable(table, "PACKAGE")
}
