package dashboard

import (
	"archive/zip"
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// packed are files of an archive, ordered by name.
func packed(t *testing.T, files map[string]string) []*zip.File {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		w, err := z.Create(name)
		require.NoError(t, err)
		_, err = w.Write([]byte(files[name]))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	r, err := zip.NewReader(bytes.NewReader(out.Bytes()), int64(out.Len()))
	require.NoError(t, err)
	return r.File
}

func TestADiffNamesEachFileThatDiffers(t *testing.T) {
	before := packed(t, map[string]string{"a.go": "a\nb\nc\n", "gone.go": "x\n", "pic.png": "\x00\x01", "same.go": "s\n"})
	after := packed(t, map[string]string{"a.go": "a\nB\nc\nd\n", "new.go": "y\nz", "pic.png": "\x00\x02", "same.go": "s\n"})
	d, err := diffOf(before, after)
	require.NoError(t, err)
	var said []string
	for _, f := range d.Files {
		said = append(said, fmt.Sprintf("%s %s +%d -%d %s", f.Name, f.How, f.Added, f.Removed, f.Note))
	}
	assert.Equal(t, []string{"a.go changed +2 -1 ", "gone.go removed +0 -1 ", "new.go added +2 -0 ", "pic.png changed +0 -0 It is no text: 2 B."}, said)
	assert.Equal(t, []int{4, 2}, []int{d.Added, d.Removed})
	assert.Equal(t, []codeLine{{"at", 0, "@@ -1,3 +1,4 @@"}, {"", 1, " a"}, {"del", 2, "-b"}, {"ins", 2, "+B"}, {"", 3, " c"}, {"ins", 4, "+d"}}, d.Files[0].Lines)
	assert.Equal(t, codeLine{"eof", 0, `\ No newline at end of file`}, d.Files[2].Lines[3])
}

func TestADiffIsBounded(t *testing.T) {
	long := func(word string, lines int) string { return strings.Repeat(word+"\n", lines) }
	before, after := map[string]string{"large.go": strings.Repeat("x", maxShown+1)}, map[string]string{"large.go": "x"}
	for i := range maxDiffFiles + 10 {
		name := fmt.Sprintf("f%03d.go", i)
		before[name], after[name] = long("a", 40), long("b", 40)
	}
	began := time.Now()
	d, err := diffOf(packed(t, before), packed(t, after))
	require.NoError(t, err)
	assert.Less(t, time.Since(began), testkit.Patience)
	assert.Len(t, d.Files, maxDiffFiles)
	assert.Contains(t, d.Cut, "more than 200 files")
	lines := 0
	for _, f := range d.Files {
		lines += len(f.Lines)
		assert.True(t, f.Lines != nil || f.Note != "", f.Name)
	}
	assert.LessOrEqual(t, lines, maxDiffLines)

	// Texts on which the shortest diff takes time that grows with the square of their lines.
	var x, y strings.Builder
	for i := range maxShown / 8 {
		fmt.Fprintf(&x, "%d\n", i%977)
		fmt.Fprintf(&y, "%d\n", (i*31)%983)
	}
	began = time.Now()
	_, added, removed := diffLines(x.String(), y.String())
	assert.Positive(t, added+removed)
	assert.Less(t, time.Since(began), testkit.Patience)
}

func TestProblemsAreFoundByLine(t *testing.T) {
	text := "package fn\n\nfunc F() {\n\tundefined()\n}\n"
	assert.Equal(t, []problemLine{{4, "undefined: undefined", "undefined()"}, {1, "and this", "package fn"}},
		problemLines("build F: exit status 1\n./fn.go:4:2: undefined: undefined\nother.go:1:1: no\nsub/fn.go:1: and this\nfn.go:99: past the end\nfn.go:x: no number", "sub/fn.go", text))
	assert.Empty(t, problemLines("", "fn.go", text))
}
