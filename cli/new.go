package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/Ishan27g/ryo-faas/cli/scaffold"
)

func (a *app) newCommand() *cobra.Command {
	var names []string
	var list strings.Builder
	for _, t := range scaffold.Templates {
		names = append(names, t.Name)
		fmt.Fprintf(&list, "  %-8s%s\n", t.Name, t.Does)
	}
	var template string
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "makes the folder of a new function",
		Long: `
Makes the folder NAME, which must not exist or be empty, with a source, a test, a
deploy.json, a go.mod and a .ryoignore, and prints the files. The function
is called as the folder: blur-images has the function BlurImages. Nothing is sent. Templates:

` + list.String(),
		Example: `
  proxyCli new hello
  proxyCli new -template json resize-image`,
		Args: exactlyOne("NAME"),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.makeNew(args[0], template)
		},
	}
	cmd.Flags().StringVar(&template, "template", names[0], "`"+strings.Join(names, "|")+"` what to begin with (default "+names[0]+")")
	offer(cmd, "template", names...)
	return cmd
}

func (a *app) makeNew(dir, template string) error {
	made, err := scaffold.Make(dir, template)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return a.printJSON(made)
	}
	for _, file := range made.Files {
		fmt.Fprintln(a.stdout, filepath.Join(dir, filepath.FromSlash(file)))
	}
	a.note("next: proxyCli dev %[1]s serves it while you edit; proxyCli deploy %[1]s deploys it, and proxyCli %[2]s tries it", quoted(dir), made.Try)
	return nil
}

// quoted is a word of a command line for a shell.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./~", r) || r > 127
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
