package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) upCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "starts an agent and a proxy here, until Ctrl-C",
		Long: `
Starts the programs agent and proxy, which lie beside this one or in the PATH, for this
machine alone: the agent on localhost:9000, the proxy on localhost:9001 and :9002. Their
messages go to stderr. Ctrl-C stops both, and the functions; with the next up they are there
again.

Their settings can be given as environment variables (agent -help and proxy -help list them),
such as RYO_HTTP=:8080. For several machines, and for a machine that serves others, start
agent and proxy by themselves.`,
		Example: "\n  proxyCli up",
		Args:    noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.up(cmd.Context(), dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`FOLDER` for what both keep (RYO_DIR, default ~/.local/state/ryo-faas)")
	return cmd
}
