package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/Ishan27g/ryo-faas/proto"
)

// functionBody is what each page of a function has.
type functionBody struct {
	Name, Page, URL string
	Tab             string
	Tabs            []tab
	Head            headBody
	Of              any // the tab's own
}

// tab is one of a function's pages.
type tab struct{ Name, Title, Page string }

// headBody is the line below a function's name, which changes.
type headBody struct {
	State, StateClass string
	Version, Canary   string
	Replicas          string
	Kind, Auth        string
	Stopped, Paused   bool
	Since             moment
	Why               string // all of it
	Output            string // of the build that is under way
	Building          bool
}

// allTabs are the pages of a function, in their order.
var allTabs = []tab{
	{"", "Overview", ""}, {"test", "Test", ""}, {"logs", "Logs", ""}, {"versions", "Versions", ""}, {"source", "Source", ""}, {"settings", "Settings", ""},
	{"crashes", "Crashes", ""}, {"calls", "Later calls", ""}, {"schedule", "Schedule", ""},
}

// found returns the rows of a function, or, of one that is stopped, that of its last version.
func (v *visit) found(ctx context.Context, name string) (rows []*proto.FunctionJsonRsp, err error) {
	all, err := v.api.Details(ctx)
	if err != nil {
		return nil, err
	}
	of := func(all []*proto.FunctionJsonRsp) (rows []*proto.FunctionJsonRsp) {
		for _, row := range all {
			if proto.Path(row.GetName()) == proto.Path(name) {
				rows = append(rows, row)
			}
		}
		return rows
	}
	if rows = of(all); len(rows) > 0 {
		return rows, nil
	}
	stopped, err := v.api.Stopped(ctx, "")
	if err != nil {
		return nil, err
	}
	if rows = of(stopped); len(rows) > 0 {
		return rows, nil
	}
	return nil, proto.Errorf(proto.ErrNotFound, "there is no function %.100q", name).WithHint("it was removed, or it has another name")
}

func (d *Dashboard) functionPage(v *visit) error {
	rows, err := v.found(v.r.Context(), v.r.PathValue("name"))
	if err != nil {
		return err
	}
	return d.showFunction(v, rows, v.r.PathValue("tab"), nil, http.StatusOK)
}

// showFunction answers with one of the pages of a function. of is what its tab shows; nil:
// what it shows by itself.
func (d *Dashboard) showFunction(v *visit, rows []*proto.FunctionJsonRsp, at string, of any, status int) error {
	name := rows[0].GetName()
	body := functionBody{Name: name, Page: pageOf(name), URL: rows[0].GetUrl(), Tab: at, Head: headOf(rows), Of: of}
	if at == "edit" { // a page of the source
		body.Tab = "source"
	}
	i := slices.IndexFunc(allTabs, func(t tab) bool { return t.Name == body.Tab })
	if i < 0 {
		return proto.Errorf(proto.ErrNotFound, "a function has no page %.50q", at)
	}
	for _, t := range allTabs {
		if t.Name == "source" && !v.may.Deploy {
			continue
		}
		t.Page = strings.TrimSuffix(body.Page+"/"+t.Name, "/")
		body.Tabs = append(body.Tabs, t)
	}
	live := url.Values{"page": {"function"}, "name": {name}}
	if of == nil {
		var err error
		if body.Of, live, err = d.tabOf(v, rows, at, live); err != nil {
			return err
		}
	}
	title := name
	if at != "" {
		title = allTabs[i].Title + " · " + name
	}
	if at == "edit" {
		title = "Edit · " + name
	}
	return d.show(v, "function-"+cmp.Or(at, "overview"), page{Title: title, At: "functions", Live: live.Encode(), Body: body, Status: status})
}

// tabOf returns what a page of a function shows, and what its stream is asked for.
func (d *Dashboard) tabOf(v *visit, rows []*proto.FunctionJsonRsp, at string, live url.Values) (of any, asked url.Values, err error) {
	ctx, name := v.r.Context(), rows[0].GetName()
	switch at {
	case "":
		live.Set("plots", "1")
		of, err = d.overviewOf(ctx, v, rows)
	case "test":
		of = tryBody{Method: "GET", Path: "/"}
	case "logs":
		of, live, err = d.logsOf(v, name)
	case "versions":
		of, err = versionsOf(ctx, v, rows)
	case "source":
		of, err = d.sourceOf(ctx, v, rows)
	case "settings":
		of, err = settingsOf(ctx, v, rows)
	case "crashes":
		of, err = crashesOf(ctx, v, name)
	case "calls":
		of, err = callsOf(ctx, v, name)
	case "schedule":
		of, err = scheduleOf(ctx, v, name)
	}
	return of, live, err
}

