package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

func (a *app) topCommand() *cobra.Command {
	var once bool
	cmd := &cobra.Command{
		Use:   "top [NAME]",
		Short: "shows the calls of functions, and what their processes use",
		Long: `
Prints one line for each version of a function, and one for each process. A terminal is
refreshed every 2 s until you press q or Ctrl-C, and shows what has happened since the
last refresh: calls per second, the part of them that failed, how long half of them and
99 in 100 took at most; and the part of one processor that a process used. Otherwise,
and with -once, each is printed once, with what has happened since the proxy, or the
process, was started.

A call has failed if its status was 500 or more, or its answer was not whole. VERSION is
- for calls that reached none, as of a function that is Failed. An agent sees no calls,
only what its processes answer: ask a proxy.`,
		Example: `
  proxyCli top
  proxyCli top -once HelloWorld
  proxyCli top -o json`,
		Args:              atMostOne("NAME"),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			name := strings.Join(args, "")
			return a.ask(func(client *transport.Client) error {
				if once || a.output == "json" || !a.isTerminal(a.stdout) {
					return a.printUsage(cmd.Context(), client, name)
				}
				return a.watchUsage(cmd.Context(), client, name)
			})
		},
	}
	cmd.Flags().BoolVar(&once, "once", false, "print one table and exit (the default unless stdout is a terminal)")
	return cmd
}

// printUsage prints what the processes of a function, or of all, have used.
func (a *app) printUsage(ctx context.Context, client transport.Interface, name string) error {
	list, err := client.Usage(ctx, name)
	if err != nil {
		return err
	}
	if a.output == "json" {
		return printList(a, list)
	}
	used := sortUsage(list)
	for _, why := range used.missing {
		a.note("%s", why)
	}
	if len(used.calls) > 0 {
		if err := a.printTable(callsTable(used.calls, "CALLS", "FAILED", func(u *proto.Usage) (calls, failed string, took []*proto.Took) {
			t := u.GetTraffic()
			return fmt.Sprint(t.GetCalls()), fmt.Sprint(t.GetErrors()), t.GetTook()
		}), "IN FLIGHT"); err != nil {
			return err
		}
	}
	if len(used.processes) == 0 {
		if len(list) == len(used.calls) { // every agent has answered
			a.note("no process runs")
		}
		return nil
	}
	if len(used.calls) > 0 {
		if _, err := io.WriteString(a.stdout, "\n"); err != nil {
			return err
		}
	}
	return a.printUsed(used.processes)
}

// used is an answer of Usage by what its rows are.
type used struct {
	processes []*proto.Usage
	calls     []*proto.Usage // have traffic
	missing   []string       // what to say of what it lacks
}

func sortUsage(list []*proto.Usage) (u used) {
	for _, row := range list {
		switch {
		case row.GetTraffic() != nil:
			u.calls = append(u.calls, row)
		case row.GetError() != "":
			u.missing = append(u.missing, "without the processes of "+row.GetAtAgent()+": "+firstLine(row.GetError()))
		default:
			u.processes = append(u.processes, row)
		}
	}
	if len(u.processes) > 0 && len(u.calls) == 0 {
		u.missing = append(u.missing, "without errors and times of calls: this is an agent; a proxy knows those that come through it")
	}
	return u
}

// callsTable lists versions by their calls. load tells what depends on whether they are
// watched.
func callsTable(list []*proto.Usage, calls, failed string, load func(*proto.Usage) (calls, failed string, took []*proto.Took)) [][]string {
	rows := [][]string{{"FUNCTION", "VERSION", calls, failed, "P50", "P99", "IN FLIGHT"}}
	for _, u := range list {
		calls, failed, took := load(u)
		version := ""
		if u.GetVersion() > 0 {
			version = fmt.Sprint(u.GetVersion())
		}
		rows = append(rows, []string{
			u.GetFunction(), version, calls, failed, quantile(took, 0.5), quantile(took, 0.99), fmt.Sprint(u.GetTraffic().GetInFlight()),
		})
	}
	return rows
}

// quantile returns how long a part of the calls took at most, to about a twentieth; ""
// without a call.
func quantile(took []*proto.Took, part float64) string {
	var total, below uint64
	for _, t := range took {
		total += t.GetCalls()
	}
	if total == 0 {
		return ""
	}
	rank := uint64(math.Ceil(part * float64(total)))
	var d time.Duration
	for _, t := range took {
		d = time.Duration(t.Middle() * float64(time.Second))
		if below += t.GetCalls(); below >= rank {
			break
		}
	}
	unit := time.Duration(1)
	for d/unit >= 1000 { // three digits are more than is known
		unit *= 10
	}
	return d.Round(unit).String()
}

