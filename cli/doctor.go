package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/internal/doctor"
	"github.com/Ishan27g/ryo-faas/proto"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "finds what is wrong here and at the proxy",
		Long: `
Looks at this machine and at the proxy or agent of -proxy: the go command, versions,
clocks, what they say of their agents, toolchains, caches and isolation. Each finding
that is not good has a way out. It exits with 0 only if all is good.

agent doctor and proxy doctor, on their machines, look at what lies there: folders,
disks, ports, and the layers of the kernel.`,
		Example: `
  proxyCli doctor
  proxyCli doctor -proxy host-a:9000 -o json`,
		Args: noArgument,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := a.examine(cmd.Context())
			for i := range report {
				report[i].Says, report[i].Remedy = clean(report[i].Says), clean(report[i].Remedy)
			}
			write := report.Text
			if a.output == "json" {
				write = report.JSON
			}
			if err := write(a.stdout); err != nil {
				return err
			}
			if !report.Well() {
				return reported(exitOther)
			}
			return nil
		},
	}
}

func (a *app) examine(ctx context.Context) doctor.Report {
	toolchain, _ := doctor.Toolchain(ctx, "dev and check -vuln need it, and private modules of functions are not found without it")
	report := doctor.Report{doctor.Version("proxyCli"), toolchain}
	client := a.dial()
	defer func() { _ = client.Close() }()
	about, err := client.About(ctx)
	if err != nil {
		e := proto.AsError(err)
		remedy := e.Hint
		if remedy == "" {
			remedy = "start it, or name another one with -proxy; proxy doctor on its machine says what is wrong there"
		}
		return append(report, doctor.Badly("server", remedy, "%s", e.Message))
	}
	return append(report, doctor.Server("server", a.proxy, about)...)
}
