package cli

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// nothing stands in a cell that has nothing to say, so that columns can be counted.
const nothing = "-"

// tabulate lines rows up in columns, two spaces apart; the first row is the
// heading. It returns the lines.
func tabulate(rows [][]string) []string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, cells := range rows {
		for i, cell := range cells {
			if i > 0 {
				_, _ = io.WriteString(w, "\t")
			}
			if cell == "" {
				cell = nothing
			}
			_, _ = io.WriteString(w, strings.ReplaceAll(clean(cell), "\t", " "))
		}
		_, _ = io.WriteString(w, "\n")
	}
	_ = w.Flush() // to memory
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// printTable prints rows to stdout; the first is the heading. Where a terminal has no
// room for them, columns are left out, those first that can be done without best, and
// then lines are cut.
func (a *app) printTable(rows [][]string, spare ...string) error {
	width := a.width(a.stdout)
	lines := tabulate(rows)
	for ; width > 0 && widest(lines) > width && len(spare) > 0; spare = spare[1:] {
		if i := slices.Index(rows[0], spare[0]); i >= 0 {
			for j, cells := range rows {
				rows[j] = slices.Delete(slices.Clone(cells), i, i+1)
			}
			lines = tabulate(rows)
		}
	}
	for i, line := range lines {
		lines[i] = cutTo(strings.TrimRight(line, " "), width)
	}
	_, err := io.WriteString(a.stdout, strings.Join(lines, "\n")+"\n")
	return err
}

func widest(lines []string) (width int) {
	for _, line := range lines {
		width = max(width, utf8.RuneCountInString(line))
	}
	return width
}

// age is how long ago an RFC 3339 time was, in one unit, as "5m"; "" when the
// text is no time.
func age(text string, now time.Time) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return ""
	}
	const day = 24 * time.Hour
	switch d := max(now.Sub(at), 0); {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%dh", d/time.Hour)
	default:
		return fmt.Sprintf("%dd", d/day)
	}
}

// ago is age as a part of a sentence.
func ago(text string) string {
	if since := age(text, time.Now()); since != "" {
		return since + " ago"
	}
	return ""
}

// digestShown is how much of a digest people are shown: as much as container
// tools show.
const digestShown = 12

// short is a digest for people.
func short(digest string) string {
	digest = digest[strings.IndexByte(digest, ':')+1:]
	return digest[:min(len(digest), digestShown)]
}
