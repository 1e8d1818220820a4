package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// body is a request's body that must keep coming: a read that waits longer than
// BodySilence fails. Its errors are the caller's fault and say so.
type body struct {
	io.ReadCloser
	conn *http.ResponseController
}

func newBody(w http.ResponseWriter, r io.ReadCloser) *body {
	return &body{ReadCloser: r, conn: http.NewResponseController(w)}
}

func (b *body) Read(p []byte) (int, error) {
	// Where the deadline cannot be set, a read may wait for ever.
	_ = b.conn.SetReadDeadline(time.Now().Add(wire.BodySilence))
	n, err := b.ReadCloser.Read(p)
	// A deadline that stays would cancel the call: net/http reads on, to learn when the
	// caller closes the connection.
	_ = b.conn.SetReadDeadline(time.Time{})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, proto.Errorf(proto.ErrStalled, "the body stopped coming for %s", wire.BodySilence)
	}
	return n, wire.InputError(err)
}

// input is a reader of what a caller sent; its errors are the caller's fault.
type input struct{ io.Reader }

func (i input) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	return n, wire.InputError(err)
}

// gate lets a body be read only while somebody waits for what it holds.
type gate struct {
	io.ReadCloser

	mu     sync.Mutex // guards the fields below
	change sync.Cond
	wanted bool
	closed bool
}

type gateKey struct{}

func newGate(r io.ReadCloser) *gate {
	g := &gate{ReadCloser: r}
	g.change.L = &g.mu
	return g
}

// gateFrom returns the gate of a call, or, for one without, a gate of no body.
func gateFrom(ctx context.Context) *gate {
	g, ok := ctx.Value(gateKey{}).(*gate)
	if !ok {
		return newGate(http.NoBody)
	}
	return g
}

// want says whether somebody waits for what the body holds.
func (g *gate) want(wanted bool) { g.set(&g.wanted, wanted) }

func (g *gate) set(flag *bool, to bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*flag = to
	g.change.Broadcast()
}

func (g *gate) Read(p []byte) (int, error) {
	g.mu.Lock()
	for !g.wanted && !g.closed {
		g.change.Wait()
	}
	g.mu.Unlock()
	return g.ReadCloser.Read(p)
}

// Close also makes a Read that waits return.
func (g *gate) Close() error {
	g.set(&g.closed, true)
	return g.ReadCloser.Close()
}
