package build

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"
)

const (
	// liveEvery is the least time between two parts of what a build says: each
	// travels to everyone who watches, and people do not read faster.
	liveEvery = 100 * time.Millisecond
	// maxLive bounds what is passed on of one build, in bytes. Hundreds of packages
	// and all that a compiler says of one fit.
	maxLive = 64 << 10
)

// live passes on what a build says, while it says it, by lines. Write and close
// wait for the writer that it passes on to.
type live struct {
	to   io.Writer
	show func(line string) string // a line in the reader's terms; "" leaves it out

	mu     sync.Mutex // guards the fields below, and makes writes one at a time
	line   []byte     // not complete yet
	ready  []byte
	left   int         // of maxLive
	pause  *time.Timer // since the last part; nil when there is none
	closed bool
}

func newLive(to io.Writer, show func(string) string) *live {
	if to == nil {
		to = io.Discard
	}
	return &live{to: to, show: show, left: maxLive}
}

func (l *live) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(l.line, p...)
	for {
		end := bytes.IndexByte(l.line, '\n') + 1
		if end == 0 && len(l.line) > maxLive { // no line that a person reads
			end = len(l.line)
		}
		if end == 0 {
			break
		}
		l.take(string(l.line[:end]))
		l.line = l.line[end:]
	}
	if l.pause == nil {
		l.pass()
	}
	return len(p), nil
}

// take adds a line of the go command to the next part, and add adds a text. The
// caller holds mu.
func (l *live) take(line string) {
	l.add(strings.ToValidUTF8(l.show(line), "\uFFFD"))
}

func (l *live) add(text string) {
	if l.left > 0 && len(text) > l.left {
		text = "(more was said)\n"
		l.left = len(text)
	}
	if l.left > 0 {
		l.ready = append(l.ready, text...)
		l.left -= len(text)
	}
}

// say passes on a line of our own.
func (l *live) say(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(line)
	if l.pause == nil {
		l.pass()
	}
}

// pass writes what is ready and begins a pause. The caller holds mu.
func (l *live) pass() {
	l.pause = nil
	if len(l.ready) == 0 {
		return
	}
	_, _ = l.to.Write(l.ready) // a reader may have gone
	l.ready = nil
	l.pause = time.AfterFunc(liveEvery, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if !l.closed {
			l.pass()
		}
	})
}

// close passes the rest on. Nothing is written after it has returned.
func (l *live) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true // a timer may have fired already
	l.take(string(l.line))
	if len(l.ready) > 0 {
		_, _ = l.to.Write(l.ready)
	}
	if l.pause != nil {
		l.pause.Stop()
	}
}
