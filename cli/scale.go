package cli

import (
	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) scaleCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "scale NAME N|N-M|all",
		Short: "changes on how many agents a function is",
		Long: `
The proxy chooses the agents: those that have the function stay, further ones are spread
over machines. all stands for each agent that may have it, new ones too, and 1-4 for one to
four, as many as its calls need: that takes the setting max. The function is ready on further
agents before it leaves others.`,
		Example: "\n  proxyCli scale HelloWorld 3\n  proxyCli scale HelloWorld 1-4",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef(cmd, "%s needs a NAME and how many agents are to have it: a number, two such as 1-4, or all", cmd.Name())
			}
			return notBlank(cmd, "NAME", args)
		},
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := proto.ParseReplicas(args[1]); err != nil {
				return usagef(cmd, "%s", err)
			}
			rows, err := answer(a, func(client *transport.Client) ([]*proto.FunctionJsonRsp, error) {
				return client.Scale(cmd.Context(), args[0], args[1])
			})
			if err != nil {
				return err
			}
			if err := a.printRows(rows); err != nil {
				return err
			}
			a.reportRows(rows, nil)
			for _, r := range rows {
				r.Replicas = args[1] // an agent that does not answer has not heard of it
			}
			a.noteMissing(rows)
			return nil
		},
	}
}

// noteMissing says of which functions, whose agents the proxy has chosen, fewer agents have
// one than should. The rows are all that there are of them.
func (a *app) noteMissing(rows []*proto.FunctionJsonRsp) {
	have := map[string]int{}
	for _, r := range rows {
		have[r.GetName()]++
	}
	for _, r := range rows {
		wanted, err := proto.ParseReplicas(r.GetReplicas())
		if n := have[r.GetName()]; err == nil && n > 0 && n < wanted.Least {
			a.note("%s: %d of %d replicas have an agent; the others wait for agents that can have them", r.GetName(), n, wanted.Least)
		}
		have[r.GetName()] = 0
	}
}
