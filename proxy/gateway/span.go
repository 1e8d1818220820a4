package gateway

import (
	"bytes"
	"net/http"

	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/http1"
)

// span is the call as a part of a trace. The zero value is that of a gateway without a
// Tracer, where the caller's headers pass as they are.
type span struct {
	trace.Context
	parent [8]byte                // the span of the caller that the call is below; zero: none
	header [trace.HeaderSize]byte // the function's traceparent, if it replaces the caller's
	given  bool                   // the caller's traceparent is a valid one
	ours   bool                   // the function gets header
}

// trace decides whether the call is recorded. It is told the caller's headers traceparent.
func (s *span) trace(t *trace.Tracer, first []byte, more bool) {
	var parent trace.Context
	if !more { // of several none counts
		parent, s.given = trace.Parse(first)
	}
	if !s.given {
		parent = trace.Context{}
	}
	s.Context, s.parent = t.Child(parent), parent.Span
	// Where nothing is recorded, the next one's parent is ours.
	if s.ours = s.Sampled || !s.given; s.ours {
		s.Append(s.header[:0])
	}
}

// drops says whether a header of the caller is kept from the function. Without a valid
// traceparent the tracestate has no meaning.
func (s *span) drops(name []byte) bool {
	switch {
	case !s.ours:
		return false
	case len(name) == len("traceparent"):
		return http1.Equal(name, "traceparent")
	}
	return !s.given && len(name) == len("tracestate") && http1.Equal(name, "tracestate")
}

// trace gives the call its place in a trace.
func (c *fastCall) trace() {
	var first []byte
	n := 0
	for _, h := range c.request.Headers {
		if len(h.Name) == len("traceparent") && http1.Equal(h.Name, "traceparent") {
			if n++; n == 1 {
				first = h.Value
			}
		}
	}
	c.span.trace(c.Tracer, first, n > 1)
}

// trace gives the call its place in a trace.
func (c *call) trace() {
	var first string
	list := c.in.Header.Values("Traceparent")
	if len(list) > 0 {
		first = list[0]
	}
	c.span.trace(c.Tracer, []byte(first), len(list) > 1)
}

// write puts the call's place into the headers of the request to the function.
func (s *span) write(h http.Header) {
	if !s.ours {
		return
	}
	h.Set("Traceparent", string(s.header[:]))
	if !s.given {
		h.Del("Tracestate")
	}
}

// traceparent returns the one that the function got, of which the caller's is given.
func (s *span) traceparent(given []byte) []byte {
	if s.ours {
		return bytes.Clone(s.header[:])
	}
	return given
}

// record tells the call's span, if it is recorded.
func (g *Gateway) record(e *ending, component, reason string) {
	if !e.span.Sampled || e.route == nil {
		return
	}
	path, _, _ := bytes.Cut(e.uri, []byte{'?'})
	s := trace.Span{
		Context: e.span.Context, Parent: e.span.parent, Server: true, Start: e.begun, End: e.begun.Add(e.took),
		Name: string(e.method) + " " + e.route.prefix,
		Attributes: []trace.Attribute{
			{Name: "http.request.method", Text: string(e.method)},
			{Name: "http.route", Text: e.route.prefix},
			{Name: "url.path", Text: string(path)},
			{Name: "http.response.status_code", Number: int64(e.status)},
			{Name: "client.address", Text: e.peer},
			{Name: "server.address", Text: e.host},
			{Name: "faas.invoked_name", Text: e.route.name},
			{Name: "ryo.request_id", Text: e.id},
		},
	}
	add := func(name, text string) { s.Attributes = append(s.Attributes, trace.Attribute{Name: name, Text: text}) }
	if e.version != nil && e.version.number > 0 {
		s.Attributes = append(s.Attributes, trace.Attribute{Name: "ryo.version", Number: int64(e.version.number)})
	}
	if e.target != nil {
		add("ryo.agent", e.target.key.agent)
	}
	if component != "" {
		add("error.type", component+" "+reason)
	}
	// As OpenTelemetry's conventions for servers: an error of the caller's is none of the call.
	if s.Failed = e.status >= http.StatusInternalServerError || component != "" && component != "caller" && e.status < http.StatusBadRequest; s.Failed && e.failure != nil {
		s.Message = e.failure.Error()
	}
	g.Tracer.Record(s)
}