// printUsed prints what processes have used since their start.
func (a *app) printUsed(list []*proto.Usage) error {
	return a.printTable(usageTable(list, "CPU TIME", "REQUESTS", func(u *proto.Usage) (string, string) {
		cpu := time.Duration(u.GetCpuSeconds() * float64(time.Second))
		return cpu.Round(10 * time.Millisecond).String(), fmt.Sprint(u.GetRequests())
	}), "CONNS", "FDS", "PEAK", "PID", "RESTARTS", "IN FLIGHT")
}

// usageTable lists processes, ordered by function, version and agent. load tells
// the two columns that depend on whether processes are watched.
func usageTable(list []*proto.Usage, cpu, requests string, load func(*proto.Usage) (cpu, requests string)) [][]string {
	slices.SortStableFunc(list, func(a, b *proto.Usage) int {
		return cmp.Or(cmp.Compare(a.GetFunction(), b.GetFunction()), cmp.Compare(a.GetVersion(), b.GetVersion()),
			cmp.Compare(a.GetAtAgent(), b.GetAtAgent()), cmp.Compare(a.GetPid(), b.GetPid()))
	})
	rows := [][]string{{
		"FUNCTION", "VERSION", "AGENT", "PID", cpu, "MEMORY", "PEAK", "FDS", requests, "IN FLIGHT", "CONNS", "RESTARTS", "AGE",
	}}
	now := time.Now()
	for _, u := range list {
		cpu, requests := load(u)
		rows = append(rows, []string{
			u.GetFunction(), fmt.Sprint(u.GetVersion()), u.GetAtAgent(), fmt.Sprint(u.GetPid()), cpu,
			size(int64(u.GetResident())), size(int64(u.GetPeak())), fmt.Sprint(u.GetDescriptors()), requests,
			fmt.Sprint(u.GetInFlight()), fmt.Sprint(u.GetConnections()), fmt.Sprint(u.GetRestarts()), age(u.GetSince(), now),
		})
	}
	return rows
}

// refresh is how often a terminal is refreshed: often enough to see changes, seldom
// enough to read them, and cheap.
const refresh = 2 * time.Second

// Escape sequences of the screen (ECMA-48, and xterm's alternate buffer, after which
// the terminal shows again what it showed before).
const (
	openScreen  = "\x1b[?1049h\x1b[?25l"
	closeScreen = "\x1b[?25h\x1b[?1049l"
	homeScreen  = "\x1b[H"
	restOfLine  = "\x1b[K"
	restOfPage  = "\x1b[J"
)

// errClosed is the cause when the user closes the screen.
var errClosed = errors.New("closed")

// watchUsage shows what processes use until the user closes it.
func (a *app) watchUsage(ctx context.Context, client transport.Interface, name string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &samples{}
	if err := s.take(ctx, client, name); err != nil {
		return err // there is nothing to show
	}
	restore, err := a.readKeys(cancel)
	if err != nil {
		return err
	}
	defer restore()
	_, _ = io.WriteString(a.stdout, openScreen)
	defer func() { _, _ = io.WriteString(a.stdout, closeScreen) }()

	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for err = nil; ; {
		if err := a.draw(s, err); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
			err = s.take(ctx, client, name)
		}
		switch {
		case errors.Is(context.Cause(ctx), errClosed):
			return nil
		case ctx.Err() != nil:
			return reported(exitInterrupted)
		}
	}
}

// interruptKey is what Ctrl-C sends on a raw terminal, where it makes no signal.
const interruptKey = 0x03

// readKeys calls cancel when a key says so, until restore is called. The goroutine
// that reads goes on until the program exits: a read from a terminal cannot be
// canceled.
func (a *app) readKeys(cancel context.CancelCauseFunc) (restore func(), err error) {
	stdin, ok := a.stdin.(*os.File)
	if !ok || !a.isTerminal(stdin) {
		return func() {}, nil
	}
	before, err := term.MakeRaw(int(stdin.Fd()))
	if err != nil {
		return nil, err
	}
	go keys(stdin, cancel)
	return func() { _ = term.Restore(int(stdin.Fd()), before) }, nil
}

