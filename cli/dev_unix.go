//go:build unix

package cli

import (
	"cmp"
	"path/filepath"

	"github.com/spf13/cobra"
	pb "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/cli/dev"
	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
)

// dev serves what fn says until the command is interrupted.
func (a *app) dev(cmd *cobra.Command, fn *proto.FunctionJson, listen string) error {
	fn.Complete()
	settings := pb.CloneOf(fn)
	settings.Name = cmp.Or(fn.GetName(), "Any")
	if err := settings.Check(); err != nil {
		return err
	}
	e := &entry{fn: fn}
	if err := e.find(); err != nil {
		return err
	}
	if fn.GetName() == "" && fn.GetKind() != "" { // it is that of one function
		var err error
		if fn.Name, err = a.onlyFunction(e); err != nil {
			return err
		}
	}
	folder := shorten(fn.GetDir())
	if folder == "." {
		folder = filepath.Base(fn.GetDir())
	}
	listener, err := flags.Listen("listen", listen)
	if err != nil {
		return err
	}
	err = dev.Run(cmd.Context(), dev.Config{
		Function: fn,
		Shown:    folder,
		Listener: listener,
		Host:     flags.Shown(listen, listener, "localhost"),
		Output:   a.stdout,
		Say:      func(text string) { a.note("%s", text) },
		Report: func(t *dev.Trouble) string {
			var roots []string
			if t.Root != "" {
				roots = []string{t.Root}
			}
			a.complain(t.What, t.Text, t.Hint, roots)
			return complaint(t.What, t.Text, t.Hint, roots, unpainted, 0)
		},
	})
	if err == nil {
		return reported(exitInterrupted) // nothing else stops it
	}
	return err
}
