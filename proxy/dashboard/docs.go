package dashboard

import (
	"bytes"
	"html/template"
	"path"
	"strings"
	"sync"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"

	"github.com/Ishan27g/ryo-faas/docs"
	"github.com/Ishan27g/ryo-faas/proto"
)

const docsPath = Path + "docs/"

// docsBody is a page of the documentation, or the list of them.
type docsBody struct {
	Kinds    []docsKind
	Name     string // of the page; "": this is the list
	Sections []docsSection
	HTML     template.HTML
}

type docsKind struct {
	Title string
	Pages []docs.Page
}

type docsSection struct{ ID, Title string }

// docsKinds are the pages by what they are for.
var docsKinds = sync.OnceValue(func() (kinds []docsKind) {
	for _, p := range docs.Pages {
		if n := len(kinds); n == 0 || kinds[n-1].Title != string(p.Kind) {
			kinds = append(kinds, docsKind{Title: string(p.Kind)})
		}
		last := &kinds[len(kinds)-1]
		last.Pages = append(last.Pages, p)
	}
	return kinds
})

// docsBodies are the pages by name. They are made when one is first asked for.
var docsBodies = sync.OnceValues(func() (map[string]docsBody, error) {
	markdown := goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(parser.WithAutoHeadingID()))
	bodies := map[string]docsBody{}
	for _, p := range docs.Pages {
		body := docsBody{Name: p.Name}
		tree := markdown.Parser().Parse(text.NewReader(p.Text))
		err := ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			if !entering {
				return ast.WalkContinue, nil
			}
			switch n := n.(type) {
			case *ast.Link:
				n.Destination = []byte(docsLink(string(n.Destination)))
			case *ast.Heading:
				if id, ok := n.AttributeString("id"); ok && n.Level == 2 {
					body.Sections = append(body.Sections, docsSection{string(id.([]byte)), string(n.Lines().Value(p.Text))})
				}
			}
			return ast.WalkContinue, nil
		})
		if err != nil {
			return nil, err
		}
		var out bytes.Buffer
		if err := markdown.Renderer().Render(&out, p.Text, tree); err != nil {
			return nil, err
		}
		body.HTML = template.HTML(scrolled.Replace(out.String())) //nolint:gosec // the text is ours, and HTML in it is left out
		bodies[p.Name] = body
	}
	return bodies, nil
})

// scrolled lets tables be wider than a telephone, for the keyboard too.
var scrolled = strings.NewReplacer("<table>", `<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>`, "</table>", "</table></div>")

// docsLink returns where a link of a page leads here: to a page, or else to the repository.
func docsLink(to string) string {
	if strings.HasPrefix(to, "#") || strings.Contains(to, "://") {
		return to
	}
	file, section, _ := strings.Cut(to, "#")
	if section != "" {
		section = "#" + section
	}
	if name, ok := strings.CutSuffix(file, ".md"); ok && !strings.Contains(name, "/") {
		return docsPath + name + section
	}
	return docs.Repository + path.Join("docs", file) + section
}

// docsPage shows a page of the documentation, or the list of them.
func (d *Dashboard) docsPage(v *visit) error {
	bodies, err := docsBodies()
	if err != nil {
		return err
	}
	name := v.r.PathValue("page")
	if name == "" {
		return d.show(v, "docs", page{Title: "Documentation", At: "docs", Body: docsBody{Kinds: docsKinds()}})
	}
	for _, p := range docs.Pages {
		if p.Name == name {
			return d.show(v, "docs", page{Title: p.Title, At: "docs", Body: bodies[name]})
		}
	}
	return proto.Errorf(proto.ErrNotFound, "there is no page %.100q", name).WithHint(docsPath + " lists all")
}
