package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	wire "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = testkit.Patience

// collector gets spans. It answers with the statuses of its list, then with 200.
type collector struct {
	t    *testing.T
	url  string
	seen chan *http.Request

	mu       sync.Mutex // guards the fields below:
	statuses []int
	services []string
	spans    []*wire.Span
}

func newCollector(t *testing.T, statuses ...int) *collector {
	c := &collector{t: t, statuses: statuses, seen: make(chan *http.Request, 100)}
	srv := httptest.NewServer(c)
	t.Cleanup(srv.Close)
	c.url = srv.URL
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() { c.seen <- r }()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.statuses) > 0 {
		w.WriteHeader(c.statuses[0])
		c.statuses = c.statuses[1:]
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if !assert.NoError(c.t, err) {
			return
		}
		body = z
	}
	data, err := io.ReadAll(body)
	assert.NoError(c.t, err)
	var got wire.TracesData
	assert.NoError(c.t, proto.Unmarshal(data, &got))
	for _, rs := range got.GetResourceSpans() {
		for _, a := range rs.GetResource().GetAttributes() {
			c.services = append(c.services, a.GetKey()+"="+a.GetValue().GetStringValue())
		}
		for _, ss := range rs.GetScopeSpans() {
			c.spans = append(c.spans, ss.GetSpans()...)
		}
	}
}

func (c *collector) got() []*wire.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// running runs a Tracer until stop is called or the test ends.
func running(t *testing.T, env map[string]string) (tr *Tracer, stop func()) {
	t.Helper()
	cfg, err := FromEnv(env[EndpointVariable], "test", func(name string) string { return env[name] })
	require.NoError(t, err)
	cfg.Logger = hclog.NewNullLogger()
	tr = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { tr.Run(ctx) })
	stop = func() { cancel(); done.Wait() }
	t.Cleanup(stop)
	return tr, stop
}

func TestSpansReachTheCollector(t *testing.T) {
	for _, compression := range []string{"", "gzip"} {
		c := newCollector(t)
		tr, stop := running(t, map[string]string{
			EndpointVariable: c.url + "/base", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=a%20b, X-Other=c",
			"OTEL_EXPORTER_OTLP_COMPRESSION": compression, "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod",
		})
		root := tr.Begin("deploy F", Attribute{Name: "faas.name", Text: "F\xff"}, Attribute{Name: "n", Number: 3})
		child := root.Child("building")
		child.Finish("no room")
		root.Finish("")
		stop()
		r := <-c.seen
		assert.Equal(t, "/base/v1/traces", r.URL.Path)
		assert.Equal(t, "a b", r.Header.Get("Api-Key"))
		assert.Equal(t, "c", r.Header.Get("X-Other"))
		assert.Equal(t, "application/x-protobuf", r.Header.Get("Content-Type"))
		assert.Equal(t, []string{"service.name=test", "deployment.environment.name=prod"}, c.services)
		spans := c.got()
		require.Len(t, spans, 2)
		building, deploy := spans[0], spans[1]
		assert.Equal(t, "building", building.GetName())
		assert.Equal(t, "deploy F", deploy.GetName())
		assert.Equal(t, deploy.GetSpanId(), building.GetParentSpanId())
		assert.Equal(t, deploy.GetTraceId(), building.GetTraceId())
		assert.Empty(t, deploy.GetParentSpanId())
		assert.Equal(t, wire.Status_STATUS_CODE_ERROR, building.GetStatus().GetCode())
		assert.Equal(t, "no room", building.GetStatus().GetMessage())
		assert.Nil(t, deploy.GetStatus())
		assert.LessOrEqual(t, building.GetStartTimeUnixNano(), building.GetEndTimeUnixNano())
		assert.Equal(t, "F\ufffd", deploy.GetAttributes()[0].GetValue().GetStringValue())
		assert.EqualValues(t, 3, deploy.GetAttributes()[1].GetValue().GetIntValue())
		assert.Zero(t, tr.Dropped())
	}
}

func TestABatchIsSentAtOnce(t *testing.T) {
	c := newCollector(t)
	tr, _ := running(t, map[string]string{EndpointVariable: c.url})
	for range batch {
		tr.Record(Span{Name: "x"})
	}
	select {
	case <-c.seen:
	case <-time.After(patience):
		t.Fatal("nothing was sent")
	}
	assert.Len(t, c.got(), batch)
}

func TestARequestIsTriedAgainWhereThatMakesSense(t *testing.T) {
	for status, again := range map[int]bool{503: true, 429: true, 400: false, 302: false} {
		c := newCollector(t, status)
		tr, stop := running(t, map[string]string{EndpointVariable: c.url})
		for range batch {
			tr.Record(Span{Name: "x"})
		}
		<-c.seen
		if again {
			<-c.seen
			assert.Len(t, c.got(), batch)
		}
		stop()
		if again {
			assert.Zero(t, tr.Dropped(), status)
		} else {
			assert.EqualValues(t, batch, tr.Dropped(), status)
		}
	}
}

func TestNoWorkWaitsForACollector(t *testing.T) {
	tr := New(Config{Endpoint: "http://127.0.0.1:1", Logger: hclog.NewNullLogger()})
	for range queue + 5 { // nobody sends them
		tr.Record(Span{})
	}
	assert.EqualValues(t, 5, tr.Dropped())
}

