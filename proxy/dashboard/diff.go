package dashboard

import (
	"archive/zip"
	"fmt"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// What is shown of a diff.
const (
	maxDiffFiles = 200
	maxDiffLines = 3000 // of all files together
)

// sourceDiff is what differs between the files of two packages.
type sourceDiff struct {
	Files          []fileDiff
	Added, Removed int    // lines, of files that are compared
	Cut            string // what is left out
}

// fileDiff is what differs of one file.
type fileDiff struct {
	Name, How      string // added, removed or changed
	Added, Removed int
	Lines          []codeLine
	Note           string // why they are not shown
}

// codeLine is a line of a file or of a unified diff. N is its number, in the new file if it
// is there, and 0 of lines that are about others.
type codeLine struct {
	Class string // ins, del, at, eof or ""
	N     int
	Text  string
}

// diffOf compares two lists of files that are ordered by name.
func diffOf(before, after []*zip.File) (*sourceDiff, error) {
	d := &sourceDiff{}
	room := maxDiffLines
	for len(before) > 0 || len(after) > 0 {
		var was, is *zip.File
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].Name < after[0].Name:
			was, before = before[0], before[1:]
		case len(before) == 0 || after[0].Name < before[0].Name:
			is, after = after[0], after[1:]
		default:
			was, before, is, after = before[0], before[1:], after[0], after[1:]
			if was.CRC32 == is.CRC32 && was.UncompressedSize64 == is.UncompressedSize64 {
				continue
			}
		}
		if len(d.Files) == maxDiffFiles {
			d.Cut = fmt.Sprintf("There are more than %d files that differ.", maxDiffFiles)
			break
		}
		f, err := diffFile(was, is)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		d.Added, d.Removed = d.Added+f.Added, d.Removed+f.Removed
		if len(f.Lines) > room {
			f.Lines, f.Note = nil, "It is left out: a page shows "+itoa(maxDiffLines)+" lines."
		}
		room -= len(f.Lines)
		d.Files = append(d.Files, *f)
	}
	return d, nil
}

// diffFile compares a file with what it was. Either may be nil. It returns nil where both are
// the same.
func diffFile(was, is *zip.File) (*fileDiff, error) {
	f := &fileDiff{How: "changed"}
	switch {
	case was == nil:
		f.How = "added"
	case is == nil:
		f.How = "removed"
	}
	var texts [2]string
	for i, file := range []*zip.File{was, is} {
		if file == nil {
			continue
		}
		f.Name = file.Name
		var err error
		if texts[i], f.Note, err = textOf(file, maxShown); err != nil || f.Note != "" {
			return f, err
		}
	}
	f.Lines, f.Added, f.Removed = diffLines(texts[0], texts[1])
	if f.Lines == nil && f.How == "changed" {
		return nil, nil //nolint:nilnil // the names of their sums differ alone
	}
	return f, nil
}

// diffLines returns the unified diff of two texts. It takes n log n time of their lines.
func diffLines(before, after string) (lines []codeLine, added, removed int) {
	all := strings.Split(strings.TrimSuffix(string(diff.Diff("a", []byte(before), "b", []byte(after))), "\n"), "\n")
	if len(all) < 3 {
		return nil, 0, 0
	}
	var was, is int
	for _, text := range all[3:] { // after the names
		l := codeLine{}
		switch {
		case strings.HasPrefix(text, "@@ "):
			l.Class, l.Text = "at", text
			was, is = hunkAt(text, "-"), hunkAt(text, "+")
		case strings.HasPrefix(text, "+"):
			l = codeLine{"ins", is, text}
			is++
			added++
		case strings.HasPrefix(text, "-"):
			l = codeLine{"del", was, text}
			was++
			removed++
		case strings.HasPrefix(text, `\`):
			l.Class, l.Text = "eof", text
		default:
			l.N, l.Text = is, text
			was++
			is++
		}
		lines = append(lines, l)
	}
	return lines, added, removed
}

// hunkAt returns where a hunk begins in one of the two files: "@@ -3,7 +3,8 @@".
func hunkAt(head, sign string) int {
	_, rest, _ := strings.Cut(head, " "+sign)
	number, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.Atoi(number)
	return n
}
