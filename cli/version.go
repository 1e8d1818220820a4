package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/internal/flags"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "prints the version of this program",
		Args:  noArgument,
		RunE:  func(*cobra.Command, []string) error { return a.printVersion() },
	}
}

func (a *app) printVersion() error {
	if a.output == "json" {
		return a.printJSON(flags.ThisBuild())
	}
	_, err := fmt.Fprintf(a.stdout, "proxyCli %s\n", flags.ThisBuild())
	return err
}
