package gateway

import (
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/Ishan27g/ryo-faas/internal/trace"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway/accesslog"
)

const (
	// keptMeters is how many versions that serve no longer still have their series, so that
	// the last calls of a version that was just replaced are seen.
	keptMeters = 5
	// exemplarEvery is how often at most a series gets the trace of a call: that costs more
	// than counting it.
	exemplarEvery = time.Second
	noFunction    = "unknown" // the label of calls that found no function; no function has such a name
)

// meter counts the calls of one version of a function, or those that reached none.
type meter struct {
	function string
	number   uint32                      // of the version; 0: the calls reached none
	answers  [len(classes)]atomic.Uint64 // the functions' own, whole, by class
	bytes    atomic.Uint64
	repeated atomic.Uint64
	duration atomic.Pointer[histogram] // nil before the first call: it is large

	mu     sync.Mutex         // guards the field below:
	failed map[outcome]uint64 // the other answers
}

// outcome is how a call failed. Each part is of a closed set.
type outcome struct {
	class             int
	component, reason string
}

// classes are the classes of statuses, by their first digit.
var classes = [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}

func classOf(status int) int {
	if class := status / 100; class < len(classes) {
		return class
	}
	return 0
}

// The words that may be labels, of those that errors tell. Agents tell them, too, and
// nobody may fill the memory with words.
var (
	components = []string{"", "agent", "caller", "client", "function", "gateway"}
	reasons    = []string{
		"", "address", "agent", "answer", "body", "build", "check", "checksum", "crash", "cut", "damaged", "deploying", "dial", "disk", "frozen", "full",
		"lost", "paused", "ports", "program", "queued", "rate", "rollout", "start", "starting", "stopped", "unreachable", "version",
		string(proto.ErrBadGateway), string(proto.ErrCanceled), string(proto.ErrConflict), string(proto.ErrExhausted), string(proto.ErrForbidden),
		string(proto.ErrIncapable), string(proto.ErrInternal), string(proto.ErrInvalid), string(proto.ErrNotFound), string(proto.ErrStalled), string(proto.ErrTimeout),
		string(proto.ErrTooLarge), string(proto.ErrTooMany), string(proto.ErrUnauthenticated), string(proto.ErrUnavailable), string(proto.ErrUnsupported),
	}
)

// known returns a word of a closed set.
func known(words []string, word string) string {
	if slices.Contains(words, word) {
		return word
	}
	return "other"
}

// add counts a call.
func (m *meter) add(e *ending, component, reason string) {
	class := classOf(e.status)
	if component == "" {
		m.answers[class].Add(1)
	} else {
		m.fail(outcome{class, known(components, component), known(reasons, reason)})
	}
	if e.bytes > 0 {
		m.bytes.Add(uint64(e.bytes))
	}
	if e.repeated {
		m.repeated.Add(1)
	}
	if e.status == http.StatusSwitchingProtocols {
		return // it lasted as long as both sides liked
	}
	h := m.duration.Load()
	if h == nil {
		m.duration.CompareAndSwap(nil, new(histogram))
		h = m.duration.Load()
	}
	h.add(e.took)
	if len(e.trace) == 0 {
		return
	}
	at := e.begun.Add(e.took)
	if last := h.exemplar.Load(); last != nil && at.Sub(last.at) < exemplarEvery {
		return
	}
	if c, ok := trace.Parse(e.trace); ok && c.Sampled {
		h.exemplar.Store(&exemplar{hex.EncodeToString(c.Trace[:]), e.took, at})
	}
}

func (m *meter) fail(how outcome) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed == nil {
		m.failed = make(map[outcome]uint64)
	}
	m.failed[how]++
}

func (m *meter) version() string {
	if m.number == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(m.number), 10)
}

// measure gives a route the meters of its function: those of the route before, which may
// be nil, and new ones.
func (rt *route) measure(before *route) {
	var kept []*meter
	if before != nil && before.name == rt.name {
		kept = before.meters
	}
	of := func(number uint32) *meter {
		for _, m := range slices.Concat(rt.meters, kept) {
			if m.number == number {
				return m
			}
		}
		return &meter{function: rt.name, number: number}
	}
	rt.none = of(0)
	rt.meters = []*meter{rt.none}
	for _, v := range rt.versions {
		if v.meter = of(v.number); v.number > 0 { // versions of old agents have no number
			rt.meters = append(rt.meters, v.meter)
		}
	}
	old := 0
	for _, m := range slices.Backward(kept) {
		if old < keptMeters && !slices.Contains(rt.meters, m) {
			rt.meters = append(rt.meters, m)
			old++
		}
	}
	slices.SortFunc(rt.meters, func(a, b *meter) int { return int(int64(a.number) - int64(b.number)) })
}

// meter returns the one that counts a call.
func (g *Gateway) meter(e *ending) *meter {
	switch {
	case e.route == nil:
		return &g.strays
	case e.version == nil:
		return e.route.none
	}
	return e.version.meter
}

