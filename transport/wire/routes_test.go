package wire

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inner are the requests that proxies and agents alone make of each other, and programs
// that upload what they deploy: the docs do not tell people of them.
var inner = []string{
	"/wake", "/place", "/resize", "/build", "/programs/:key", "/agents/join", "/agents/renew",
}

// What people may call over HTTP stands in the table of docs/api.md, and nothing else does.
func TestTheDocsHaveTheRoutes(t *testing.T) {
	data, err := os.ReadFile("../../docs/api.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(data), "\n| call | answers |\n")
	table, _, found := strings.Cut(table, "\n\n")
	require.True(t, found)
	told := map[string]bool{}
	for row := range strings.Lines(table) {
		calls, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		for _, path := range regexp.MustCompile(`/[a-z]+(/[a-z]+|/ID|/\{digest\})?`).FindAllString(calls, -1) {
			told[path] = true
		}
	}
	known := map[string]bool{}
	for _, rt := range Routes {
		path := strings.NewReplacer(":digest", "{digest}", ":id", "ID").Replace(rt.Path)
		known[path] = true
		assert.NotEqual(t, slices.Contains(inner, rt.Path), told[path], rt.Path)
	}
	for path := range told {
		switch path {
		case "/functions", "/async", "/results/ID", "/events", "/hooks", "/metrics", "/sd", "/ui", "/openapi", "/healthz", "/readyz": // not of the table of routes
		default:
			assert.True(t, known[path], "there is no %s", path)
		}
	}
}
