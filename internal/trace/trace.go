package trace

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// queue bounds the spans that wait to be sent, as OpenTelemetry's default: some MiB.
const queue = 2048

// Span is a part of the work that has ended.
type Span struct {
	Context
	Parent     [8]byte // zero: none
	Name       string
	Server     bool // it answers a call
	Start, End time.Time
	Failed     bool
	Message    string // why it failed
	Attributes []Attribute
}

// Attribute is one of a span: a text, or a number.
type Attribute struct {
	Name   string
	Text   string
	Number int64 // when Text is ""
}

// Tracer records spans. A nil one records none.
type Tracer struct {
	cfg     Config
	below   uint64 // of ids of traces without a parent, which are recorded
	spans   chan Span
	dropped atomic.Uint64
}

// New returns the Tracer of a configuration, nil if it has no endpoint. Run sends its
// spans.
func New(cfg Config) *Tracer {
	if cfg.Endpoint == "" {
		return nil
	}
	t := &Tracer{cfg: cfg, spans: make(chan Span, queue)}
	t.below = uint64(cfg.Sampler.Ratio * (math.MaxInt64 + 1))
	return t
}

// Dropped returns how many spans no collector has got.
func (t *Tracer) Dropped() uint64 {
	if t == nil {
		return 0
	}
	return t.dropped.Load()
}

// Environment returns the variables by which another program sends its own to the same
// collector, and records as much as this one. Headers, which may be secret, are not among
// them.
func (t *Tracer) Environment(service string, version uint32) []string {
	if t == nil {
		return nil
	}
	list := []string{
		"OTEL_SERVICE_NAME=" + service, fmt.Sprintf("OTEL_RESOURCE_ATTRIBUTES=service.version=%d", version), "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_TRACES_SAMPLER=" + t.cfg.Sampler.name(), fmt.Sprintf("OTEL_TRACES_SAMPLER_ARG=%v", t.cfg.Sampler.Ratio),
	}
	if t.cfg.Base != "" {
		list = append(list, EndpointVariable+"="+t.cfg.Base)
	}
	if !t.cfg.ofBase {
		list = append(list, tracesVariable+"ENDPOINT="+t.cfg.Endpoint)
	}
	return list
}

// Child returns the context of a span that begins. Without a parent it begins a trace.
func (t *Tracer) Child(parent Context) Context {
	c := parent.child()
	if parent.Trace == [16]byte{} || !t.cfg.Sampler.Parents {
		// As the specification has it, so that all programs with this ratio choose alike.
		c.Sampled = binary.BigEndian.Uint64(c.Trace[8:])>>1 < t.below
	}
	return c
}

// Record tells a span that has ended. It does not wait.
func (t *Tracer) Record(s Span) {
	select {
	case t.spans <- s:
	default:
		t.dropped.Add(1)
	}
}

// Running is a span that has not ended. A nil one is not recorded.
type Running struct {
	t *Tracer
	Span
}

// Begin begins a span of a new trace, which is recorded unless the ratio is 0: it is for
// work that is done seldom.
func (t *Tracer) Begin(name string, attributes ...Attribute) *Running {
	if t == nil || t.below == 0 {
		return nil
	}
	r := &Running{t, Span{Context: Context{}.child(), Name: name, Start: time.Now(), Attributes: attributes}}
	r.Sampled = true
	return r
}

// Child begins a span below another.
func (r *Running) Child(name string, attributes ...Attribute) *Running {
	if r == nil {
		return nil
	}
	return &Running{r.t, Span{Context: r.child(), Parent: r.Context.Span, Name: name, Start: time.Now(), Attributes: attributes}}
}

// Finish ends the span. why says why its work failed; "": it has not.
func (r *Running) Finish(why string, attributes ...Attribute) {
	if r == nil {
		return
	}
	r.End, r.Failed, r.Message = time.Now(), why != "", why
	r.Attributes = append(r.Attributes, attributes...)
	r.t.Record(r.Span)
}
