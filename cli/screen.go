package cli

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/Ishan27g/ryo-faas/proto"
)

// usualWidth is the width of help, and of a terminal whose width is not known.
const usualWidth = 80

// width is the number of columns of a terminal; 0 for other streams, where nothing is
// cut.
func (a *app) width(stream any) int {
	if !a.isTerminal(stream) {
		return 0
	}
	if f, ok := stream.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	return usualWidth
}

// cutTo cuts a text to a width; 0 is no limit.
func cutTo(text string, width int) string {
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// flow puts fields into one line, two spaces apart, or into as many as they need in
// width columns; later lines are indented.
func flow(fields []string, width int) string {
	var b strings.Builder
	column := 0
	for i, f := range fields {
		n := utf8.RuneCountInString(unpaint.Replace(f))
		switch {
		case i == 0:
		case width > 0 && column+2+n > width:
			b.WriteString("\n  ")
			column = 2
		default:
			b.WriteString("  ")
			column += 2
		}
		b.WriteString(f)
		column += n
	}
	return b.String()
}

// wrap breaks a text at spaces into lines of at most width columns; longer words stay
// whole.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(unpaint.Replace(line+" "+word)) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// fold breaks a line of prose that is wider than width at spaces; later lines are
// indented. A width of 0 is no limit.
func fold(text string, width int) string {
	if width <= 0 || utf8.RuneCountInString(unpaint.Replace(text)) <= width {
		return text
	}
	const indent = "\n  "
	return strings.Join(wrap(text, width-len(indent)+1), indent)
}

// Escape sequences of colours (ECMA-48, SGR).
const (
	red    = "\x1b[1;31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
	faint  = "\x1b[2m"
	reset  = "\x1b[0m"
)

// unpaint removes colours.
var unpaint = strings.NewReplacer(red, "", green, "", yellow, "", cyan, "", faint, "", reset, "")

// painter colours text.
type painter func(colour, text string) string

// unpainted is the painter of text without colours.
func unpainted(_, text string) string { return text }

// painter colours text for a stream: on a terminal, unless NO_COLOR (no-color.org) is
// set or TERM is dumb; CLICOLOR_FORCE (bixense.com/clicolors) colours
// anywhere.
func (a *app) painter(stream io.Writer) painter {
	colours := a.isTerminal(stream) && os.Getenv("TERM") != "dumb"
	if force := os.Getenv("CLICOLOR_FORCE"); force != "" && force != "0" {
		colours = true
	}
	if !colours || os.Getenv("NO_COLOR") != "" {
		return unpainted
	}
	return func(colour, text string) string { return colour + text + reset }
}

var statusColours = map[proto.Status]string{
	proto.Deployed: green, proto.Deploying: yellow, proto.Failed: red, proto.Stopped: faint,
}
