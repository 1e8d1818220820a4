package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	batch    = 512             // spans in a request, as OpenTelemetry's default
	period   = 5 * time.Second // after which fewer are sent, as well
	tries    = 5               // of a request, while the collector says that it may be tried again
	firstGap = time.Second     // between two of them, doubled each time
	lastGap  = 30 * time.Second
	lastSend = 2 * time.Second // for what is left at the end
	maxReply = 64 << 10        // bytes of an answer that are read, to use the connection again
	maxText  = 1 << 10         // bytes of a text
)

// Run sends spans until ctx is done, and those that are left then, if the collector takes
// them at once. It is called once.
func (t *Tracer) Run(ctx context.Context) {
	if t == nil {
		<-ctx.Done()
		return
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: t.cfg.TLS, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	// A request that is under way at the end, and the last one, get some time.
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastSend, cancel) })()
	failing := false
	send := func(list []Span) {
		if len(list) == 0 {
			return
		}
		err := t.send(ctx, requests, client, list)
		switch {
		case err != nil:
			t.dropped.Add(uint64(len(list)))
			if !failing {
				t.cfg.Logger.Warn("spans are lost; the collector does not take them", "endpoint", t.cfg.Endpoint, "error", err)
			}
		case failing:
			t.cfg.Logger.Info("the collector takes spans again", "lost", t.Dropped())
		}
		failing = err != nil
	}
	tick := time.NewTicker(period)
	defer tick.Stop()
	var list []Span
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case s := <-t.spans:
			if list = append(list, s); len(list) == batch {
				send(list)
				list = nil
			}
		case <-tick.C:
			send(list)
			list = nil
		}
	}
	for {
		select {
		case s := <-t.spans:
			if list = append(list, s); len(list) == batch {
				send(list)
				list = nil
			}
		default:
			send(list)
			return
		}
	}
}

// errAgain is the error of a request that may be tried again.
var errAgain = errors.New("the collector is busy")

// send sends spans, again if that makes sense and ctx is not done.
func (t *Tracer) send(ctx, requests context.Context, client *http.Client, list []Span) error {
	body, err := proto.Marshal(t.message(list))
	if err != nil {
		return err
	}
	if t.cfg.Compress {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(body) // to memory
		_ = z.Close()
		body = b.Bytes()
	}
	gap := firstGap
	for try := 1; ; try++ {
		wait, err := t.post(requests, client, body)
		if err == nil || !errors.Is(err, errAgain) || try == tries {
			return err
		}
		timer := time.NewTimer(min(max(wait, gap), lastGap))
		gap *= 2
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// post makes one request. After an errAgain it says how long the collector wants to rest.
func (t *Tracer) post(ctx context.Context, client *http.Client, body []byte) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.cfg.Endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	maps.Copy(req.Header, t.cfg.Headers)
	req.Header.Set("Content-Type", "application/x-protobuf")
	if t.cfg.Compress {
		req.Header.Set("Content-Encoding", "gzip")
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errAgain, err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxReply))
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return time.Duration(min(seconds, int(lastGap/time.Second))) * time.Second, fmt.Errorf("%w: it answered %s", errAgain, res.Status)
	}
	if res.StatusCode/100 != 2 {
		return 0, fmt.Errorf("it answered %s", res.Status)
	}
	return 0, nil
}

// message puts spans into the form of an ExportTraceServiceRequest, whose one field a
// TracesData has, too.
func (t *Tracer) message(list []Span) *wire.TracesData {
	about := []*common.KeyValue{text("service.name", t.cfg.Service)}
	for _, name := range slices.Sorted(maps.Keys(t.cfg.Attributes)) {
		about = append(about, text(name, t.cfg.Attributes[name]))
	}
	spans := make([]*wire.Span, len(list))
	for i, s := range list {
		spans[i] = s.message()
	}
	return &wire.TracesData{ResourceSpans: []*wire.ResourceSpans{{
		Resource:   &resource.Resource{Attributes: about},
		ScopeSpans: []*wire.ScopeSpans{{Scope: &common.InstrumentationScope{Name: "github.com/Ishan27g/ryo-faas"}, Spans: spans}},
	}}}
}

func (s *Span) message() *wire.Span {
	m := &wire.Span{
		TraceId: s.Trace[:], SpanId: s.Span[:], Name: valid(s.Name), Kind: wire.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: uint64(s.Start.UnixNano()), EndTimeUnixNano: uint64(s.End.UnixNano()), Flags: uint32(wire.SpanFlags_SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK) | 1,
	}
	if s.Parent != [8]byte{} {
		m.ParentSpanId = s.Parent[:]
	}
	if s.Server {
		m.Kind = wire.Span_SPAN_KIND_SERVER
		if m.ParentSpanId != nil {
			m.Flags |= uint32(wire.SpanFlags_SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
		}
	}
	if s.Failed {
		m.Status = &wire.Status{Code: wire.Status_STATUS_CODE_ERROR, Message: valid(s.Message)}
	}
	for _, a := range s.Attributes {
		if a.Text != "" {
			m.Attributes = append(m.Attributes, text(a.Name, a.Text))
			continue
		}
		m.Attributes = append(m.Attributes, &common.KeyValue{Key: a.Name, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: a.Number}}})
	}
	return m
}

func text(name, value string) *common.KeyValue {
	return &common.KeyValue{Key: valid(name), Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: valid(value)}}}
}

// valid returns a text as a message may hold it.
func valid(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "\ufffd")
}
