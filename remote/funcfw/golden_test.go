package funcfw_test

import (
	"flag"
	"go/format"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// lineComment is a comment that gofmt would move.
var lineComment = regexp.MustCompile(` ?(/\*line [^*]+\*/) ?`)

// golden holds a generated file to what is kept.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	at := filepath.Join("testdata", name+".golden")
	if *update {
		require.NoError(t, os.WriteFile(at, got, 0o644))
	}
	want, err := os.ReadFile(at)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

// isPretty holds a file to gofmt.
func isPretty(t *testing.T, text []byte) {
	t.Helper()
	pretty, err := format.Source(text)
	require.NoError(t, err)
	tight := func(text []byte) string { return lineComment.ReplaceAllString(string(text), "$1") }
	assert.Equal(t, tight(pretty), tight(text))
}

// The generated files are read by people who look for a mistake, so each is kept
// as it is to be.
func TestGoldenMains(t *testing.T) {
	for name, decl := range map[string]string{
		"http":       handler,
		"cloudevent": "func F(ctx context.Context, e cloudevents.Event) error { return nil }",
		"event":      "type E struct{}\n\nfunc F(ctx context.Context, e E) error { return nil }",
		"typed":      "func F(ctx context.Context, in string) (string, error) { return in, nil }",
		"gin":        "func F(c *gin.Context) {}",
		"declared":   "func init() { functions.HTTP(\"F\", f) }",
	} {
		for _, pkg := range []string{"p", "main"} {
			t.Run(name+" in "+pkg, func(t *testing.T) {
				g, err := generate(t, files{
					"go.mod": "module a.b/c\n\nrequire github.com/gin-gonic/gin v1.12.0\n",
					"p/a.go": strings.Replace(kinds(decl+"\n\nfunc Ffff(*gin.Context) {}"), "package p", "package "+pkg, 1),
				}, "p", "F", linux)
				require.NoError(t, err)
				text := g.Overlay[map[string]string{"p": generatedMain, "main": "p/a.go"}[pkg]]
				golden(t, name+"_"+pkg, text)
				if pkg == "p" {
					isPretty(t, text)
				}
			})
		}
	}
}
