package dev

import (
	"bytes"
	"io"
	"sync"
)

// lastWords is how much of what a process printed is kept, in bytes, for whoever
// asks why it has ended.
const lastWords = 4 << 10

// output is where several processes print. Their parts of lines do not mix.
type output struct {
	w io.Writer

	mu     sync.Mutex // guards the below, and writing
	author string     // of the line that has begun; "" when none has
}

// print prints what the process called author has said. prefix begins each line.
func (o *output) print(author, prefix string, text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.author != author {
		o.end()
	}
	var b bytes.Buffer
	for line := range bytes.Lines(text) {
		if o.author == "" {
			b.WriteString(prefix)
		}
		b.Write(line)
		o.author = author
		if line[len(line)-1] == '\n' {
			o.author = ""
		}
	}
	_, _ = o.w.Write(b.Bytes()) // whoever reads has gone
}

// endLine ends a line that has begun, so that other words stand apart.
func (o *output) endLine() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end()
}

// end is endLine; mu is held.
func (o *output) end() {
	if o.author != "" {
		_, _ = io.WriteString(o.w, "\n")
		o.author = ""
	}
}
