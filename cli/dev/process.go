package dev

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/remote/process"
)

// lag is how long the output of a process may come after its exit.
const lag = time.Second

// running is a process whose output is printed.
type running struct {
	*process.Process
	printed chan struct{} // closed when all that it prints has been printed

	mu   sync.Mutex // guards the fields below
	last []byte     // the end of its output, at most lastWords
}

// launch starts a process of the function and prints its output.
func (f *function) launch(v version) (*running, error) {
	printed, output, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer output.Close() // the process holds it, too
	proc, err := process.Start(process.Spec{
		Path: v.program, Dir: v.dir, Mount: f.mount, Function: v.key, Env: v.env, Sockets: f.sockets,
		Stdout: output, Stderr: output,
	})
	if err != nil {
		return nil, errors.Join(err, printed.Close())
	}
	r := &running{Process: proc, printed: make(chan struct{})}
	f.work.Go(func() {
		defer close(r.printed)
		defer printed.Close()
		r.copy(printed, f)
	})
	return r, nil
}

// copy prints the output until all its writers have closed it, without the first
// line, which is the platform's, for the log of a deploy.
func (r *running) copy(from io.Reader, f *function) {
	buffer := make([]byte, 32<<10)
	announced := []byte("deploying at " + f.mount + "\n")
	for {
		n, err := from.Read(buffer)
		text := bytes.TrimPrefix(buffer[:n], announced)
		if n > 0 {
			announced = nil
			r.mu.Lock()
			r.last = append(r.last, text...)
			r.last = bytes.Clone(r.last[max(0, len(r.last)-lastWords):])
			r.mu.Unlock()
			f.out.print(f.name, f.label(), text)
		}
		if err != nil {
			return
		}
	}
}

// words are the last output of a process that has exited.
func (r *running) words(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, lag)
	defer cancel()
	select {
	case <-r.printed:
	case <-ctx.Done(): // another process still holds its output
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(bytes.ToValidUTF8(r.last, []byte("\uFFFD")))
}
