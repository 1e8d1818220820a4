// Package docs holds the pages of this folder, so that a proxy can show them where there is
// no internet. It must not know how they are shown.
package docs

import (
	"embed"
	"strings"
)

// Repository is where files are that links of pages lead to besides pages.
const Repository = "https://github.com/Ishan27g/ryo-faas/blob/main/"

//go:embed *.md
var files embed.FS

// Kind says what a page is for.
type Kind string

// The kinds.
const (
	Learn  Kind = "To learn"
	Do     Kind = "To do"
	LookUp Kind = "To look up"
)

// Page is one page, in GitHub's form of Markdown. Its first line is its title. Links are
// relative to this folder: "calls.md#later", "../SECURITY.md".
type Page struct {
	Name  string // of its file, without .md
	Title string
	Kind  Kind
	Text  []byte
}

// Pages are all pages, in the order in which a reader may take them.
var Pages = read(map[Kind][]string{
	Learn:  {"tutorial", "concepts", "life", "calls", "scale", "figures", "conformance"},
	Do:     {"install", "functions", "dev", "deploy", "ci", "hooks", "events", "machines", "online", "observe", "migrate"},
	LookUp: {"settings", "api", "errors", "limits", "access", "isolation"},
})

func read(names map[Kind][]string) (pages []Page) {
	for _, kind := range []Kind{Learn, Do, LookUp} {
		for _, name := range names[kind] {
			text, _ := files.ReadFile(name + ".md") // a test reads them all
			title, _, _ := strings.Cut(string(text), "\n")
			pages = append(pages, Page{name, strings.TrimPrefix(title, "# "), kind, text})
		}
	}
	return pages
}
