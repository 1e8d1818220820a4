package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// maxRows bounds the rows of a table.
const maxRows = 500

// functionsBody is what the first page shows.
type functionsBody struct {
	Rows    []functionRow
	Cut     int // rows that are left out
	Stopped []stoppedRow
	Summary []figure
}

// figure is a number with its name.
type figure struct{ Name, Value, Class string }

// functionRow is a function over all of its agents.
type functionRow struct {
	Name, URL, Page      string
	State, StateClass    string
	Version, Canary      string
	Replicas, ReplicasOf string
	Calls, Failed        string
	FailedClass          string
	P50, P99             string
	CPU, Memory          string
	Why                  string
	Spark                template.HTML
}

// stoppedRow is a function that is stopped.
type stoppedRow struct{ Name, Page, Version string }

func pageOf(name string) string { return Path + "functions/" + url.PathEscape(name) }

func (d *Dashboard) functionsPage(v *visit) error {
	d.history.look()
	body, err := d.functionsNow(v.r.Context(), v)
	if err != nil {
		return err
	}
	stopped, err := v.api.Stopped(v.r.Context(), "")
	if err != nil {
		return err
	}
	running := map[string]bool{}
	for _, row := range body.Rows {
		running[row.Name] = true
	}
	for _, row := range stopped {
		if !running[row.GetName()] && len(body.Stopped) < maxRows {
			running[row.GetName()] = true
			body.Stopped = append(body.Stopped, stoppedRow{row.GetName(), pageOf(row.GetName()), versionText(row.GetVersion())})
		}
	}
	return d.show(v, "functions", page{Title: "Functions", At: "functions", Live: "page=functions", Body: body})
}

// functionsNow returns what changes of the first page.
func (d *Dashboard) functionsNow(ctx context.Context, v *visit) (body functionsBody, err error) {
	rows, err := v.api.Details(ctx)
	if err != nil {
		return body, err
	}
	grouped := byFunction(rows)
	var all []sample
	states := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(grouped)) {
		if len(body.Rows) == maxRows {
			body.Cut = len(grouped) - maxRows
			break
		}
		samples := d.history.of(name)
		row := rowOf(grouped[name], samples)
		states[row.StateClass]++
		body.Rows = append(body.Rows, row)
		all = append(all, recent(samples, 1)...)
	}
	var calls, errors float64
	for _, s := range all {
		calls, errors = calls+s.calls, errors+s.errors
	}
	body.Summary = []figure{{"functions", fmt.Sprint(len(grouped)), ""}, {"calls/s", numberText(calls), ""}}
	if calls > 0 {
		body.Summary = append(body.Summary, figure{"failed", partText(errors / calls), badIf(errors > 0)})
	}
	if n := states["bad"]; n > 0 {
		body.Summary = append(body.Summary, figure{"need a look", fmt.Sprint(n), "bad"})
	}
	return body, nil
}

func badIf(bad bool) string {
	if bad {
		return "bad"
	}
	return ""
}

// byFunction groups the rows of functions.
func byFunction(rows []*proto.FunctionJsonRsp) map[string][]*proto.FunctionJsonRsp {
	grouped := map[string][]*proto.FunctionJsonRsp{}
	for _, row := range rows {
		grouped[row.GetName()] = append(grouped[row.GetName()], row)
	}
	return grouped
}

// rowOf joins the rows of a function.
func rowOf(rows []*proto.FunctionJsonRsp, samples []sample) functionRow {
	first := rows[0]
	r := functionRow{Name: first.GetName(), URL: first.GetUrl(), Page: pageOf(first.GetName()), Spark: sparkline(samples)}
	r.State, r.StateClass, r.Why = stateOf(rows)
	deployed, processes := 0, uint32(0)
	var versions []uint32
	for _, row := range rows {
		if proto.Status(row.GetStatus()) == proto.Deployed {
			deployed++
		}
		processes += row.GetInstances()
		if row.GetVersion() > 0 && !slices.Contains(versions, row.GetVersion()) {
			versions = append(versions, row.GetVersion())
		}
		if canary, percent := canaryOf(row); percent > 0 {
			r.Canary = fmt.Sprintf("v%d %d %%", canary, percent)
		}
	}
	slices.Sort(versions)
	var names []string
	for _, n := range versions {
		names = append(names, versionText(n))
	}
	r.Version = cmp.Or(strings.Join(names, ", "), none)
	r.Replicas = fmt.Sprintf("%d/%d", deployed, len(rows))
	r.ReplicasOf = countText(deployed, len(rows), "agent") + ", " + countText(int(processes), int(processes), "process")

	now := recent(samples, lately)
	calls, failed := rate(now)
	r.Calls, r.Failed, r.FailedClass = numberText(calls), partText(failed), badIf(failed > 0)
	if calls == 0 {
		r.Failed = none
	}
	r.P50, r.P99 = secondsText(quantile(now, 0.5)), secondsText(quantile(now, 0.99))
	r.CPU, r.Memory = none, none
	if n := len(samples); n > 0 && samples[n-1].processes > 0 {
		r.CPU, r.Memory = partText(samples[n-1].cpu), bytesText(samples[n-1].memory)
	}
	if len(now) < 2 { // nothing has been compared yet
		r.Calls, r.CPU = numberText(math.NaN()), none
	}
	return r
}

// countText writes how many of all there are.
func countText(n, all int, word string) string {
	text := fmt.Sprint(n)
	if n != all {
		text += " of " + fmt.Sprint(all)
	}
	switch {
	case all == 1:
		return text + " " + word
	case strings.HasSuffix(word, "s"):
		return text + " " + word + "es"
	}
	return text + " " + word + "s"
}

func versionText(n uint32) string {
	if n == 0 {
		return none
	}
	return fmt.Sprintf("v%d", n)
}

// stateOf says in a word how a function does, and why where that is not well.
func stateOf(rows []*proto.FunctionJsonRsp) (state, class, why string) {
	worst := -1
	for _, row := range rows {
		rank, s, c := 0, row.GetStatus(), "good"
		switch status := proto.Status(row.GetStatus()); {
		case row.GetReason() == proto.ReasonUnreachable:
			rank, s, c = 4, "Unreachable", "bad"
		case status == proto.Failed:
			rank, c = 5, "bad"
		case row.GetPaused():
			rank, s, c = 2, "Paused", "off"
		case status == proto.Deploying:
			rank, c = 3, "busy"
		case row.GetError() != "":
			rank, c = 1, "warn"
		}
		if rank > worst {
			worst, state, class, why = rank, s, c, row.GetError()
			if row.GetStage() != "" && c == "busy" {
				why = row.GetStage()
			}
		}
	}
	return state, class, clip(firstLine(why), 200)
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// canaryOf returns the canary and its part of the calls, 0 where there is none: of two
// versions that share them it is the newer one.
func canaryOf(row *proto.FunctionJsonRsp) (canary, percent uint32) {
	for _, s := range row.GetServing() {
		if s.GetWeight() == 0 || s.GetWeight() == 100 {
			continue
		}
		if s.GetVersion() != row.GetVersion() && s.GetVersion() > canary {
			canary, percent = s.GetVersion(), s.GetWeight()
		}
	}
	return canary, percent
}

// since is how long ago something was.
func since(text string) moment { return momentOf(text, time.Now()) }
