package remote

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/Ishan27g/ryo-faas/proto"
)

// metric is one family of the text format of Prometheus
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
type metric struct {
	name, kind, help string
	value            func(*series) float64
}

// series are the values of one version of a function. Their number is bounded by that of
// functions and kept versions.
type series struct {
	function string
	version  uint32
	reading
	processes, restarts, lost float64
}

var metrics = []metric{
	{"ryo_function_processes", "gauge", "Processes that are ready.", func(s *series) float64 { return s.processes }},
	{"ryo_function_requests_total", "counter", "Calls that were answered.", func(s *series) float64 { return float64(s.Requests) }},
	{"ryo_function_requests_in_flight", "gauge", "Calls that are under way.", func(s *series) float64 { return float64(s.InFlight) }},
	{"ryo_function_connections", "gauge", "Connections that are open.", func(s *series) float64 { return float64(s.Connections) }},
	{"ryo_function_received_bytes_total", "counter", "Bytes that came in over its connections.", func(s *series) float64 { return float64(s.Received) }},
	{"ryo_function_sent_bytes_total", "counter", "Bytes that went out over its connections.", func(s *series) float64 { return float64(s.Sent) }},
	{"ryo_function_cpu_seconds_total", "counter", "Processor time.", func(s *series) float64 { return s.CPU.Seconds() }},
	{"ryo_function_resident_bytes", "gauge", "Memory that is resident.", func(s *series) float64 { return float64(s.Resident) }},
	{"ryo_function_descriptors", "gauge", "Descriptors that are open.", func(s *series) float64 { return float64(s.Descriptors) }},
}

// Of a function as a whole.
var totals = []metric{
	{"ryo_function_restarts_total", "counter", "Processes that exited by themselves since the last deploy.", func(s *series) float64 { return s.restarts }},
	{"ryo_function_log_lines_lost_total", "counter", "Printed lines that could not be kept.", func(s *series) float64 { return s.lost }},
}

// Metrics serves what the functions use.
func (a *Agent) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		accounts, err := a.accounts(r.Context(), "")
		if err != nil {
			http.Error(w, proto.AsError(err).Message, http.StatusServiceUnavailable)
			return
		}
		var versions, functions []*series
		for _, acc := range accounts {
			functions = append(functions, &series{function: acc.name, restarts: float64(acc.restarts), lost: float64(a.logs.Lost(acc.name))})
			versions = append(versions, acc.series()...)
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		var page bytes.Buffer
		write(&page, metrics, versions)
		write(&page, totals, functions)
		_, _ = w.Write(page.Bytes())
	})
}

// series adds up an account by version.
func (acc account) series() []*series {
	byVersion := make(map[uint32]*series)
	of := func(version uint32) *series {
		if byVersion[version] == nil {
			byVersion[version] = &series{function: acc.name, version: version}
		}
		return byVersion[version]
	}
	for version, r := range acc.exited {
		of(version).reading = r
	}
	for i, r := range acc.readings {
		s := of(acc.procs[i].serves().Number)
		s.reading = s.plus(r)
		s.InFlight += r.InFlight
		s.Connections += r.Connections
		s.Resident += r.Resident
		s.Descriptors += r.Descriptors
		s.processes++
	}
	return slices.SortedFunc(maps.Values(byVersion), func(x, y *series) int { return cmp.Compare(x.version, y.version) })
}

func write(page *bytes.Buffer, metrics []metric, all []*series) {
	for _, m := range metrics {
		fmt.Fprintf(page, "# HELP %s %s\n# TYPE %s %s\n", m.name, m.help, m.name, m.kind)
		for _, s := range all {
			labels := `function="` + s.function + `"` // an identifier: nothing to escape
			if s.version != 0 {
				labels += `,version="` + strconv.FormatUint(uint64(s.version), 10) + `"`
			}
			fmt.Fprintf(page, "%s{%s} %s\n", m.name, labels, strconv.FormatFloat(m.value(s), 'g', -1, 64))
		}
	}
}
