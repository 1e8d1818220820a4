package main

import (
	"fmt"
	"io"
	"strings"
)

// table is a table of the report, in markdown as in docs/figures.md.
type table struct {
	head []string
	rows [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// timesHead is the head of a table of times.
func timesHead(what string) []string { return []string{what, "median", "p95", "p99", "goal"} }

// times adds a row with a figure in milliseconds.
func (t *table) times(what string, f figure, goal string) {
	ms := func(v float64) string {
		if v < 100 {
			return fmt.Sprintf("%.1f ms", v)
		}
		return fmt.Sprintf("%.0f ms", v)
	}
	t.add(what, ms(f.Median), ms(f.P95), ms(f.P99), goal)
}

// ratio adds a row with the ratio of two figures.
func (t *table) ratio(what string, f, to figure, goal string) {
	times := func(a, b float64) string { return fmt.Sprintf("%.2f ×", a/b) }
	t.add(what, times(f.Median, to.Median), times(f.P95, to.P95), times(f.P99, to.P99), goal)
}

func (t *table) print(w io.Writer) {
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	fmt.Fprintln(w)
	line(t.head)
	line(strings.Split(strings.Repeat("--- ", len(t.head)-1)+"---", " "))
	for _, row := range t.rows {
		line(row)
	}
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

func mib(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
func kib(bytes int64) string { return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10)) }
