package remote

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/bundle"
)

// layout is one way to lay a project out. Its archive begins with what it shows
// and lines such as "says: hi"; an indented line goes on with the one before.
type layout struct {
	dir     string // the package's folder
	says    string // what the function Fn answers
	refused string // or why it is refused, up to the hint
	tags    []string
	ldflags string
	include []string
	private string // modules that lie in the folder modcache, as in a module cache
	files   []txtar.File
}

func readLayout(t *testing.T, file string) layout {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	require.NoError(t, err)
	l := layout{files: archive.Files}
	lines := bufio.NewScanner(bytes.NewReader(archive.Comment))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "dir":
			l.dir = value
		case "says":
			l.says = value
		case "refused":
			l.refused = value
		case "tags":
			l.tags = strings.Fields(value)
		case "ldflags":
			l.ldflags = value
		case "private":
			l.private = value
		case "include":
			l.include = strings.Fields(value)
		}
	}
	return l
}

// write lays the project out in a new folder.
func (l layout) write(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for _, f := range l.files {
		name := filepath.Join(root, filepath.FromSlash(f.Name))
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o700))
		require.NoError(t, os.WriteFile(name, f.Data, 0o600))
	}
	return root
}

// Every project is built without a network. What it takes from other modules
// comes with it.
func TestLayouts(t *testing.T) {
	if testing.Short() {
		t.Skip("long, and shorter tests run the same code")
	}
	t.Setenv("GOPROXY", "off")
	a := start(t, t.TempDir())
	files, err := filepath.Glob("testdata/layouts/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			l := readLayout(t, file)
			root := l.write(t)
			// As a client does that packs for the agent.
			a.store.Private = bundle.Modules{Cache: filepath.Join(root, "modcache"), Private: l.private}
			rows, err := a.Deploy(t.Context(), &proto.FunctionJson{
				Name: "Fn", Dir: filepath.Join(root, l.dir), Wait: true,
				Tags: l.tags, Ldflags: l.ldflags, Include: l.include,
			})
			if l.refused != "" && err != nil { // before it was accepted
				assert.Contains(t, err.Error(), l.refused)
				assert.NotEmpty(t, proto.AsError(err).Hint)
				return
			}
			require.NoError(t, err)
			if l.refused != "" {
				assert.Equal(t, string(proto.Failed), rows[0].GetStatus())
				assert.Contains(t, rows[0].GetError(), l.refused)
				return
			}
			require.Equal(t, string(proto.Deployed), rows[0].GetStatus(), rows[0].GetError())
			assertSays(t, l.says, rows[0].GetUrl())
		})
	}
}
