//go:build unix

package cli

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	pb "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/cli/dev"
	"github.com/Ishan27g/ryo-faas/internal/flags"
	"github.com/Ishan27g/ryo-faas/proto"
)

// dev serves what fn says until the command is interrupted.
func (a *app) dev(cmd *cobra.Command, fn *proto.FunctionJson, listen string, noReload bool) error {
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
		NoReload: noReload,
		Called:   a.tellCall,
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

// tellCall prints a call that dev has served, unless -quiet.
func (a *app) tellCall(c dev.Call) {
	if !a.quiet {
		_, _ = fmt.Fprintln(a.stderr, callLine(c, a.painter(a.stderr), a.width(a.stderr)))
	}
}

// callLine is a call in columns. The path comes last, since it has any length; it is cut
// to the width.
func callLine(c dev.Call, paint painter, width int) string {
	status, colour := strconv.Itoa(c.Status), green
	switch {
	case c.Status == 0:
		status, colour = "---", faint
	case c.Status >= 500:
		colour = red
	case c.Status >= 400:
		colour = yellow
	case c.Status >= 300:
		colour = cyan
	}
	took := fmt.Sprintf("%8s", brief(c.Took))
	method := fmt.Sprintf("%-6s", clean(c.Method))
	rest := clean(c.Target)
	switch {
	case c.Status == 0:
		rest += "  (the caller left)"
	case c.CutOff:
		rest += "  (cut off)"
	}
	before := c.Began.Format(time.TimeOnly) + "  " + method + "  "
	if width > 0 {
		width = max(20, width-len(before)-len("200  ")-len(took)-2)
	}
	return paint(faint, c.Began.Format(time.TimeOnly)) + "  " + method + "  " + paint(colour, status) + "  " + took + "  " + cutTo(rest, width)
}

// brief is a duration in three or four digits.
func brief(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
