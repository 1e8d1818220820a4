package gateway

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/internal/trace"
)

// tracing returns a Tracer, and what ends it and returns what a collector got of it.
func tracing(t *testing.T, sampler trace.Sampler) (tr *trace.Tracer, end func() []*wire.Span) {
	var mu sync.Mutex
	var spans []*wire.Span
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		var got wire.TracesData
		assert.NoError(t, protobuf.Unmarshal(data, &got))
		mu.Lock()
		defer mu.Unlock()
		spans = append(spans, got.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()...)
	}))
	t.Cleanup(collector.Close)
	tr = trace.New(trace.Config{Endpoint: collector.URL, Timeout: patience, Sampler: sampler, Logger: hclog.NewNullLogger()})
	return tr, func() []*wire.Span {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		tr.Run(ctx)
		assert.Zero(t, tr.Dropped())
		mu.Lock()
		defer mu.Unlock()
		return spans
	}
}

func TestTheFunctionsSpansJoinTheCalls(t *testing.T) {
	const unsampled = "00-" + someTrace + "-b7ad6b7169203331-00"
	for name, tt := range map[string]struct {
		headers  string
		sampler  trace.Sampler
		recorded bool
		passes   bool // the headers pass unchanged
		joins    bool // the trace is the caller's
		state    bool // the tracestate passes
	}{
		"a recorded parent":   {"traceparent: " + someParent + "\r\ntracestate: a=1\r\n", trace.Sampler{Parents: true}, true, false, true, true},
		"a parent that isn't": {"Traceparent: " + unsampled + "\r\nTracestate: a=1\r\n", trace.Sampler{Ratio: 1, Parents: true}, false, true, true, true},
		"no parent":           {"", trace.Sampler{Ratio: 1}, true, false, false, false},
		"no parent, unlucky":  {"", trace.Sampler{}, false, false, false, false},
		"an invalid one":      {"Traceparent: 00-x\r\nTracestate: a=1\r\n", trace.Sampler{Ratio: 1, Parents: true}, true, false, false, false},
		"two of them":         {"Traceparent: " + someParent + "\r\nTraceparent: " + someParent + "\r\nTracestate: a=1\r\n", trace.Sampler{Parents: true}, false, false, false, false},
	} {
		for lane, line := range map[string]string{"fast": plainLine, "slow": unplainLine} {
			t.Run(name+" "+lane, func(t *testing.T) {
				tr, end := tracing(t, tt.sampler)
				var seen http.Header
				hello := function(t, "Hello", func(_ http.ResponseWriter, r *http.Request) { seen = r.Header.Clone() })
				hello.Version = 3
				log := make(lines, 10)
				addr, _ := frontWith(t, Config{Table: table(hello), Tracer: tr, AccessLog: logTo(t, log, 1)})
				exchange(t, addr, "GET /functions/hello?q=1 HTTP/1.1\r\nHost: h\r\nX-Request-Id: 7\r\n"+tt.headers+line+"\r\n")
				written := log.next(t) // the call has ended
				parents := seen.Values("Traceparent")
				require.Len(t, parents, 1)
				got, ok := trace.Parse([]byte(parents[0]))
				require.True(t, ok, parents)
				assert.Equal(t, hex.EncodeToString(got.Trace[:]), written["trace"])
				assert.Equal(t, tt.joins, written["trace"] == someTrace)
				assert.Equal(t, tt.recorded, got.Sampled)
				assert.Equal(t, tt.state, seen.Get("Tracestate") == "a=1")
				assert.Equal(t, tt.passes, parents[0] == unsampled)
				spans := end()
				if !tt.recorded {
					assert.Empty(t, spans)
					return
				}
				require.Len(t, spans, 1)
				s := spans[0]
				assert.Equal(t, got.Trace[:], s.GetTraceId())
				assert.Equal(t, got.Span[:], s.GetSpanId())
				if tt.joins {
					assert.Equal(t, "b7ad6b7169203331", hex.EncodeToString(s.GetParentSpanId()))
				} else {
					assert.Empty(t, s.GetParentSpanId())
				}
				assert.Equal(t, "GET /functions/hello", s.GetName())
				assert.Equal(t, wire.Span_SPAN_KIND_SERVER, s.GetKind())
				assert.Nil(t, s.GetStatus())
				about := attributes(s)
				for _, want := range []string{"http.response.status_code=200", "url.path=/functions/hello", "faas.invoked_name=Hello", "ryo.version=3", "ryo.request_id=7", "ryo.agent=localhost:9000"} {
					assert.Contains(t, about, want)
				}
				assert.NotContains(t, strings.Join(about, " "), "q=1", "queries may hold secrets")
			})
		}
	}
}

func attributes(s *wire.Span) (list []string) {
	for _, a := range s.GetAttributes() {
		if text := a.GetValue().GetStringValue(); text != "" {
			list = append(list, a.GetKey()+"="+text)
		} else {
			list = append(list, fmt.Sprint(a.GetKey(), "=", a.GetValue().GetIntValue()))
		}
	}
	slices.Sort(list)
	return list
}

func TestSpansOfCallsThatFailed(t *testing.T) {
	tr, end := tracing(t, trace.Sampler{Ratio: 1})
	log := make(lines, 10)
	addr, _ := frontWith(t, Config{Table: table(deployed("Down", "127.0.0.1:1")), Tracer: tr, AccessLog: logTo(t, log, 1)})
	for _, line := range []string{plainLine, unplainLine} {
		for _, path := range []string{"down", "other"} {
			exchange(t, addr, "GET /functions/"+path+" HTTP/1.1\r\nHost: h\r\n"+line+"\r\n")
			log.next(t)
		}
	}
	spans := end()
	require.Len(t, spans, 2, "what found no function is no call")
	for _, s := range spans {
		assert.Equal(t, wire.Status_STATUS_CODE_ERROR, s.GetStatus().GetCode())
		assert.Contains(t, attributes(s), "error.type=function dial")
	}
}
