package queue

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

const (
	// maxInline is how much of an answer stands in the record of its call, in bytes: lists of
	// calls read all records.
	maxInline = 8 << 10
	// MaxBody bounds what is stored of one call, in bytes: its body, and its answer.
	MaxBody = 64 << 20
	// maxHeader bounds the headers of an answer that are kept, in bytes.
	maxHeader = 16 << 10
)

// errAnswerSize is why an answer is not kept.
var errAnswerSize = errors.New("the answer has more than 64MiB, which are not kept")

// answer is the http.ResponseWriter that keeps an answer: a small body in memory, a large
// one as a blob.
type answer struct {
	ctx   context.Context //nolint:containedctx // of the one call that it is for: a ResponseWriter gets none
	blobs store.Blobs
	name  string // of the blob

	header http.Header
	status int
	kept   http.Header
	body   bytes.Buffer
	size   int64

	blob string         // where the body is; "": in body
	to   *io.PipeWriter // of the blob that is being stored; nil: none is
	put  chan error     // of that
	err  error          // why the body is not kept
}

func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter. Interim answers are for callers who wait.
func (a *answer) WriteHeader(status int) {
	if a.status > 0 || status < 200 {
		return
	}
	a.status, a.kept = status, keptOf(a.header)
}

// keptOf returns the headers of an answer that are kept.
func keptOf(h http.Header) http.Header {
	to, room := http.Header{}, maxHeader
	for name, values := range h {
		if fate := forward.FateOf(name); fate == forward.Hop || fate == forward.Framing {
			continue
		}
		for _, v := range values {
			if room -= len(name) + len(v); room >= 0 {
				to.Add(name, v)
			}
		}
	}
	return to
}

// Write implements http.ResponseWriter. What cannot be kept is read all the same: the
// function has done its work.
func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.size += int64(len(p))
	if a.err == nil {
		a.keep(p)
	}
	return len(p), nil
}

func (a *answer) keep(p []byte) {
	switch {
	case a.size > MaxBody:
		a.drop(errAnswerSize)
	case a.to == nil && a.size <= maxInline:
		a.body.Write(p)
	default:
		a.spill(p)
	}
}

// spill writes to the blob, which it begins with what was in memory.
func (a *answer) spill(p []byte) {
	if a.to == nil {
		r, w := io.Pipe()
		a.to, a.put = w, make(chan error, 1)
		go func() {
			_, err := a.blobs.Put(a.ctx, a.name, r)
			_ = r.CloseWithError(err) // a Write that waits returns
			a.put <- err
		}()
		p = append(bytes.Clone(a.body.Bytes()), p...)
		a.body.Reset()
	}
	if _, err := a.to.Write(p); err != nil {
		a.drop(err)
	}
}

// drop gives the body up.
func (a *answer) drop(err error) {
	a.err = err
	a.body.Reset()
	if a.to != nil {
		_ = a.to.CloseWithError(err)
		<-a.put //nolint:errcheck // it is given up
		a.to = nil
	}
}

// Flush implements http.Flusher: there is nobody to send anything to.
func (a *answer) Flush() {}

// close ends the answer. err says why it is not whole; nil: it is. It returns why the body
// of a whole answer is not kept.
func (a *answer) close(err error) error {
	if a.to == nil {
		return a.err
	}
	if err != nil {
		a.drop(err)
		return nil
	}
	_ = a.to.Close()
	if err := <-a.put; err != nil {
		a.err = err
		return err
	}
	a.to, a.blob = nil, a.name
	return nil
}

func (a *answer) inline() []byte {
	if a.blob != "" {
		return nil
	}
	return bytes.Clone(a.body.Bytes())
}
