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

// nothing stands in an empty cell, so that programs can count columns.
const nothing = "-"

// tabulate returns rows as lines with columns, two spaces apart; the first row is the
// heading.
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

// printTable prints rows to stdout; the first is the heading. If a terminal is too
// narrow, it omits the columns of spare, in their order, and then cuts lines.
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

// age is how long ago an RFC 3339 time was, in one unit, as "5m"; "" if the
// text is not a time.
func age(text string, now time.Time) string {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return ""
	}
	return span(max(now.Sub(at), 0))
}

// span is a time in one unit, as "5m".
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
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

// digestShown is how many characters of a digest people see, as in container tools.
const digestShown = 12

// short is a digest for people.
func short(digest string) string {
	digest = digest[strings.IndexByte(digest, ':')+1:]
	return digest[:min(len(digest), digestShown)]
}