// Metrics serves what is known of all calls, for Prometheus: in its text form, in that of
// OpenMetrics, with exemplars, and in protobuf, with native histograms.
func (g *Gateway) Metrics() http.Handler {
	all := prometheus.NewRegistry()
	all.MustRegister(g.collector(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(all, promhttp.HandlerOpts{EnableOpenMetrics: true, MaxRequestsInFlight: 4})
}

// collector reads the meters of all functions that there are. Those of others are gone
// with their routes.
type collector struct {
	table  *Table
	strays *meter
	log    *accesslog.Log                // nil: there is none
	tracer *trace.Tracer                 // nil: there is none
	later  func(context.Context) []Later // nil: there is none
	told   func(context.Context) []Notices

	calls, inFlight, waiting, duration, bytes, repeated, dropped, spans, queued, running, attempts, dead, callbacks, notices, untold *prometheus.Desc
}

func (g *Gateway) collector() collector {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return collector{
		g.Table, &g.strays, g.AccessLog, g.Tracer, g.Later, g.Notices,
		describe("ryo_calls_total", "Calls that have ended, by the class of their status. Where the platform failed or answered in the function's place, component and reason say why.",
			"function", "version", "status", "component", "reason"),
		describe("ryo_calls_in_flight", "Calls that are under way.", "function"),
		describe("ryo_calls_waiting", "Calls that wait for a place at a function with the setting concurrency; they are under way, too.", "function"),
		describe("ryo_call_duration_seconds", "How long calls took, to the end of the answer.", "function", "version"),
		describe("ryo_call_answer_bytes_total", "Bytes of the bodies of answers.", "function", "version"),
		describe("ryo_calls_repeated_total", "Calls that were sent a second time, since an idle connection turned out to be closed.", "function", "version"),
		describe("ryo_access_log_dropped_total", "Lines of the access log that were not written, since the disk is full or slower than the calls."),
		describe("ryo_spans_dropped_total", "Spans that no collector has got."),
		describe("ryo_async_waiting", "Calls of /async that have not ended, of all proxies, without those that wait for their time.", "function"),
		describe("ryo_async_running", "Calls of /async that this proxy makes now; they are in flight, too.", "function"),
		describe("ryo_async_attempts_total", "Attempts of calls of /async that reached their function, by what came of them: ok or failed.", "function", "result"),
		describe("ryo_async_dead_total", "Calls of /async that are tried no more.", "function"),
		describe("ryo_async_callbacks_total", "Attempts to tell the end of a call of /async to its callback, by what came of them: ok or failed.", "function", "result"),
		describe("ryo_deploy_hook_attempts_total", "Attempts of this proxy to tell a deploy hook what became of a function, by what came of them: ok, failed, or dead for those that were the last.", "receiver", "result"),
		describe("ryo_deploy_hook_waiting", "Notices for a deploy hook that it has not got yet, of all proxies.", "receiver"),
	}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.calls, c.inFlight, c.waiting, c.duration, c.bytes, c.repeated, c.dropped, c.spans, c.queued, c.running, c.attempts, c.dead, c.callbacks, c.notices, c.untold} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	c.collect(ch, c.strays)
	if c.log != nil {
		ch <- prometheus.MustNewConstMetric(c.dropped, prometheus.CounterValue, float64(c.log.Dropped()))
	}
	if c.tracer != nil {
		ch <- prometheus.MustNewConstMetric(c.spans, prometheus.CounterValue, float64(c.tracer.Dropped()))
	}
	if c.later != nil {
		c.collectLater(ch)
	}
	if c.told != nil {
		c.collectNotices(ch)
	}
	for _, rt := range *c.table.routes.Load() {
		ch <- prometheus.MustNewConstMetric(c.inFlight, prometheus.GaugeValue, float64(rt.calls.n.Load()), rt.name)
		if rt.gate != nil {
			waiting, _ := rt.gate.crowd()
			ch <- prometheus.MustNewConstMetric(c.waiting, prometheus.GaugeValue, float64(waiting), rt.name)
		}
		for _, m := range rt.meters {
			c.collect(ch, m)
		}
	}
}

// laterLimit bounds how long metrics wait for what is told of calls that wait.
const laterLimit = 2 * time.Second

func (c collector) collectLater(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), laterLimit)
	defer cancel()
	for _, l := range c.later(ctx) {
		name := l.Path
		if rt := (*c.table.routes.Load())[l.Path]; rt != nil {
			name = rt.name
		}
		gauge := func(what *prometheus.Desc, n int) {
			ch <- prometheus.MustNewConstMetric(what, prometheus.GaugeValue, float64(n), name)
		}
		count := func(what *prometheus.Desc, n uint64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(what, prometheus.CounterValue, float64(n), append([]string{name}, labels...)...)
		}
		gauge(c.queued, l.Waiting)
		gauge(c.running, l.Running)
		count(c.attempts, l.Succeeded, "ok")
		count(c.attempts, l.Failed, "failed")
		count(c.dead, l.Dead)
		count(c.callbacks, l.Told, "ok")
		count(c.callbacks, l.Untold, "failed")
	}
}

func (c collector) collectNotices(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), laterLimit)
	defer cancel()
	for _, n := range c.told(ctx) {
		ch <- prometheus.MustNewConstMetric(c.untold, prometheus.GaugeValue, float64(n.Waiting), n.Receiver)
		for result, count := range map[string]uint64{"ok": n.OK, "failed": n.Failed, "dead": n.Dead} {
			ch <- prometheus.MustNewConstMetric(c.notices, prometheus.CounterValue, float64(count), n.Receiver, result)
		}
	}
}

func (c collector) collect(ch chan<- prometheus.Metric, m *meter) {
	version := m.version()
	count := func(what *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(what, prometheus.CounterValue, float64(n), append([]string{m.function, version}, labels...)...)
	}
	for class := range m.answers {
		// A version that was not called yet shows as such.
		if n := m.answers[class].Load(); n > 0 || m.number > 0 && classes[class] == "2xx" {
			count(c.calls, n, classes[class], "", "")
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for how, n := range m.failed {
		count(c.calls, n, classes[how.class], how.component, how.reason)
	}
	h := m.duration.Load()
	if h == nil {
		return
	}
	ch <- histogramMetric{h, c.duration, prometheus.MakeLabelPairs(c.duration, []string{m.function, version})}
	count(c.bytes, m.bytes.Load())
	count(c.repeated, m.repeated.Load())
}
