package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
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
		Short: "shows the processor time, memory and calls of processes",
		Long: `
Prints one line for each process. A terminal is refreshed every 2 s until you press q
or Ctrl-C; CPU% is the part of one processor, and REQ/S the answers per second, since
the last refresh. Otherwise, and with -once, each process is printed once, with the
processor time and the answers since it was started.`,
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
	list, absent := absentUsage(list)
	for _, why := range absent {
		a.note("%s", why)
	}
	if len(list) == 0 && len(absent) == 0 {
		a.note("no process runs")
	}
	if len(list) == 0 {
		return nil
	}
	return a.printUsed(list)
}

// absentUsage returns what processes use, and what to say of the agents that did not
// answer.
func absentUsage(list []*proto.Usage) (running []*proto.Usage, absent []string) {
	for _, u := range list {
		if u.GetError() == "" {
			running = append(running, u)
			continue
		}
		absent = append(absent, "without the processes of "+u.GetAtAgent()+": "+firstLine(u.GetError()))
	}
	return running, absent
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
	status := fmt.Sprintf("%s  %s  processes: %d  (q quits)", a.proxy, s.at.Format(time.TimeOnly), len(s.list))
	if failure != nil {
		status = "error: " + firstLine(failure.Error()) + "; trying again"
	}
	lines := []string{clean(status)}
	for _, why := range s.absent {
		lines = append(lines, clean(why))
	}
	lines = append(append(lines, ""), tabulate(usageTable(s.list, "CPU%", "REQ/S", s.load))...)
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

// samples are what processes had used at two times.
type samples struct {
	list   []*proto.Usage
	absent []string // what to say of agents that did not answer
	at     time.Time
	before map[process]*proto.Usage
	passed time.Duration
}

// process identifies a process.
type process struct {
	agent string
	pid   int32
	since string
}

func processOf(u *proto.Usage) process { return process{u.GetAtAgent(), u.GetPid(), u.GetSince()} }

func (s *samples) take(ctx context.Context, client transport.Interface, name string) error {
	list, err := client.Usage(ctx, name)
	if err != nil {
		return err
	}
	s.before = make(map[process]*proto.Usage, len(s.list))
	for _, u := range s.list {
		s.before[processOf(u)] = u
	}
	now := time.Now()
	s.list, s.absent = absentUsage(list)
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
