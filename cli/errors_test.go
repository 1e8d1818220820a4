package cli

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

var write = flag.Bool("write", false, "write docs/errors.md anew")

// errorsPage is docs/errors.md.
func errorsPage() string {
	var b strings.Builder
	b.WriteString("# What errors mean\n\n<!-- written by go generate ./cli -->\n\n" +
		"Errors over HTTP are JSON, `{\"error\": {\"code\", \"message\", \"hint\", \"component\", \"reason\", \"requestId\"}}`; those of gRPC have the same in their details.\n" +
		"`proxyCli help errors` prints this page, and `proxyCli help errors WORD` what one word means.\n")
	for _, group := range explained {
		b.WriteString("\n## " + group.title + "\n\n" + group.intro + "\n\n| | means | what to do |\n| --- | --- | --- |\n")
		for _, e := range group.list {
			b.WriteString("| `" + group.name(e) + "` | " + e.Meaning + " | " + e.Way + " |\n")
		}
	}
	return b.String()
}

func TestTheDocsListTheErrors(t *testing.T) {
	const file = "../docs/errors.md"
	if *write {
		require.NoError(t, os.WriteFile(file, []byte(errorsPage()), 0o644))
		return
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, errorsPage(), string(text), "go generate ./cli writes it anew")
}

// Whatever the code says in an error is explained, and nothing else.
func TestAllErrorsAreExplained(t *testing.T) {
	constants := func(file, prefix string) (values []string) {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if ok && strings.HasPrefix(v.Names[0].Name, prefix) && len(v.Values) == 1 {
				if lit, ok := v.Values[0].(*ast.BasicLit); ok {
					value, err := strconv.Unquote(lit.Value)
					require.NoError(t, err)
					values = append(values, value)
				}
			}
			return true
		})
		return values
	}
	words := func(list []proto.Explanation) (all []string) {
		for _, e := range list {
			all = append(all, strings.TrimSpace(e.Component+" "+e.Word))
			assert.NotEmpty(t, e.Meaning, e.Word)
			assert.NotEmpty(t, e.Way, e.Word)
			assert.NotContains(t, e.Meaning+e.Way, "|")
		}
		return all
	}
	assert.ElementsMatch(t, constants("../proto/errors.go", "Err"), words(proto.Codes))
	assert.ElementsMatch(t, constants("../proto/status.go", "Reason"), words(proto.RowReasons))

	said := map[string]bool{}
	from := regexp.MustCompile(`\.From\("(\w+)", (?:"(\w+)"|string\(proto\.Err(\w+)\)|proto\.Reason(\w+)|wire\.Reason(\w+))\)`)
	for _, folder := range []string{"../proxy", "../remote", "../transport"} {
		require.NoError(t, filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "transporttest") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range from.FindAllStringSubmatch(string(text), -1) {
				said[m[1]+" "+strings.ToLower(m[2]+m[3]+m[4]+m[5])] = true
			}
			return err
		}))
	}
	assert.Greater(t, len(said), 25)
	explained := words(proto.CallReasons)
	for what := range said {
		assert.Contains(t, explained, what)
	}
	for _, what := range explained { // one is chosen from a variable
		assert.True(t, said[what] || what == "agent behind", what)
	}
}

func TestHelpExplainsErrors(t *testing.T) {
	c := newConsole(false)
	require.Equal(t, exitOK, c.run(t.Context(), []string{"help", "errors"}), c.stderr.String())
	for _, want := range []string{"invalid (400, InvalidArgument)", "gateway queued", "rollout"} {
		assert.Contains(t, c.stdout.String(), want)
	}
	c = newConsole(false)
	require.Equal(t, exitOK, c.run(t.Context(), []string{"help", "errors", "stalled"}))
	assert.Contains(t, c.stdout.String(), "stalled (408, DeadlineExceeded)")
	assert.Contains(t, c.stdout.String(), "caller stalled")
	assert.NotContains(t, c.stdout.String(), "invalid (")
	c = newConsole(false)
	assert.Equal(t, exitUsage, c.run(t.Context(), []string{"help", "errors", "staled"}))
	assert.Contains(t, c.stderr.String(), `did you mean "stalled"?`)
}
