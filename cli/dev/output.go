package dev

import (
	"bytes"
	"io"
	"sync"
)

// lastWords is how much of a process's output is kept, in bytes, to explain its exit.
const lastWords = 4 << 10

// output is where several processes print. Their parts of lines do not mix.
type output struct {
	w io.Writer

	mu     sync.Mutex // guards the fields below, and writing
	author string     // of the unfinished line; "": there is no such line
}

// print prints output of the process called author, with prefix before each line.
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
	_, _ = o.w.Write(b.Bytes()) // it fails if stdout is closed
}

// endLine ends an unfinished line, so that the next text begins a line.
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