func headOf(rows []*proto.FunctionJsonRsp) headBody {
	r := rowOf(rows, nil)
	first := rows[0]
	h := headBody{
		State: r.State, StateClass: r.StateClass, Version: r.Version, Canary: r.Canary, Replicas: r.ReplicasOf,
		Kind: first.GetKind(), Auth: cmp.Or(first.GetAuth(), proto.AuthToken), Since: since(first.GetSince()),
		Stopped: proto.Status(first.GetStatus()) == proto.Stopped,
	}
	if h.Stopped {
		h.StateClass = "off"
	}
	for _, row := range rows {
		h.Paused = h.Paused || row.GetPaused()
		if row.GetError() != "" && h.Why == "" {
			h.Why = clip(row.GetError(), 8<<10)
			if len(rows) > 1 {
				h.Why = row.GetAtAgent() + ": " + h.Why
			}
		}
		if proto.Status(row.GetStatus()) == proto.Deploying {
			h.Building, h.Output = true, clip(cmp.Or(row.GetOutput(), row.GetStage()+" …"), 8<<10)
		}
	}
	return h
}

// sendFunction sends what changes of a function's page.
func (d *Dashboard) sendFunction(ctx context.Context, v *visit, name string, s *sender) error {
	rows, err := v.found(ctx, name)
	if err != nil {
		return err
	}
	parts := map[string]any{"head": headOf(rows)}
	if v.r.URL.Query().Get("plots") != "" {
		body, err := d.overviewOf(ctx, v, rows)
		if err != nil {
			return err
		}
		parts["overview"] = body
	}
	return d.sendParts(s, parts)
}

// overviewBody is the first page of a function.
type overviewBody struct {
	Figures   []figure
	Plots     []plot
	Replicas  []replicaRow
	Processes []processRow
	Missing   []string
}

type replicaRow struct {
	Agent, State, Version, Isolation, Service, Why string
	StateClass                                     string
	Processes, Restarts                            uint32
	Since                                          moment
}

type processRow struct {
	Agent, Version, CPU, Memory, Peak string
	PID                               int32
	InFlight, Connections             uint32
	Requests                          uint64
	Since                             moment
}

func (d *Dashboard) overviewOf(ctx context.Context, v *visit, rows []*proto.FunctionJsonRsp) (body overviewBody, err error) {
	d.history.look()
	name := rows[0].GetName()
	samples := d.history.of(name)
	r := rowOf(rows, samples)
	body.Figures = []figure{{"calls/s", r.Calls, ""}, {"failed", r.Failed, r.FailedClass}, {"p50", r.P50, ""}, {"p99", r.P99, ""}, {"processor", r.CPU, ""}, {"memory", r.Memory, ""}}
	body.Plots = plots(samples)
	stopped := false
	for _, row := range rows {
		stopped = stopped || proto.Status(row.GetStatus()) == proto.Stopped
		state, class, _ := stateOf([]*proto.FunctionJsonRsp{row})
		body.Replicas = append(body.Replicas, replicaRow{
			Agent: row.GetAtAgent(), State: state, StateClass: class, Version: versionText(row.GetVersion()), Isolation: cmp.Or(row.GetIsolation(), none),
			Service: row.GetProxy(), Processes: row.GetInstances(), Restarts: row.GetRestarts(), Since: since(row.GetSince()), Why: clip(row.GetError(), 500),
		})
	}
	if stopped {
		return body, nil
	}
	usage, err := v.api.Usage(ctx, name)
	if errors.Is(err, proto.ErrUnavailable) || errors.Is(err, proto.ErrNotFound) { // no agent answers, or it was stopped just now
		body.Missing = append(body.Missing, err.Error())
		return body, nil
	}
	if err != nil {
		return body, err
	}
	for _, u := range usage {
		switch {
		case u.GetError() != "":
			body.Missing = append(body.Missing, u.GetAtAgent()+" does not say what its processes use: "+firstLine(u.GetError()))
		case u.GetTraffic() == nil && len(body.Processes) < maxRows:
			body.Processes = append(body.Processes, processRow{
				Agent: u.GetAtAgent(), Version: versionText(u.GetVersion()), PID: u.GetPid(), CPU: secondsText(u.GetCpuSeconds()),
				Memory: bytesText(u.GetResident()), Peak: bytesText(u.GetPeak()), InFlight: u.GetInFlight(), Connections: u.GetConnections(),
				Requests: u.GetRequests(), Since: since(u.GetSince()),
			})
		}
	}
	return body, nil
}

