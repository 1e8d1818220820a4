package gateway

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	someTrace  = "0af7651916cd43dd8448eb211c80319c"
	someParent = "00-" + someTrace + "-b7ad6b7169203331-01"
)

func TestTraceContextPassesUnchanged(t *testing.T) {
	l := newLanes(t)
	for _, tt := range []string{
		"traceparent: " + someParent + "\r\ntracestate: a=1,b=2\r\ntracestate: c=3\r\n",
		"Traceparent: 00-" + someTrace + "-b7ad6b7169203331-00\r\nTraceState: \r\n",
		"traceparent: nonsense\r\nTraceparent: " + someParent + "\r\nbaggage: k=v;p\r\n",
	} {
		want, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET / HTTP/1.1\r\nHost: h\r\n" + tt + "\r\n")))
		require.NoError(t, err)
		for lane, line := range map[string]string{"fast": plainLine, "slow": unplainLine} {
			seen, _ := l.call(t, "GET /functions/hello HTTP/1.1\r\nHost: h\r\n"+tt+line, "", said[0])
			for name, values := range want.Header {
				for _, v := range values {
					assert.Contains(t, seen, "\n"+name+": "+v+"\r\n", lane)
				}
				assert.Equal(t, len(values), strings.Count(seen, "\n"+name+": "), "%s %s", lane, name)
			}
		}
	}
}

// scrape returns the metrics of a gateway that are about calls, in a form.
func scrape(t *testing.T, g *Gateway, accept string) string {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	g.Metrics().ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var calls []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "ryo_") {
			calls = append(calls, line)
		}
	}
	return strings.Join(calls, "")
}

const (
	textForm    = "text/plain; version=0.0.4"
	openMetrics = "application/openmetrics-text; version=1.0.0"
)

func TestMetricsCountCallsByVersionAndOutcome(t *testing.T) {
	hello := function(t, "Hello", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = io.WriteString(w, "hello")
	})
	hello.Version = 3
	routes := table(hello, deployed("Down", "127.0.0.1:1"))
	addr, g := frontWith(t, Config{Table: routes})
	for _, line := range []string{plainLine, unplainLine} {
		for _, path := range []string{"hello", "HELLO/a/b", "hello?q", "down", "other", "other2", "hello@9x"} {
			exchange(t, addr, "GET /functions/"+path+" HTTP/1.1\r\nHost: h\r\nTraceparent: "+someParent+"\r\n"+line+"\r\n")
		}
	}
	want := []string{
		`ryo_calls_total{component="",function="Hello",reason="",status="2xx",version="3"} 4`,
		`ryo_calls_total{component="",function="Hello",reason="",status="4xx",version="3"} 2`,
		`ryo_calls_total{component="function",function="Down",reason="dial",status="5xx",version=""} 2`,
		`ryo_calls_total{component="gateway",function="unknown",reason="not_found",status="4xx",version=""} 4`,
		`ryo_calls_total{component="gateway",function="unknown",reason="invalid",status="4xx",version=""} 2`,
		`ryo_calls_in_flight{function="Hello"} 0`,
		`ryo_call_answer_bytes_total{function="Hello",version="3"} 20`,
		`ryo_calls_repeated_total{function="Hello",version="3"} 0`,
		`ryo_call_duration_seconds_count{function="Hello",version="3"} 6`,
		`ryo_call_duration_seconds_bucket{function="Hello",version="3",le="+Inf"} 6`,
	}
	var text string
	require.Eventually(t, func() bool { // a caller has its answer before the call has ended
		text = scrape(t, g, textForm)
		return !slices.ContainsFunc(want, func(line string) bool { return !strings.Contains(text, line+"\n") })
	}, patience, time.Millisecond)
	assert.NotContains(t, text, "other2", "no label is the caller's")
	assert.Contains(t, scrape(t, g, openMetrics), `# {trace_id="`+someTrace+`"}`)

	routes.Update(map[string][]Replica{"hello": nil, "down": nil})
	assert.NotContains(t, scrape(t, g, textForm), "Hello", "its function is gone")
}

func TestMetricsOutliveRoutesAndFewVersions(t *testing.T) {
	row := deployed("Hello", "127.0.0.1:1")
	routes := NewTable()
	update := func(version uint32) *route {
		row.Version = version
		routes.Update(map[string][]Replica{"hello": {{Row: row}}})
		return (*routes.routes.Load())["hello"]
	}
	first := update(1)
	first.versions[0].meter.bytes.Add(1)
	assert.Same(t, first.versions[0].meter, update(1).versions[0].meter)
	for number := uint32(2); number < 100; number++ {
		update(number)
	}
	var numbers []uint32
	for _, m := range update(100).meters {
		numbers = append(numbers, m.number)
	}
	assert.Equal(t, []uint32{0, 95, 96, 97, 98, 99, 100}, numbers)
	assert.NotSame(t, first.versions[0].meter, update(1).versions[0].meter)
	row.Name = "HEllo"
	assert.Equal(t, "HEllo", update(1).versions[0].meter.function)
}

func TestMetricsHaveNoWordsOfOthers(t *testing.T) {
	g := New(Config{Table: NewTable(), Logger: hclog.NewNullLogger()})
	for _, reason := range []string{"a", "b", "c"} {
		g.ended(&ending{status: 502, failure: proto.Errorf(proto.ErrBadGateway, "x").From("my "+reason, reason)}, new(picker))
	}
	assert.Contains(t, scrape(t, g, textForm), `ryo_calls_total{component="other",function="unknown",reason="other",status="5xx",version=""} 3`)
}
