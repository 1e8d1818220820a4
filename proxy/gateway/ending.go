package gateway

import (
	"errors"
	"net/http"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/http1"
)

// ending is what is known of a call when it has ended. Both lanes make one of each call.
type ending struct {
	route    *route   // nil: no function was found
	version  *version // that was called; nil: none was chosen
	target   *target  // that was called last; nil: none
	method   []byte
	host     string // that the caller addressed
	uri      []byte // the request target, as the caller sent it
	id       string
	peer     string        // the caller's address
	begun    time.Time     // when the head of the request had come
	head     time.Duration // until the head of the function's answer had come; 0: it has not
	took     time.Duration
	status   int    // of the answer; 0: none was sent
	bytes    int64  // of the answer's body
	bytesIn  int64  // of the caller's body, as far as it was read
	repeated bool   // the call was sent a second time over another connection
	retries  int    // how often the call was sent, or tried to be, beside the first time
	trace    []byte // the header traceparent that the function got
	span     span
	failure  error // why the function's answer is missing or not whole
}

// ended is told the end of each call, once, and gives back what the call holds of its
// replica. The ending may not be kept.
func (g *Gateway) ended(e *ending, p *picker) {
	p.release()
	e.took = time.Since(e.begun)
	component, reason := e.blame()
	if e.status == 0 && component == "caller" {
		e.status = leftStatus
	}
	g.meter(e).add(e, component, reason)
	g.log(e, component, reason)
	g.record(e, component, reason)
	if !g.Logger.IsDebug() {
		return
	}
	about := []any{
		"method", string(e.method), "target", string(e.uri), "status", e.status, "bytes", e.bytes,
		"took", e.took, "id", e.id,
	}
	if e.failure != nil {
		about = append(about, "component", component, "reason", reason, "error", e.failure)
	}
	g.Logger.Debug("call closed", about...)
}

// leftStatus stands for the answer that a caller did not wait for, as in wire's table.
const leftStatus = 499

// blame returns which part failed and why, as errors tell it, in a word each; nothing
// when the answer is the function's own, and whole.
func (e *ending) blame() (component, reason string) {
	if e.failure == nil {
		return "", ""
	}
	var told *proto.Error
	switch {
	case errors.As(e.failure, &told) && told.Component != "":
		return told.Component, told.Reason
	case errors.Is(e.failure, errLeft):
		return "caller", "canceled"
	case errors.Is(e.failure, errBusy):
		return "gateway", "stopped"
	case told == nil && e.head > 0:
		return "function", "cut" // its answer had begun
	}
	return "gateway", string(proto.AsError(e.failure).Kind)
}

// version returns the version that was called, or would have been.
func (p *picker) version() *version {
	if p.served != nil {
		return p.served
	}
	return p.chosen
}

// retries returns how often the call was sent, or tried to be, beside the first time.
func (p *picker) retries(repeated bool) int {
	n := max(0, p.asked-1)
	if repeated {
		n++
	}
	return n
}

// ending returns the end of the call, and of what panicked during it, nil for nothing.
func (c *call) ending(panicked any) ending {
	e := ending{
		route: c.route, version: c.version(), target: c.target, method: []byte(c.in.Method), host: c.in.Host, uri: []byte(c.in.RequestURI),
		id: c.id[0], peer: c.in.RemoteAddr, begun: c.begun, head: c.head, status: c.out.status, bytes: c.out.bytes, bytesIn: c.bytesIn.Load(),
		repeated: c.repeated, retries: c.retries(c.repeated), span: c.span, failure: c.failure,
	}
	e.trace = c.span.traceparent([]byte(c.in.Header.Get("Traceparent")))
	if panicked == nil {
		return e
	}
	switch err, _ := panicked.(error); {
	case !errors.Is(err, http.ErrAbortHandler):
		e.failure = proto.Errorf(proto.ErrInternal, "panic: %v", panicked)
	case c.overflows.Load():
		e.failure = c.route.edge.tooLarge(c.route.name)
	case c.in.Context().Err() != nil:
		e.failure = errLeft
	case e.failure == nil:
		e.failure = errCut
	}
	return e
}

// ending returns the end of the call, which ended its connection with err.
func (c *fastCall) ending(err error) ending {
	e := ending{
		route: c.route, version: c.version(), target: c.target, method: c.request.Method, host: c.about.Host, uri: c.request.Target,
		id: c.id, peer: c.about.Remote, begun: c.begun, head: c.headAfter, status: c.status, bytes: c.bytes, bytesIn: int64(len(c.body)),
		repeated: c.repeated, retries: c.retries(c.repeated), span: c.span, failure: c.failure,
	}
	if c.span.ours {
		e.trace = append(c.scratch.trace[:0], c.span.header[:]...) // a slice of the call itself would move that to the heap
	} else {
		e.trace = valueOf(c.request.Headers, "traceparent")
	}
	if e.failure == nil && (e.status == 0 || !errors.Is(err, errBusy)) { // which also ends connections after a whole answer
		e.failure = err
		if cause := c.canceled(); err != nil && cause != nil {
			e.failure = cause
		}
	}
	return e
}

// valueOf returns the value of a header, nil when there is none. The name is in lower
// case.
func valueOf(list []http1.Header, name string) []byte {
	for _, h := range list {
		if len(h.Name) == len(name) && http1.Equal(h.Name, name) {
			return h.Value
		}
	}
	return nil
}
