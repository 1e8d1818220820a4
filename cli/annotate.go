package cli

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The values of -error-format.
const (
	errorText   = "text"
	errorGitHub = "github-actions"
)

// annotate prints an error as GitHub Actions show it beside the source, if that is asked
// for: a line for each place that text names below roots, and else one for all of it. See
// https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
// They go to stderr, where a runner finds them as well: stdout is for data.
func (a *app) annotate(what, text string, roots []string) {
	if a.errorFormat != errorGitHub {
		return
	}
	title := "title=" + propertyValue(what)
	found := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		p, ok := spotOf(line, roots)
		if !ok {
			continue
		}
		found = true
		at := fmt.Sprintf("file=%s,line=%d", propertyValue(inRepository(p.file)), p.row)
		if p.col > 0 {
			at += fmt.Sprintf(",col=%d", p.col)
		}
		fmt.Fprintf(a.stderr, "::error %s,%s::%s\n", at, title, commandData(line[p.text:]))
	}
	if !found {
		fmt.Fprintf(a.stderr, "::error %s::%s\n", title, commandData(cmp.Or(strings.TrimSpace(text), what)))
	}
}

// inRepository is a path as GitHub knows it: from the root of the checkout, which
// GITHUB_WORKSPACE names.
func inRepository(file string) string {
	abs, err := filepath.Abs(file)
	if err != nil {
		return filepath.ToSlash(file)
	}
	if root := os.Getenv("GITHUB_WORKSPACE"); root != "" {
		if rel, err := filepath.Rel(root, abs); err == nil && filepath.IsLocal(rel) {
			return filepath.ToSlash(rel)
		}
	}
	return filepath.ToSlash(shorten(abs))
}

// commandData and propertyValue write text so that it ends no command of GitHub's, and
// begins none: as its own toolkit does.
func commandData(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s)
}

func propertyValue(s string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(s)
}
