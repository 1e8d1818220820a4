package build

import (
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSourceIsWhatABuildReads(t *testing.T) {
	const plain = "package p\n"
	for name, c := range map[string]struct {
		embeds  string // of p/p.go
		also    string // a further file
		in, out string // files that the source is of, and that it is not of
	}{
		"by name": {
			in:  "p/p.go q/q.go p/p_test.go p/x.h p/x.syso go.mod q/go.sum go.work go.work.sum vendor/modules.txt vendor/v/v.go",
			out: "README.md p/data.json vendor/v/LICENSE p/go.mod.bak",
		},
		"a file":            {embeds: "//go:embed a.txt", in: "p/a.txt", out: "p/b.txt a.txt q/a.txt p/sub/a.txt"},
		"in a group":        {embeds: "var (\n\t//go:embed a.txt\n\tx string\n)", in: "p/a.txt", out: "p/b.txt"},
		"several":           {embeds: "//go:embed a.txt\t./sub/*.txt", in: "p/a.txt p/sub/b.txt", out: "p/b.txt p/sub/b.json"},
		"a folder":          {embeds: "//go:embed sub", in: "p/sub/a p/sub/deep/b p/sub/.hidden", out: "p/other/a p/subs"},
		"all of it":         {embeds: "//go:embed all:sub", in: "p/sub/.hidden", out: "p/a"},
		"a glob of folders": {embeds: "//go:embed s?b/*", in: "p/sub/a p/sub/deep/b", out: "p/sb/a p/s/sub/a"},
		"the package":       {embeds: "//go:embed .", in: "p/a p/deep/b", out: "a q/a"},
		"quoted":            {embeds: "//go:embed \"a b.txt\"", in: "p/a p/deep/b", out: "a"},
		"a line of windows": {embeds: "//go:embed a.txt\r", in: "p/a.txt", out: "p/b.txt"},
		"a bad pattern":     {embeds: "//go:embed [", in: "p/a", out: "a"},
		"a block comment":   {embeds: "/* //go:embed a.txt */", in: "p/a.txt", out: "b"},
		"assembly":          {also: "vendor/v/x.s", in: "p/data.json anything"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{"p/p.go": {Data: []byte(plain + c.embeds + "\n")}}
			for _, file := range strings.Fields(c.in + " " + c.out + " " + c.also) {
				if tree[file] == nil {
					tree[file] = &fstest.MapFile{}
				}
			}
			before, err := source(tree)
			require.NoError(t, err)
			for _, file := range strings.Fields(c.in + " " + c.out) {
				old := tree[file]
				tree[file] = &fstest.MapFile{Data: append([]byte("// changed\n"), old.Data...)}
				after, err := source(tree)
				require.NoError(t, err)
				assert.Equal(t, strings.Contains(" "+c.in+" ", " "+file+" "), before != after, file)
				tree[file] = old
			}
		})
	}
}

func FuzzEmbeds(f *testing.F) {
	for _, seed := range []string{"//go:embed a.txt sub/*\n", "//go:embed \"a b\" `c`", "//go:embed [", "//go:embed all:x\r\n", "//go:embed ../x"} {
		f.Add(seed, "sub/a.txt")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		for _, e := range appendEmbeds(nil, "p", []byte(text)) {
			if e.takes(name) && !strings.HasPrefix(name, "p/") {
				t.Errorf("%q of p takes %q", text, name)
			}
			// What the go command embeds is matched as a whole, or lies below a match.
			if ok, err := path.Match(e.glob, name); ok && err == nil && !e.takes("p/"+name) {
				t.Errorf("%q does not take %q", text, name)
			}
		}
	})
}
