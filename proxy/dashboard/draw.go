package dashboard

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// Sizes of the pictures, in units of their own that pages scale.
const (
	sparkWide, sparkHigh = 120, 24
	plotWide, plotHigh   = 480, 120
	plotFoot             = 16 // below a plot, for its times
)

// line is one line of a plot. NaN is a gap.
type line struct {
	class  string
	values []float64
}

// sparkline draws calls a second of the last two minutes, without words: the table beside it
// has the numbers.
func sparkline(list []sample) template.HTML {
	const points = 60
	list = recent(list, points)
	values := make([]float64, points)
	for i := range values {
		values[i] = math.NaN()
	}
	for i, s := range list {
		values[points-len(list)+i] = s.calls
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="spark" viewBox="0 0 %d %d" preserveAspectRatio="none" aria-hidden="true">`, sparkWide, sparkHigh)
	drawLine(&b, line{"calls", values}, most(values), sparkWide, sparkHigh-2, 1, true)
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // numbers alone
}

// most returns the largest of values, and 1 where there is nothing above 0.
func most(values ...[]float64) (top float64) {
	for _, list := range values {
		for _, v := range list {
			if !math.IsNaN(v) {
				top = max(top, v)
			}
		}
	}
	if top == 0 {
		return 1
	}
	return top
}

func drawLine(b *strings.Builder, l line, top, wide, high, above float64, filled bool) {
	step := wide / float64(len(l.values)-1)
	var run []string
	begin := 0
	flush := func(end int) {
		switch {
		case len(run) == 0:
			return
		case len(run) == 1: // a point
			run = append(run, run[0])
		}
		if filled {
			fmt.Fprintf(b, `<polygon class="fill %s" points="%s,%s %s %s,%s"/>`, l.class,
				short(float64(begin)*step), short(above+high), strings.Join(run, " "), short(float64(end-1)*step), short(above+high))
		}
		fmt.Fprintf(b, `<polyline class="line %s" points="%s"/>`, l.class, strings.Join(run, " "))
		run = nil
	}
	for i, v := range l.values {
		if math.IsNaN(v) {
			flush(i)
			continue
		}
		if run == nil {
			begin = i
		}
		run = append(run, short(float64(i)*step)+","+short(above+high-high*v/top))
	}
	flush(len(l.values))
}

func short(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) }

// plot is a picture of the last five minutes, with its title and its numbers in words.
type plot struct {
	Title, Now string
	Keys       []key
	Picture    template.HTML
}

// key says what a line is.
type key struct{ Class, Name string }

// drawPlot draws lines over five minutes, with a mark where a version began to serve.
func drawPlot(title, now string, write func(float64) string, list []sample, lines []line, names []string) plot {
	const foot, head = plotFoot, 12
	all := make([][]float64, len(lines))
	for i := range lines {
		padded := make([]float64, keptSamples)
		for j := range padded {
			padded[j] = math.NaN()
		}
		copy(padded[keptSamples-len(lines[i].values):], lines[i].values)
		lines[i].values, all[i] = padded, padded
	}
	top := most(all...)
	high := float64(plotHigh - foot - head)
	var b strings.Builder
	peak := write(top)
	fmt.Fprintf(&b, `<svg class="plot" viewBox="0 0 %d %d" role="img" aria-label="%s in the last five minutes: now %s, the scale ends at %s">`,
		plotWide, plotHigh, template.HTMLEscapeString(title), template.HTMLEscapeString(now), template.HTMLEscapeString(peak))
	for _, part := range []float64{0, 0.5, 1} {
		y := short(head + high*part)
		fmt.Fprintf(&b, `<line class="grid" x1="0" x2="%d" y1="%s" y2="%s"/>`, plotWide, y, y)
	}
	step := float64(plotWide) / (keptSamples - 1)
	for i := 1; i < len(list); i++ {
		if v := list[i].version; v != list[i-1].version && v > 0 && list[i-1].version > 0 {
			x := float64(keptSamples-len(list)+i) * step
			fmt.Fprintf(&b, `<line class="mark" x1="%s" x2="%s" y1="%d" y2="%s"/><text class="mark" x="%s" y="%d">v%d</text>`,
				short(x), short(x), head, short(head+high), short(min(x+3, plotWide-24)), head+10, v)
		}
	}
	for i, l := range lines {
		drawLine(&b, l, top, plotWide, high, head, i == 0)
	}
	fmt.Fprintf(&b, `<text x="0" y="9">%s</text><text x="0" y="%d">5 min ago</text><text class="end" x="%d" y="%d">now</text></svg>`,
		template.HTMLEscapeString(peak), plotHigh-3, plotWide, plotHigh-3)
	p := plot{Title: title, Now: now, Picture: template.HTML(b.String())} //nolint:gosec // numbers, and escaped texts
	for i, name := range names {
		p.Keys = append(p.Keys, key{lines[i].class, name})
	}
	return p
}

// plots are what a function's page shows of its last minutes.
func plots(list []sample) []plot {
	n := len(list)
	calls, failed, p50, p99, cpu, memory := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
	for i, s := range list {
		calls[i], failed[i], cpu[i], memory[i] = s.calls, s.errors, s.cpu, float64(s.memory)
		near := list[max(0, i-4) : i+1] // ten seconds: a few calls are no line
		p50[i], p99[i] = quantile(near, 0.5), quantile(near, 0.99)
	}
	last := func(values []float64, write func(float64) string) string {
		if n == 0 {
			return none
		}
		return write(values[n-1])
	}
	size := func(v float64) string { return bytesText(uint64(v)) }
	return []plot{
		drawPlot("Calls per second", last(calls, numberText), numberText, list, []line{{"calls", calls}, {"bad", failed}}, []string{"all", "failed"}),
		drawPlot("Latency", last(p99, secondsText), secondsText, list, []line{{"calls", p50}, {"slow", p99}}, []string{"p50", "p99"}),
		drawPlot("Processor", last(cpu, partText), partText, list, []line{{"use", cpu}}, nil),
		drawPlot("Memory", last(memory, size), size, list, []line{{"use", memory}}, nil),
	}
}
