package dashboard_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/docs"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// The page of the API has each call and each object of the document, and links between them.
func TestThePageOfTheAPIHasAllOfIt(t *testing.T) {
	s := newSite(t, server.Mount{Path: "/functions/", Scope: wire.ScopeInvoke, Does: "calls a function", Handler: http.NotFoundHandler()})
	s.deploy("Hello")
	b := s.browser(false)
	rsp, page := b.get("/ui/api")
	require.Equal(t, http.StatusOK, rsp.StatusCode)
	rsp, text := b.get("/openapi.json")
	require.Equal(t, http.StatusOK, rsp.StatusCode)
	var doc struct {
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct{ Schemas map[string]struct{} }
	}
	require.NoError(t, json.Unmarshal([]byte(text), &doc))
	assert.Contains(t, doc.Paths, "/deploy")
	for path, methods := range doc.Paths {
		assert.Contains(t, page, "</b> "+path+"</span>")
		for method, op := range methods {
			_, read := methods["get"]
			if method == "post" || method == "delete" && !strings.HasPrefix(path, "/functions/") || method == "head" && !read {
				assert.Contains(t, page, `<div id="`+op.OperationID+`">`, "%s %s", method, path)
			}
		}
	}
	assert.Contains(t, page, "<b>ANY</b> /functions/{name}<")
	assert.Contains(t, page, "<b>ANY</b> /functions/hello<")
	assert.Contains(t, page, "<b>HEAD</b> /packages/{digest}<")
	for name := range doc.Components.Schemas {
		assert.Contains(t, page, `<div id="`+name+`">`)
	}
	for _, m := range regexp.MustCompile(`<a href="#([^"]+)"`).FindAllStringSubmatch(page, -1) {
		assert.Contains(t, page, ` id="`+m[1]+`"`)
	}
	assert.Contains(t, page, `list of <a href="#FunctionJsonRsp">FunctionJsonRsp</a>`)

	stranger := s.browser(true)
	stranger.signIn(s.token(wire.ScopeInvoke))
	rsp, _ = stranger.get("/ui/api")
	assert.Equal(t, http.StatusForbidden, rsp.StatusCode)
}

// Everybody may read the documentation, whose links lead to sections that are there.
func TestDocumentation(t *testing.T) {
	s := newSite(t)
	b := s.browser(true) // without a token
	rsp, list := b.get("/ui/docs/")
	assert.Equal(t, http.StatusOK, rsp.StatusCode)
	pages := map[string]string{}
	for _, p := range docs.Pages {
		assert.Contains(t, list, `<a href="/ui/docs/`+p.Name+`">`)
		rsp, page := b.get("/ui/docs/" + p.Name)
		assert.Equal(t, http.StatusOK, rsp.StatusCode, p.Name)
		assert.Contains(t, page, "<article><h1 ", p.Name)
		pages[p.Name] = page
	}
	assert.Contains(t, pages["settings"], "<td><code>memory</code></td>")
	assert.Contains(t, pages["tutorial"], "github.com/Ishan27g/ryo-faas/blob/main/README.md")
	links := 0
	for name, page := range pages {
		_, article, _ := strings.Cut(page, "<article>")
		for _, m := range regexp.MustCompile(`<a href="([^"]+)"`).FindAllStringSubmatch(article, -1) {
			to, id, _ := strings.Cut(m[1], "#")
			target := page
			if to != "" {
				var ok bool
				if target, ok = pages[strings.TrimPrefix(to, "/ui/docs/")]; !ok {
					assert.True(t, strings.HasPrefix(to, "https://") || to == "/ui/docs/", "%s links to %s", name, m[1])
					continue
				}
			}
			if links++; id != "" {
				assert.Contains(t, target, ` id="`+id+`"`, "%s links to %s", name, m[1])
			}
		}
	}
	assert.Greater(t, links, 30)

	rsp, page := b.get("/ui/docs/nothing")
	assert.Equal(t, http.StatusNotFound, rsp.StatusCode)
	assert.Contains(t, page, "there is no page &#34;nothing&#34;")

	own := s.browser(false)
	_, page = own.get("/ui/docs/calls")
	assert.Contains(t, page, `href="/ui/agents"`, "who may more sees where it is")
}