func TestTheEndIsNotHeldUpByACollectorThatDoesNotAnswer(t *testing.T) {
	var said bytes.Buffer
	cfg := Config{Endpoint: "http://127.0.0.1:1", Timeout: patience, Logger: hclog.New(&hclog.LoggerOptions{Output: &said})}
	tr := New(cfg)
	tr.Record(Span{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begun := time.Now()
	tr.Run(ctx)
	assert.Less(t, time.Since(begun), lastSend+patience/2)
	assert.EqualValues(t, 1, tr.Dropped())
	assert.Contains(t, said.String(), "spans are lost")
}

func TestWithoutAnEndpointNothingIsRecorded(t *testing.T) {
	for _, env := range []map[string]string{
		{},
		{EndpointVariable: "http://localhost:4318", "OTEL_SDK_DISABLED": "true"},
		{EndpointVariable: "http://localhost:4318", "OTEL_TRACES_EXPORTER": "none"},
	} {
		cfg, err := FromEnv(env[EndpointVariable], "test", func(name string) string { return env[name] })
		require.NoError(t, err)
		tr := New(cfg)
		assert.Nil(t, tr)
		tr.Begin("x").Child("y").Finish("z")
		assert.Zero(t, tr.Dropped())
		assert.Empty(t, tr.Environment("x", 1))
	}
}

func TestTheSamplerChooses(t *testing.T) {
	parents := map[string]Context{"none": {}, "recorded": {Trace: [16]byte{1}, Span: [8]byte{1}, Sampled: true}, "not recorded": {Trace: [16]byte{1, 15: 1}, Span: [8]byte{1}}}
	for name, want := range map[string]map[string]float64{
		"":                              {"none": 0.01, "recorded": 1, "not recorded": 0},
		"always_on":                     {"none": 1, "recorded": 1, "not recorded": 1},
		"always_off":                    {"none": 0, "recorded": 0, "not recorded": 0},
		"traceidratio 0.5":              {"none": 0.5},
		"parentbased_always_on":         {"none": 1, "recorded": 1, "not recorded": 0},
		"parentbased_always_off":        {"none": 0, "recorded": 1, "not recorded": 0},
		"parentbased_traceidratio 0.25": {"none": 0.25, "recorded": 1, "not recorded": 0},
		"parentbased_traceidratio":      {"none": 1, "recorded": 1, "not recorded": 0},
	} {
		kind, arg, _ := strings.Cut(name, " ")
		s, err := sampler(kind, arg)
		require.NoError(t, err)
		tr := New(Config{Endpoint: "http://127.0.0.1:1", Sampler: s})
		for parent, part := range want {
			const many = 20000
			n := 0
			for range many {
				c := tr.Child(parents[parent])
				if c.Sampled {
					n++
				}
				if parent != "none" {
					require.Equal(t, parents[parent].Trace, c.Trace)
				}
			}
			assert.InDelta(t, part, float64(n)/many, 4*math.Sqrt(part*(1-part)/many)+1e-9, "%s, parent: %s", name, parent)
		}
	}
}

func TestOtherProgramsAreToldWhereSpansGo(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want []string
	}{
		{map[string]string{EndpointVariable: "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "key=secret"}, []string{
			"OTEL_SERVICE_NAME=Hello", "OTEL_RESOURCE_ATTRIBUTES=service.version=3", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
			"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.01", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318",
		}},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/t", "OTEL_TRACES_SAMPLER": "always_on"}, []string{
			"OTEL_SERVICE_NAME=Hello", "OTEL_RESOURCE_ATTRIBUTES=service.version=3", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
			"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4318/t",
		}},
	} {
		cfg, err := FromEnv(tt.env[EndpointVariable], "test", func(name string) string { return tt.env[name] })
		require.NoError(t, err)
		assert.Equal(t, tt.want, New(cfg).Environment("Hello", 3))
	}
}

func TestTheEndpointOfTracesWinsUnlessAFlagIsGiven(t *testing.T) {
	env := map[string]string{EndpointVariable: "http://all:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://traces:4318/t"}
	for flag, want := range map[string]string{"http://all:4318": "http://traces:4318/t", "https://flag/": "https://flag/v1/traces"} {
		cfg, err := FromEnv(flag, "test", func(name string) string { return env[name] })
		require.NoError(t, err)
		assert.Equal(t, want, cfg.Endpoint)
	}
}

func TestVariablesThatCannotBe(t *testing.T) {
	for variable, value := range map[string]string{
		EndpointVariable:                     "localhost:4317",
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://x",
		"OTEL_EXPORTER_OTLP_PROTOCOL":        "grpc",
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
		"OTEL_EXPORTER_OTLP_HEADERS":         "secret",
		"OTEL_EXPORTER_OTLP_TIMEOUT":         "10s",
		"OTEL_EXPORTER_OTLP_COMPRESSION":     "zstd",
		"OTEL_EXPORTER_OTLP_CERTIFICATE":     "/nowhere",
		"OTEL_TRACES_SAMPLER":                "some",
		"OTEL_TRACES_EXPORTER":               "console",
		"OTEL_RESOURCE_ATTRIBUTES":           "=x",
	} {
		env := map[string]string{EndpointVariable: "http://localhost:4318"}
		env[variable] = value
		_, err := FromEnv(env[EndpointVariable], "test", func(name string) string { return env[name] })
		require.Error(t, err, variable)
		if strings.Contains(variable, "ENDPOINT") {
			assert.Contains(t, err.Error(), value)
		} else {
			assert.Contains(t, err.Error(), variable)
		}
		assert.NotContains(t, err.Error(), "secret")
	}
	env := map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}
	_, err := FromEnv("http://localhost:4318", "test", func(name string) string { return env[name] })
	require.ErrorContains(t, err, "OTEL_TRACES_SAMPLER_ARG")
}
