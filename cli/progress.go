package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// redraw is how often the progress line of a terminal is written: often enough
// for its tenths of a second.
const redraw = 100 * time.Millisecond

// eraseLine returns to the line's beginning and clears it and all below (ECMA-48,
// ED); linesUp goes back to that line from some below (CUU).
const (
	eraseLine = "\r\x1b[J"
	linesUp   = "\x1b[%dA"
)

// besides is the room that a line of progress needs for the time: it must not wrap,
// since the way back counts lines.
const besides = len("  10000.0s") + 1

// maxOutput is how many lines of a build's output a terminal shows: enough to see
// that it goes on, and at what.
const maxOutput = 3

// progress shows on stderr what a deploy is doing: on a terminal in a line that is
// rewritten, with the last lines of a build's output below it; elsewhere in a line for
// each new state and each line of output. Its zero value prints nothing.
type progress struct {
	w     io.Writer // nil: print nothing
	live  bool
	width int // of the terminal
	start time.Time
	close func() // stops the goroutine that redraws, and waits for it

	mu     sync.Mutex // guards the fields below, and writing
	text   string
	output []string // the build's last lines, for a terminal
	shown  bool     // the terminal shows a line to erase
	closed bool
}

// startProgress starts; callers must call stop.
func (a *app) startProgress() *progress {
	p := &progress{start: time.Now(), close: func() {}}
	if a.quiet {
		return p
	}
	p.w, p.live, p.width = a.stderr, a.isTerminal(a.stderr), a.width(a.stderr)
	if p.live {
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			p.tick(stop)
		}()
		p.close = sync.OnceFunc(func() { close(stop); <-stopped })
	}
	return p
}

func (p *progress) tick(stop <-chan struct{}) {
	t := time.NewTicker(redraw)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

// say shows what the deploy does now.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil || p.closed || text == p.text {
		return
	}
	p.text, p.output = text, nil
	if p.live {
		p.draw()
		return
	}
	_, _ = fmt.Fprintln(p.w, text)
}

// draw writes the line and the output below it; mu is held.
func (p *progress) draw() {
	if p.closed || p.text == "" {
		return
	}
	p.shown = true
	var below string
	for _, line := range p.output {
		below += "\n  " + cutTo(line, p.width-3)
	}
	if below != "" {
		below += fmt.Sprintf("\r"+linesUp, len(p.output))
	}
	_, _ = fmt.Fprintf(p.w, "%s%s  %.1fs%s", eraseLine, cutTo(p.text, p.width-besides), time.Since(p.start).Seconds(), below)
}

// pause erases the line, so that other text can be written; the next say shows one
// again.
func (p *progress) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	p.text = ""
}

func (p *progress) erase() {
	if p.shown {
		_, _ = io.WriteString(p.w, eraseLine)
		p.shown = false
	}
}

// stop erases the line for good. It may be called again.
func (p *progress) stop() {
	p.mu.Lock()
	p.closed = true
	p.erase()
	p.mu.Unlock()
	p.close()
}

// transfer shows what the client packs and uploads.
func (p *progress) transfer(t transport.Progress) {
	text := t.Stage + " " + cmp.Or(t.Function, "the package")
	switch {
	case t.Total > 0 && p.live:
		text += fmt.Sprintf(" %s of %s", size(t.Done), size(t.Total))
	case t.Total > 0:
		text += " " + size(t.Total)
	}
	p.say(text)
}

// follow shows the stages of functions and the output of their builds, until stop is
// called. It ignores errors: the deploy goes on without it.
func (p *progress) follow(ctx context.Context, client transport.Interface, fns []*proto.FunctionJson) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	names := map[string]bool{}
	for _, fn := range fns {
		names[fn.GetName()] = true
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		builds := map[string]*buildOutput{} // by function and agent
		_ = client.Watch(ctx, func(e *proto.WatchEvent) error {
			for _, r := range e.GetFunctions() {
				if !names[r.GetName()] {
					continue
				}
				what := strings.TrimSpace(r.GetName() + " at " + r.GetAtAgent())
				if builds[what] == nil {
					builds[what] = &buildOutput{}
				}
				if r.GetStage() != "" {
					p.say(r.GetStage() + " " + what)
				}
				p.print(builds[what].next(r))
			}
			return nil
		})
	})
	return func() { cancel(); wg.Wait() }
}

// buildOutput is what rows have shown of a build's output.
type buildOutput struct {
	bytes uint64
	rest  string // the line that has no end yet
}

// next returns the lines that are complete since the row before, each once. A row has
// the last part of the output alone: what comes too fast is not shown.
func (b *buildOutput) next(r *proto.FunctionJsonRsp) []string {
	if r.GetPrinted() < b.bytes { // another build
		*b = buildOutput{}
	}
	news := r.GetPrinted() - b.bytes
	b.bytes = r.GetPrinted()
	text := r.GetOutput()
	if news <= uint64(len(text)) {
		text = b.rest + text[uint64(len(text))-news:]
	}
	lines := strings.Split(text, "\n")
	b.rest = lines[len(lines)-1]
	return lines[:len(lines)-1]
}

// print shows lines of a build's output.
func (p *progress) print(lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil || p.closed || len(lines) == 0 {
		return
	}
	for _, line := range lines {
		line = strings.ReplaceAll(clean(strings.TrimSuffix(line, "\r")), "\t", "    ")
		if !p.live {
			_, _ = fmt.Fprintln(p.w, "  "+line)
		}
		p.output = append(p.output, line)
	}
	p.output = p.output[max(0, len(p.output)-maxOutput):]
	if p.live {
		p.draw()
	}
}

// size is n bytes for people.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
