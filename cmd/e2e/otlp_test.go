package e2e

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	protobuf "google.golang.org/protobuf/proto"
)

// collector is a receiver of OTLP. It keeps spans with the service that they are of.
type collector struct {
	url string

	mu    sync.Mutex // guards the field below:
	spans map[string][]*wire.Span
}

func startCollector(t *testing.T) *collector {
	c := &collector{spans: make(map[string][]*wire.Span)}
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, "/v1/traces", r.URL.Path)
		var got wire.TracesData
		assert.NoError(t, protobuf.Unmarshal(data, &got))
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, rs := range got.GetResourceSpans() {
			service := rs.GetResource().GetAttributes()[0].GetValue().GetStringValue()
			for _, ss := range rs.GetScopeSpans() {
				c.spans[service] = append(c.spans[service], ss.GetSpans()...)
			}
		}
	}))
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

// of returns the spans of a service by their names.
func (c *collector) of(service string) map[string]*wire.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make(map[string]*wire.Span)
	for _, s := range c.spans[service] {
		list[s.GetName()] = s
	}
	return list
}

// telling answers with what a function of OpenTelemetry's needs to know.
const telling = `package fn

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
)

func Telling(w http.ResponseWriter, r *http.Request) {
	var list []string
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "OTEL_") {
			list = append(list, v)
		}
	}
	json.NewEncoder(w).Encode(map[string]any{"parent": r.Header.Get("Traceparent"), "env": list})
}
`

func TestSpansOfCallsDeploysAndFunctionsJoin(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
	c := startCollector(t)
	a := startAgent(t, "", "", "-otlp-endpoint", c.url)
	p := startProxy(t, "", "-agents", a.addr, "-otlp-endpoint", c.url)
	r := mustDeploy(t, p.http, "Telling", source(t, telling))
	_, answer, header := send(t, http.MethodGet, r.URL, "", nil)
	var told struct {
		Parent string
		Env    []string
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &told), answer)
	slices.Sort(told.Env)
	assert.Equal(t, []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_RESOURCE_ATTRIBUTES=service.version=1",
		"OTEL_SERVICE_NAME=Telling", "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=1",
	}, told.Env, "and no secret")
	deploy(t, p.http, "Broken", source(t, "package fn\n\nimport \"net/http\"\n\nfunc Broken(w http.ResponseWriter, r *http.Request) { undefined() }\n"))

	p.end() // what is left is sent
	a.end()
	call := c.of("ryo-proxy")["GET /functions/telling"]
	require.NotNil(t, call)
	assert.Equal(t, told.Parent, fmt.Sprintf("00-%x-%x-01", call.GetTraceId(), call.GetSpanId()), "the function's spans are below the call's")
	ids := ""
	for _, attribute := range call.GetAttributes() {
		ids += attribute.GetValue().GetStringValue() + " "
	}
	assert.Contains(t, ids, header.Get("X-Request-Id"))

	spans := c.of("ryo-agent")
	whole := spans["deploy Telling"]
	require.NotNil(t, whole, "%v", spans)
	assert.Nil(t, whole.GetStatus())
	var stages []string
	for name, s := range spans {
		if hex.EncodeToString(s.GetParentSpanId()) == hex.EncodeToString(whole.GetSpanId()) {
			stages = append(stages, name)
			assert.Equal(t, whole.GetTraceId(), s.GetTraceId())
		}
	}
	assert.Subset(t, []string{"queued", "checking", "building", "starting"}, stages)
	assert.Contains(t, stages, "starting")
	broken := spans["deploy Broken"]
	require.NotNil(t, broken)
	assert.Equal(t, wire.Status_STATUS_CODE_ERROR, broken.GetStatus().GetCode())
	assert.True(t, strings.HasPrefix(broken.GetStatus().GetMessage(), "build: "), broken.GetStatus().GetMessage())
}

func TestACollectorThatCannotBeIsSaidAtTheStart(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"agent", "proxy"} {
		r := runProgram(t, name, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=localhost:4317"}, "-dir", t.TempDir())
		assert.Equal(t, 2, r.code)
		assert.Contains(t, r.stderr, `OTEL_EXPORTER_OTLP_ENDPOINT: "localhost:4317" is not the url of a collector, such as http://localhost:4318`)
	}
}
