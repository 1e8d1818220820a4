package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/proto"
)

func (a *app) openCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "open NAME",
		Short: "opens a function in the browser, and prints its url",
		Long: `
Prints the function's url and opens it in this machine's browser. Where there is none, as on
a server, the url alone is printed. NAME@3 is version 3.`,
		Example:           "\n  proxyCli open HelloWorld",
		Args:              exactlyOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := a.functionURL(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if a.output == "json" {
				err = a.printJSON(map[string]string{"url": at})
			} else {
				_, err = fmt.Fprintln(a.stdout, a.printed(at))
			}
			if err != nil {
				return err
			}
			return a.browse(cmd.Context(), at)
		},
	}
}

// openers are the programs that open an address in the user's browser.
var openers = map[string][]string{
	"darwin":  {"open"},
	"windows": {"rundll32", "url.dll,FileProtocolHandler"},
}

// browse opens an address that a server has told. The absence of a browser is no error.
func (a *app) browse(ctx context.Context, at string) error {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return proto.Errorf(proto.ErrInvalid, "%q, which the server says, is no address of a page", at)
	}
	opener, ok := openers[runtime.GOOS]
	if !ok {
		opener = []string{"xdg-open"}
	}
	cmd := exec.CommandContext(ctx, opener[0], append(opener[1:], u.String())...)
	switch err := cmd.Run(); {
	case errors.Is(err, exec.ErrNotFound):
		a.note("no browser is opened: this machine has no %s", opener[0])
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		a.note("no browser is opened: %s: %v", opener[0], err)
	}
	return nil
}
