package docs

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each file is a page, and each page has a title and a text.
func TestPages(t *testing.T) {
	files, err := filepath.Glob("*.md")
	require.NoError(t, err)
	var want, got []string
	for _, file := range files {
		want = append(want, strings.TrimSuffix(file, ".md"))
	}
	for _, p := range Pages {
		got = append(got, p.Name)
		assert.True(t, strings.HasPrefix(string(p.Text), "# "+p.Title+"\n"), p.Name)
		assert.NotEmpty(t, p.Title, p.Name)
	}
	assert.ElementsMatch(t, want, got)
}