// versionsBody is the page of versions.
type versionsBody struct {
	Rows          []versionRow
	Canary        uint32 // 0: there is none
	CanaryPercent uint32
	Missing       []string
}

type versionRow struct {
	Number              uint32
	Version, Share      string
	Kind, Note, Package string
	Agents              string
	Time                moment
	Serves, Back        bool
	Changes             []change
	Before              string // the version that Changes are compared with
	Source, Compared    string // the pages of its source, and of what it changes there
}

// change is a setting that differs from the version before.
type change struct{ Name, From, To string }

func versionsOf(ctx context.Context, v *visit, rows []*proto.FunctionJsonRsp) (body versionsBody, err error) {
	list, err := v.api.Versions(ctx, rows[0].GetName())
	if err != nil {
		return body, err
	}
	agents := map[uint32][]string{}
	for _, version := range list {
		if version.GetError() != "" {
			body.Missing = append(body.Missing, version.GetAtAgent()+" does not say what it keeps: "+firstLine(version.GetError()))
			continue
		}
		agents[version.GetVersion()] = append(agents[version.GetVersion()], version.GetAtAgent())
	}
	for _, row := range rows {
		if canary, percent := canaryOf(row); percent > 0 {
			body.Canary, body.CanaryPercent = canary, percent
		}
	}
	stopped := proto.Status(rows[0].GetStatus()) == proto.Stopped
	versions := kept(list)
	source := pageOf(rows[0].GetName()) + "/source?version="
	for i, version := range versions {
		n := version.GetVersion()
		row := versionRow{
			Number: n, Version: versionText(n), Kind: version.GetKind(), Note: version.GetNote(), Package: shortDigest(version.GetPackage()),
			Agents: strings.Join(agents[n], ", "), Time: since(version.GetTime()), Serves: n == rows[0].GetVersion() && !stopped,
		}
		switch {
		case row.Serves && body.Canary > 0:
			row.Share = fmt.Sprintf("serves %d %%", 100-body.CanaryPercent)
		case row.Serves:
			row.Share = "serves"
		case n == body.Canary:
			row.Share = fmt.Sprintf("canary %d %%", body.CanaryPercent)
		}
		row.Back = !row.Serves && body.Canary == 0
		if v.may.Deploy {
			row.Source = source + itoa(int(n))
		}
		if i+1 < len(versions) {
			before := versions[i+1]
			row.Before, row.Changes = versionText(before.GetVersion()), changesBetween(before, version)
			if v.may.Deploy {
				row.Compared = row.Source + "&against=" + itoa(int(before.GetVersion()))
			}
		}
		body.Rows = append(body.Rows, row)
	}
	return body, nil
}

// sourceChange names the change of a package.
const sourceChange = "source"

// changesBetween says what differs between two versions.
func changesBetween(before, after *proto.Version) (list []change) {
	if before.GetPackage() != after.GetPackage() {
		list = append(list, change{sourceChange, shortDigest(before.GetPackage()), shortDigest(after.GetPackage())})
	}
	for _, s := range proto.Settings() {
		if s.Effect == proto.OnDeploy || s.Same(before.GetSettings(), after.GetSettings()) {
			continue
		}
		c := change{s.Name, settingText(&s, before.GetSettings()), settingText(&s, after.GetSettings())}
		if s.Form == proto.Secrets && c.From == c.To {
			c.To += ", other values"
		}
		list = append(list, c)
	}
	return list
}

// settingText is the value of a setting, of secrets the names alone.
func settingText(s *proto.Setting, f *proto.FunctionJson) string {
	if s.Form == proto.Secrets {
		return strings.Join(secretNames(f), ", ")
	}
	return clip(s.Text(f), 500)
}