// keys reads what is typed until the end of r.
func keys(r io.Reader, cancel context.CancelCauseFunc) {
	var key [1]byte
	for {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return
		}
		switch key[0] {
		case 'q', 'Q':
			cancel(errClosed)
		case interruptKey:
			cancel(context.Canceled)
		}
	}
}

// draw shows the processes, as many as there is room for, and what went wrong.
func (a *app) draw(s *samples, failure error) error {
	width, height := usualWidth, 24 // unless the terminal tells
	if f, ok := a.stdout.(*os.File); ok {
		if w, h, err := term.GetSize(int(f.Fd())); err == nil && w > 0 && h > 0 {
			width, height = w, h
		}
	}
	status := fmt.Sprintf("%s  %s  processes: %d  (q quits)", a.proxy, s.at.Format(time.TimeOnly), len(s.processes))
	if failure != nil {
		status = "error: " + firstLine(failure.Error()) + "; trying again"
	}
	lines := []string{clean(status)}
	for _, why := range s.missing {
		lines = append(lines, clean(why))
	}
	if len(s.calls) > 0 {
		lines = append(append(lines, ""), tabulate(callsTable(s.calls, "CALLS/S", "FAILED%", s.traffic))...)
	}
	lines = append(append(lines, ""), tabulate(usageTable(s.processes, "CPU%", "REQ/S", s.load))...)
	if more := len(lines) - height; more > 0 {
		lines = append(lines[:height-1], fmt.Sprintf("and %d more", more+1))
	}
	var b strings.Builder
	b.WriteString(homeScreen)
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		// The last column stays empty: restOfLine of the next line would erase it.
		if r := []rune(line); len(r) >= width {
			line = string(r[:width-1])
		}
		b.WriteString(restOfLine + line)
	}
	b.WriteString(restOfPage)
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// samples are what functions had used at two times.
type samples struct {
	used
	at     time.Time
	before map[process]*proto.Usage
	passed time.Duration
}

// process identifies a process, or, without an agent, what the proxy has seen of a version.
type process struct {
	agent    string
	pid      int32
	since    string
	function string
	version  uint32
}

func processOf(u *proto.Usage) process {
	return process{u.GetAtAgent(), u.GetPid(), u.GetSince(), u.GetFunction(), u.GetVersion()}
}

func (s *samples) take(ctx context.Context, client transport.Interface, name string) error {
	list, err := client.Usage(ctx, name)
	if err != nil {
		return err
	}
	s.before = make(map[process]*proto.Usage, len(s.processes)+len(s.calls))
	for _, u := range slices.Concat(s.processes, s.calls) {
		s.before[processOf(u)] = u
	}
	now := time.Now()
	s.used = sortUsage(list)
	s.at, s.passed = now, now.Sub(s.at)
	return nil
}

// load is what a process used between the samples.
func (s *samples) load(u *proto.Usage) (cpu, requests string) {
	before := s.before[processOf(u)]
	if before == nil || s.passed <= 0 {
		return "", ""
	}
	passed := s.passed.Seconds()
	return fmt.Sprintf("%.1f", 100*max(0, u.GetCpuSeconds()-before.GetCpuSeconds())/passed),
		fmt.Sprintf("%.1f", float64(u.GetRequests()-min(before.GetRequests(), u.GetRequests()))/passed)
}

// traffic is what became of the calls between the samples.
func (s *samples) traffic(u *proto.Usage) (calls, failed string, took []*proto.Took) {
	before, now := s.before[processOf(u)].GetTraffic(), u.GetTraffic()
	if before == nil || s.passed <= 0 || before.GetCalls() > now.GetCalls() { // the proxy has started anew
		return "", "", nil
	}
	n := now.GetCalls() - before.GetCalls()
	counted := make(map[int32]uint64)
	for _, t := range before.GetTook() {
		counted[t.GetBucket()] = t.GetCalls()
	}
	for _, t := range now.GetTook() {
		took = append(took, &proto.Took{Bucket: t.GetBucket(), Calls: t.GetCalls() - min(t.GetCalls(), counted[t.GetBucket()])})
	}
	if n > 0 {
		failed = fmt.Sprintf("%.1f", 100*float64(now.GetErrors()-min(now.GetErrors(), before.GetErrors()))/float64(n))
	}
	return fmt.Sprintf("%.1f", float64(n)/s.passed.Seconds()), failed, took
}
