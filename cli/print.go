package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// printRows prints one answer to stdout: a line per row, or all as a JSON list.
func (a *app) printRows(rows []*proto.FunctionJsonRsp) error {
	if a.output == "json" {
		return printList(a, rows)
	}
	var b strings.Builder
	paint, width := a.painter(a.stdout), a.width(a.stdout)
	for _, r := range rows {
		b.WriteString(flow(fields(r, paint), width) + "\n")
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// fields are the three promised fields of a row, and of a preview its branch and when it
// expires. They are printed by hand: protobuf's text form varies its spaces on purpose.
func fields(r *proto.FunctionJsonRsp, paint painter) []string {
	status := fmt.Sprintf("status:%q", r.GetStatus())
	if colour, ok := statusColours[proto.Status(r.GetStatus())]; ok {
		status = paint(colour, status)
	}
	list := []string{fmt.Sprintf("name:%q", r.GetName()), fmt.Sprintf("url:%q", r.GetUrl()), status}
	if r.GetPreview() != "" {
		list = append(list, fmt.Sprintf("preview:%q", r.GetPreview()))
	}
	if r.GetExpires() != "" {
		list = append(list, fmt.Sprintf("expires:%q", r.GetExpires()))
	}
	return list
}

// printDetails is printRows with all fields of a row, and what its processes use.
func (a *app) printDetails(rows []*proto.FunctionJsonRsp, used []*proto.Usage) error {
	if a.output == "json" {
		return printList(a, rows)
	}
	var b strings.Builder
	paint, width := a.painter(a.stdout), a.width(a.stdout)
	for _, r := range rows {
		row := append(fields(r, paint), fmt.Sprintf("version:%d", r.GetVersion()), fmt.Sprintf("instances:%d", r.GetInstances()),
			fmt.Sprintf("agent:%q", r.GetAtAgent()))
		var memory uint64
		var cpu float64
		for _, u := range used {
			if u.GetFunction() == r.GetName() && u.GetAtAgent() == r.GetAtAgent() {
				memory += u.GetResident()
				cpu += u.GetCpuSeconds()
			}
		}
		if memory > 0 {
			row = append(row, fmt.Sprintf("memory:%q", size(int64(memory))), fmt.Sprintf("cpu:\"%.2fs\"", cpu)) //nolint:gosec // far below its limit
		}
		if calls := shares(r); len(calls) > 1 {
			row = append(row, fmt.Sprintf("calls:%q", strings.Join(calls, ", ")))
		}
		if r.GetRestarts() > 0 {
			row = append(row, fmt.Sprintf("restarts:%d", r.GetRestarts()))
		}
		if r.GetPaused() {
			row = append(row, "paused:true")
		}
		if r.GetReplicas() != "" {
			row = append(row, fmt.Sprintf("replicas:%q", r.GetReplicas()))
		}
		if r.GetSize() != "" {
			row = append(row, fmt.Sprintf("processes:%d", r.GetProcesses()), fmt.Sprintf("because:%q", r.GetSize()))
		}
		if r.GetStage() != "" {
			row = append(row, fmt.Sprintf("stage:%q", r.GetStage()))
		}
		if r.GetRetry() != "" {
			row = append(row, fmt.Sprintf("retry:%q", r.GetRetry()))
		}
		b.WriteString(flow(row, width) + "\n")
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// printMessage prints a message as a line of JSON.
func (a *app) printMessage(m protobuf.Message) error {
	data, err := wire.Encode(m)
	if err != nil {
		return err
	}
	return a.printJSON(data)
}

// printList prints messages as one JSON list.
func printList[M protobuf.Message](a *app, messages []M) error {
	list := make([]json.RawMessage, len(messages))
	for i, m := range messages {
		data, err := wire.Encode(m)
		if err != nil {
			return err
		}
		list[i] = data
	}
	return a.printJSON(list)
}

// printJSON prints v as one line of JSON.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

var failures = map[string]string{
	proto.ReasonCheck: "was refused",
	proto.ReasonBuild: "did not build",
	proto.ReasonStart: "did not start",
	proto.ReasonCrash: "keeps crashing",

	proto.ReasonTimeout:     "could not be built in time",
	proto.ReasonUnavailable: "could not be built now",
	proto.ReasonExhausted:   "could not be built",
	proto.ReasonChecksum:    "could not be built",
	proto.ReasonDamaged:     "is damaged",
}

// warnRows prints the warnings of the programs that rows run to stderr, each once:
// several agents may run one program.
func (a *app) warnRows(rows []*proto.FunctionJsonRsp) {
	warned := map[string]bool{}
	for _, r := range rows {
		for _, w := range r.GetProgram().GetWarnings() {
			if line := r.GetName() + ": " + w; !warned[line] {
				warned[line] = true
				a.warn(line)
			}
		}
	}
}

// noteAbsent prints of each agent that does not answer why, once. It returns the rows
// that are about something else: what has failed now, for one, but not what an agent has
// told as Failed before.
func (a *app) noteAbsent(rows []*proto.FunctionJsonRsp, statuses ...proto.Status) []*proto.FunctionJsonRsp {
	absent := func(r *proto.FunctionJsonRsp) bool {
		return r.GetReason() == proto.ReasonUnreachable && slices.Contains(statuses, proto.Status(r.GetStatus()))
	}
	told := map[string]bool{}
	for _, r := range rows {
		if absent(r) && !told[r.GetAtAgent()] {
			told[r.GetAtAgent()] = true
			a.note("%s; its functions are shown as they were", firstLine(r.GetError()))
		}
	}
	return slices.DeleteFunc(slices.Clone(rows), absent)
}

// noteSilent reports whether an element of a list stands for an agent that does not
// answer, and prints so.
func (a *app) noteSilent(what string, of interface {
	GetAtAgent() string
	GetError() string
}) bool {
	if of.GetError() == "" {
		return false
	}
	a.note("without the %s of %s: %s", what, of.GetAtAgent(), firstLine(of.GetError()))
	return true
}

// noteRow prints in one line what a row says besides its status.
func (a *app) noteRow(r *proto.FunctionJsonRsp) {
	switch {
	case r.GetPaused() && proto.Status(r.GetStatus()) == proto.Deploying:
		a.note("%s on %s is paused: it takes calls again when this deploy is done", r.GetName(), r.GetAtAgent())
	case r.GetPaused():
		a.note("%s on %s is paused: its callers get 503 until proxyCli resume %s", r.GetName(), r.GetAtAgent(), r.GetName())
	}
	if r.GetDrift() != "" {
		a.note("%s on %s was changed there: %s; the next deploy or rollback ends that", r.GetName(), r.GetAtAgent(), r.GetDrift())
	}
	switch {
	case proto.Status(r.GetStatus()) == proto.Deploying && r.GetReason() == proto.ReasonUnreachable:
		a.note("%s is not on %s yet: %s", r.GetName(), r.GetAtAgent(), firstLine(r.GetError()))
	case r.GetReason() == proto.ReasonBehind:
		a.note("%s on %s gets no calls yet: %s", r.GetName(), r.GetAtAgent(), firstLine(r.GetError()))
	case proto.Status(r.GetStatus()) == proto.Stopped && r.GetError() != "":
		a.note("%s: %s", r.GetName(), firstLine(r.GetError()))
	case proto.Status(r.GetStatus()) == proto.Failed:
		a.note("%s %s: %s; proxyCli details says all", r.GetName(), failureOf(r), firstLine(r.GetError()))
	case r.GetReason() == proto.ReasonFrozen:
		a.note("%s on %s: %s", r.GetName(), r.GetAtAgent(), firstLine(r.GetError()))
	case r.GetError() != "":
		a.note("%s on %s serves, but %s", r.GetName(), r.GetAtAgent(), firstLine(r.GetError()))
	}
}

// paused asks which functions are paused. Without an answer it names none: what needs it
// is a remark.
func (a *app) paused(ctx context.Context) map[string]bool {
	names := map[string]bool{}
	if a.quiet {
		return names
	}
	rows, _ := answer(a, func(client *transport.Client) ([]*proto.FunctionJsonRsp, error) { return client.Details(ctx) })
	for _, r := range rows {
		if r.GetPaused() {
			names[r.GetName()] = true
		}
	}
	return names
}

// tellResumed says of which functions a change has ended the pause.
func (a *app) tellResumed(rows []*proto.FunctionJsonRsp, paused map[string]bool) {
	for _, r := range rows {
		if paused[r.GetName()] && !r.GetPaused() && proto.Status(r.GetStatus()) == proto.Deployed {
			a.note("%s on %s was paused and takes calls again", r.GetName(), r.GetAtAgent())
		}
	}
}

// failureOf says what became of a row that failed, and where.
func failureOf(r *proto.FunctionJsonRsp) string {
	what, ok := failures[r.GetReason()]
	if !ok {
		what = "could not be deployed"
	}
	if r.GetAtAgent() != "" {
		what += " on " + r.GetAtAgent()
	}
	return what
}

// reportRows prints errors of rows to stderr, causes before what follows from them. It
// looks for the files that they name below roots.
func (a *app) reportRows(rows []*proto.FunctionJsonRsp, roots []string) {
	rows = a.noteAbsent(rows, proto.Deployed)
	slices.SortStableFunc(rows, func(a, b *proto.FunctionJsonRsp) int { return cmp.Compare(follows(a), follows(b)) })
	for _, r := range rows {
		if proto.Status(r.GetStatus()) != proto.Failed {
			a.noteRow(r)
			continue
		}
		what := failureOf(r)
		text := r.GetError()
		if r.GetInstances() > 0 {
			text += "\nthe deploy before it goes on serving"
		}
		hint := ""
		switch r.GetReason() {
		case proto.ReasonCheck, proto.ReasonBuild:
			hint = "correct the source and deploy again"
		case proto.ReasonStart, proto.ReasonCrash:
			hint = "proxyCli log " + r.GetName() + " shows what it printed"
		}
		a.complain(r.GetName()+" "+what, text, hint, roots)
	}
}

// follows is 1 for a row that failed because another one did.
func follows(r *proto.FunctionJsonRsp) int {
	if r.GetReason() == proto.ReasonRollout {
		return 1
	}
	return 0
}

// warn prints a warning to stderr, unless -quiet.
func (a *app) warn(text string) {
	if a.quiet {
		return
	}
	_, _ = fmt.Fprintln(a.stderr, fold(a.painter(a.stderr)(yellow, "warning:")+" "+clean(text), a.width(a.stderr)))
}

// report prints an error to stderr.
func (a *app) report(err error) {
	e := proto.AsError(err)
	if a.output == "json" {
		a.printError(e)
		a.annotate(e.Message, "", nil)
		return
	}
	head, rest, _ := strings.Cut(e.Message, "\n")
	a.complain(head, rest, e.Hint, nil)
}

// reportRefusal prints to stderr why the check refused the source below root.
func (a *app) reportRefusal(what, root string, err error) {
	a.complain(what+" was refused", err.Error(), proto.AsError(err).Hint, []string{root})
}

// printError prints an error to stderr as a line of JSON, in the form of answers over
// HTTP.
func (a *app) printError(e *proto.Error) {
	data, err := wire.Encode(e.Detail())
	if err == nil {
		_, _ = fmt.Fprintf(a.stderr, "{\"error\":%s}\n", data)
	}
}

// complain prints an error in source or input: what, then the text with the lines of
// source that it points to, then the hint.
func (a *app) complain(what, text, hint string, roots []string) {
	head := what
	if a.output == "json" {
		for line := range strings.Lines(text) {
			shown, _ := locate(strings.TrimSuffix(line, "\n"), roots)
			what += "\n" + shown
		}
		a.printError(proto.Errorf(proto.ErrInvalid, "%s", what).WithHint(hint))
	} else {
		_, _ = io.WriteString(a.stderr, complaint(what, text, hint, roots, a.painter(a.stderr), a.width(a.stderr)))
	}
	a.annotate(head, text, roots)
}

// complaint is what complain prints. Source and the compiler's words are not folded.
func complaint(what, text, hint string, roots []string, paint painter, width int) string {
	var b strings.Builder
	b.WriteString(fold(paint(red, "error:")+" "+clean(what), width) + "\n")
	excerpts := 0
	for line := range strings.Lines(text) {
		line = clean(strings.TrimRight(line, "\r\n"))
		shown, excerpt := locate(line, roots)
		b.WriteString(strings.TrimRight("  "+shown, " ") + "\n")
		if excerpt != "" && excerpts < maxExcerpts {
			b.WriteString(excerpt)
			excerpts++
		}
	}
	if hint != "" {
		b.WriteString(fold(paint(cyan, "hint:")+" "+clean(hint), width) + "\n")
	}
	return b.String()
}

// note prints a remark unless -quiet.
func (a *app) note(format string, args ...any) {
	if !a.quiet {
		_, _ = fmt.Fprintln(a.stderr, fold(clean(fmt.Sprintf(format, args...)), a.width(a.stderr)))
	}
}

const (
	maxExcerpts = 3       // more would push the first, which matters most, off the screen
	maxSource   = 4 << 20 // bytes; a larger file is not read for an excerpt
)

// location is how compilers, and our own check, point into a file.
var location = regexp.MustCompile(`^(.+?\.go):([0-9]+):(?:([0-9]+):)? `)

// locate finds the place that a line of an error names, in a file below one of roots.
// It returns the line with the path from the working directory, and the excerpt.
func locate(line string, roots []string) (shown, excerpt string) {
	p, ok := spotOf(line, roots)
	if !ok {
		return line, ""
	}
	return shorten(p.file) + line[p.name:], cutOut(strings.Split(p.source, "\n"), p.row, p.col)
}

// spot is where a line of an error points to.
type spot struct {
	file     string // its path
	source   string // what it has
	name     int    // how long the file's name is in the line
	text     int    // where what is wrong begins in it
	row, col int    // as cutOut has them
}

// spotOf finds the spot in a file below one of roots that a line of an error names.
func spotOf(line string, roots []string) (spot, bool) {
	m := location.FindStringSubmatch(line)
	if m == nil {
		return spot{}, false
	}
	row, _ := strconv.Atoi(m[2])
	col, _ := strconv.Atoi(m[3])
	for _, root := range roots {
		file := filepath.Join(root, filepath.FromSlash(m[1]))
		if rel, err := filepath.Rel(root, file); err != nil || !filepath.IsLocal(rel) {
			continue // the answer of a server must not open other files
		}
		info, err := os.Stat(file)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxSource {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		return spot{file: file, source: string(data), name: len(m[1]), text: len(m[0]), row: row, col: col}, true
	}
	return spot{}, false
}

// cutOut returns the line row, the one before it, and a mark below column col. Both
// count from 1, col in bytes; a col of 0 is unknown.
func cutOut(lines []string, row, col int) string {
	if row < 1 || row > len(lines) {
		return ""
	}
	var b strings.Builder
	for i := max(row-1, 1); i <= row; i++ {
		fmt.Fprintf(&b, "%6d | %s\n", i, clean(strings.TrimRight(lines[i-1], "\r")))
	}
	line := lines[row-1]
	if col < 1 || col > len(line)+1 {
		return b.String()
	}
	// Tabs stay tabs, so that the mark is where the terminal puts the column.
	indent := strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		return ' '
	}, line[:col-1])
	fmt.Fprintf(&b, "       | %s^\n", indent)
	return b.String()
}

// shorten makes a path below the working directory relative to it.
func shorten(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

// clean replaces characters with which a text of others could rewrite what the
// terminal shows: control characters, and those that change the direction of writing.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// printed is the output of functions for stdout: as it is, but clean on a terminal.
func (a *app) printed(text string) string {
	if !a.isTerminal(a.stdout) {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		bare := strings.TrimRight(line, "\r\n")
		b.WriteString(clean(bare) + line[len(bare):])
	}
	return b.String()
}

// cleaner passes text on as clean does, and keeps line ends. The beginning of a character
// waits for the rest of it.
type cleaner struct {
	to   io.Writer
	rest []byte
}

func (c *cleaner) Write(p []byte) (int, error) {
	text := slices.Concat(c.rest, p)
	var out strings.Builder
	for len(text) > 0 && utf8.FullRune(text) {
		r, size := utf8.DecodeRune(text)
		if r == '\r' && len(text) == 1 {
			break // the end of a line may follow
		}
		switch {
		case r == '\n', r == '\r' && text[1] == '\n':
			out.WriteByte(byte(r))
		default:
			out.WriteString(clean(string(r)))
		}
		text = text[size:]
	}
	c.rest = append(c.rest[:0], text...)
	if _, err := io.WriteString(c.to, out.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