func secretNames(f *proto.FunctionJson) (names []string) {
	for name := range f.GetSecrets() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// settingsBody is the page of the settings of the version that serves.
type settingsBody struct {
	Version string
	Rows    []settingRow
	Env     []change // name and value
	Secrets []string // names
	Routes  []string
}

type settingRow struct {
	Name, Value, Help string
	Given             bool
}

func settingsOf(ctx context.Context, v *visit, rows []*proto.FunctionJsonRsp) (body settingsBody, err error) {
	list, err := v.api.Versions(ctx, rows[0].GetName())
	if err != nil {
		return body, err
	}
	i := slices.IndexFunc(list, func(ver *proto.Version) bool {
		return ver.GetVersion() == rows[0].GetVersion() && ver.GetSettings() != nil
	})
	if i < 0 {
		return body, nil
	}
	settings := list[i].GetSettings()
	body.Version, body.Secrets = versionText(list[i].GetVersion()), secretNames(settings)
	for name, value := range settings.GetEnv() {
		body.Env = append(body.Env, change{Name: name, To: clip(value, 2000)})
	}
	slices.SortFunc(body.Env, func(a, b change) int { return cmp.Compare(a.Name, b.Name) })
	for _, s := range proto.Settings() {
		if s.Effect == proto.OnDeploy || s.Form == proto.Secrets || s.Form == proto.Variables {
			continue
		}
		text := settingText(&s, settings)
		given := text != "" && (s.Form != proto.Switch || text != "false") && (s.Form != proto.Count || text != "0")
		body.Rows = append(body.Rows, settingRow{s.Name, map[bool]string{true: text, false: s.Default}[given], s.Help, given})
	}
	slices.SortStableFunc(body.Rows, func(a, b settingRow) int {
		return cmp.Compare(map[bool]int{true: 0, false: 1}[a.Given], map[bool]int{true: 0, false: 1}[b.Given])
	})
	return body, nil
}

// crashesBody is the page of crashes.
type crashesBody struct {
	Rows    []crashRow
	Missing []string
}

type crashRow struct {
	Cause, Version, Lived, Agent, Output string
	PID                                  int32
	Memory                               bool
	Time                                 moment
}

func crashesOf(ctx context.Context, v *visit, name string) (body crashesBody, err error) {
	list, err := v.api.Crashes(ctx, name)
	if errors.Is(err, proto.ErrNotFound) { // it is stopped
		return body, nil
	}
	if err != nil {
		return body, err
	}
	for _, c := range list {
		switch {
		case c.GetError() != "":
			body.Missing = append(body.Missing, c.GetAtAgent()+" does not say what has crashed: "+firstLine(c.GetError()))
		case len(body.Rows) < maxRows:
			body.Rows = append(body.Rows, crashRow{
				c.GetCause(), versionText(c.GetVersion()), c.GetLived(), c.GetAtAgent(), clip(c.GetOutput(), 16<<10), c.GetPid(), c.GetOutOfMemory(), since(c.GetTime()),
			})
		}
	}
	return body, nil
}

// callsBody is the page of calls that are made later.
type callsBody struct {
	Rows  []callRow
	State string
	Dead  bool   // some are
	None  string // why there are none at all
}

type callRow struct {
	ID, State, StateClass, Target, Error, Status string
	Tried                                        uint32
	Accepted, Next                               moment
}

// callStates are the states by which calls can be chosen.
var callStates = []string{"queued", "delayed", "running", "failed", "done", "dead", "canceled"}

// States are those to choose from.
func (callsBody) States() []string { return callStates }

func callsOf(ctx context.Context, v *visit, name string) (body callsBody, err error) {
	body.State = v.r.URL.Query().Get("state")
	if !slices.Contains(callStates, body.State) {
		body.State = ""
	}
	list, err := v.api.Calls(ctx, &proto.CallsRequest{Function: name, State: body.State, Limit: maxRows})
	if errors.Is(err, proto.ErrUnsupported) {
		body.None = err.Error()
		return body, nil
	}
	if err != nil {
		return body, err
	}
	for _, c := range list {
		row := callRow{ID: c.GetId(), State: c.GetState(), Target: c.GetMethod() + " " + clip(c.GetPath(), 100), Error: clip(c.GetError(), 300), Tried: c.GetTried(), Accepted: since(c.GetAccepted()), Next: since(c.GetNext())}
		if c.GetStatus() > 0 {
			row.Status = strconv.FormatUint(uint64(c.GetStatus()), 10)
		}
		row.StateClass = map[string]string{"done": "good", "dead": "bad", "failed": "warn", "running": "busy", "queued": "busy", "delayed": "busy"}[c.GetState()]
		body.Dead = body.Dead || c.GetState() == "dead"
		body.Rows = append(body.Rows, row)
	}
	return body, nil
}

// scheduleBody is the page of a function's schedule.
type scheduleBody struct {
	Schedule, Timezone, Overlap, Missed, Error string
	Next                                       moment
	Paused                                     bool
	Runs                                       []runRow
	None                                       string // why there is none
}

type runRow struct {
	Time                    moment
	State, StateClass, Call string
	Error                   string
	Asked                   bool
}

func scheduleOf(ctx context.Context, v *visit, name string) (body scheduleBody, err error) {
	list, err := v.api.Schedules(ctx, name)
	if errors.Is(err, proto.ErrUnsupported) || errors.Is(err, proto.ErrNotFound) || err == nil && len(list) == 0 {
		body.None = "It has no schedule. A definition gives it one: schedule: \"@every 10m\"."
		return body, nil
	}
	if err != nil {
		return body, err
	}
	s := list[0]
	body = scheduleBody{
		Schedule: s.GetSchedule(), Timezone: cmp.Or(s.GetTimezone(), proto.DefaultTimezone), Overlap: cmp.Or(s.GetOverlap(), proto.OverlapAllow),
		Missed: cmp.Or(s.GetMissed(), proto.MissedSkip), Error: s.GetError(), Next: since(s.GetNext()), Paused: s.GetPaused(),
	}
	for _, run := range s.GetRuns() {
		row := runRow{Time: since(run.GetTime()), State: run.GetState(), Call: run.GetCall(), Error: run.GetError(), Asked: run.GetAsked()}
		row.StateClass = map[string]string{"done": "good", "dead": "bad", "refused": "bad", "failed": "warn", "missed": "warn", "skipped": "off"}[run.GetState()]
		body.Runs = append(body.Runs, row)
	}
	return body, nil
}

// change does what a form of a function's page asks for.
func (d *Dashboard) change(v *visit) error {
	ctx, name, verb := v.r.Context(), v.r.PathValue("name"), v.r.PathValue("verb")
	at, word := pageOf(name), verb
	var err error
	switch verb {
	case "rollback":
		var to uint32
		if to, err = proto.ParseCount(v.r.PostFormValue("to")); err == nil {
			_, err = v.api.Rollback(ctx, name, to)
		}
		at += "/versions"
	case "canary":
		var percent uint32
		if percent, err = proto.ParseCount(v.r.PostFormValue("percent")); err == nil {
			_, err = v.api.Shift(ctx, name, percent)
		}
		switch percent {
		case 0:
			word = "drop"
		case 100:
			word = "promote"
		}
		at += "/versions"
	case "pause":
		_, err = v.api.Pause(ctx, name)
	case "resume":
		_, err = v.api.Resume(ctx, name)
	case "stop":
		_, err = v.api.Stop(ctx, name)
	case "remove":
		_, err = v.api.Remove(ctx, name)
		at = Path
	case "redrive":
		_, err = v.api.RedriveCalls(ctx, &proto.DeadCalls{Function: name})
		at += "/calls"
	case "purge":
		_, err = v.api.PurgeCalls(ctx, &proto.DeadCalls{Function: name})
		at += "/calls"
	case "run":
		_, err = v.api.RunSchedule(ctx, name)
		at += "/schedule"
	case "unschedule":
		_, err = v.api.PauseSchedule(ctx, name)
		at += "/schedule"
	case "reschedule":
		_, err = v.api.ResumeSchedule(ctx, name)
		at += "/schedule"
	default:
		err = proto.Errorf(proto.ErrNotFound, "%.50q is nothing that is done to functions", verb)
	}
	if err != nil {
		return err
	}
	return v.done(at, word)
}
