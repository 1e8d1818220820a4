package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/internal/flags"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "prints the version of this program",
		Args:  none,
		RunE:  func(*cobra.Command, []string) error { return a.printVersion() },
	}
}

func (a *app) printVersion() error {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if a.output == "json" {
		return a.printJSON(map[string]string{"version": flags.Version(), "go": runtime.Version(), "platform": platform})
	}
	_, err := fmt.Fprintf(a.stdout, "proxyCli %s %s %s\n", flags.Version(), runtime.Version(), platform)
	return err
}
