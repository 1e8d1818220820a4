package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
)

func (a *app) devCommand() *cobra.Command {
	fn := &proto.FunctionJson{}
	var listen string
	var noReload bool
	cmd := &cobra.Command{
		Use:   "dev [DIR]",
		Short: "serves the functions of a folder here, as you edit them",
		Long: `
Builds the package in DIR (default: the working directory) with the go command of
this machine and serves its functions at http://localhost:8080/functions/NAME. Each
time you save a source file it builds and serves again. Errors of the check and of
the compiler are printed here, and callers get them until they are corrected. Each
call is printed when it ends, unless -q: its time, method, status, duration and path.

A page that is open in a browser loads itself anew when a save is served, and shows the
error of one that is not. Answers of type text/html get a script for that, where a
browser navigates to them.

No proxy and no agent is asked. A function sees the variables of -env and those that
an agent sets, but not the variables of this shell. What it prints goes to stdout.`,
		Example: `
  proxyCli dev ./example/hello
  proxyCli dev -name HelloWorld -env GREETING=hi -listen localhost:8081 ./hello`,
		Args: atMostOne("DIR"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if fn.Dir, err = filepath.Abs(strings.Join(args, "")); err != nil {
				return err
			}
			return a.dev(cmd, fn, listen, noReload)
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&fn.Name, "name", "", "`NAME` serve this function alone (default: all that the package has)")
	fs.StringVar(&listen, "listen", "localhost:8080", "`ADDR` where to serve, host:port; port 0 takes a free one (default localhost:8080)")
	fs.BoolVar(&noReload, "no-reload", false, "leave pages as they are")
	settingFlags(fs, fn, nil, "env", "tags", "ldflags", "kind", "target")
	return cmd
}
