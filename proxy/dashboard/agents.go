package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"

	"github.com/Ishan27g/ryo-faas/proto"
)

// agentsBody is the page of agents.
type agentsBody struct {
	Rows []agentRow
	Cut  int
	Join joinBody
}

// agentsPart is the table of agents, whose buttons are forms.
type agentsPart struct {
	agentsBody
	CSRF string
}

// Table returns the part of a page that has the table.
func (b agentsBody) Table(csrf string) agentsPart { return agentsPart{b, csrf} }

// joinBody is the command with which a machine joins, once it was asked for.
type joinBody struct {
	Command string
	Expires moment
}

type agentRow struct {
	Addr, ID, State, StateClass, Why string
	Functions                        uint32
	Platform, Go, Labels             string
	CPU, Memory, Processes           string
	Draining                         bool
	Stays                            []string
}

func (d *Dashboard) agentsPage(v *visit) error { return d.showAgents(v, joinBody{}) }

func (d *Dashboard) showAgents(v *visit, join joinBody) error {
	d.history.look()
	body, err := d.agentsNow(v.r.Context(), v)
	if err != nil {
		return err
	}
	body.Join = join
	return d.show(v, "agents", page{Title: "Agents", At: "agents", Live: "page=agents", Body: body})
}

// agentsNow returns what changes of the page of agents.
func (d *Dashboard) agentsNow(ctx context.Context, v *visit) (body agentsBody, err error) {
	list, err := v.api.Agents(ctx)
	if err != nil {
		return body, err
	}
	for _, a := range list {
		if len(body.Rows) == maxRows {
			body.Cut = len(list) - maxRows
			break
		}
		row := agentRow{
			Addr: a.GetAddr(), ID: a.GetId(), State: "Connected", StateClass: "good", Why: clip(firstLine(a.GetError()), 200), Functions: a.GetFunctions(),
			Platform: cmp.Or(a.GetPlatform(), none), Go: cmp.Or(a.GetGoVersion(), none), Labels: proto.LabelsText(a.GetLabels()),
			CPU: none, Memory: none, Processes: none, Draining: a.GetDraining(), Stays: a.GetStays(),
		}
		switch {
		case !a.GetConnected():
			row.State, row.StateClass = "Unreachable", "bad"
		case a.GetDraining() && a.GetFunctions() > 0:
			row.State, row.StateClass = "Draining", "busy"
		case a.GetDraining():
			row.State, row.StateClass = "Drained", "off"
		}
		if used, ok := d.history.load(a.GetAddr()); ok && a.GetConnected() {
			row.CPU, row.Memory, row.Processes = numberText(used.cpu), bytesText(used.memory), fmt.Sprint(used.processes)
		}
		if n := a.GetCpus(); n > 0 {
			row.CPU += fmt.Sprintf(" of %d", n)
		}
		if n := a.GetMemory(); n > 0 {
			row.Memory += " of " + bytesText(n)
		}
		body.Rows = append(body.Rows, row)
	}
	return body, nil
}

// changeAgent does what a form of the page of agents asks for.
func (d *Dashboard) changeAgent(v *visit) error {
	ctx, agent := v.r.Context(), v.r.PostFormValue("agent")
	switch verb := v.r.PathValue("verb"); verb {
	case "drain":
		if _, err := v.api.DrainAgent(ctx, agent); err != nil {
			return err
		}
		return v.done(Path+"agents", "drain")
	case "resume":
		if _, err := v.api.ResumeAgent(ctx, agent); err != nil {
			return err
		}
		return v.done(Path+"agents", "undrain")
	case "join":
		made, err := v.api.JoinToken(ctx)
		if err != nil {
			return err
		}
		return d.showAgents(v, joinBody{
			Command: "agent -join " + net.JoinHostPort(reachedBy(v.r.Host), d.cfg.RPCPort) + " -token " + made.GetToken(), Expires: since(made.GetExpires()),
		})
	default:
		return proto.Errorf(proto.ErrNotFound, "%.50q is nothing that is done to agents", verb)
	}
}

// reachedBy returns the host by which other machines reach the proxy, as far as it can be
// told from how the browser does.
func reachedBy(host string) string {
	name := (&url.URL{Host: host}).Hostname()
	if ip := net.ParseIP(name); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return name
	}
	if own, err := os.Hostname(); err == nil {
		return own
	}
	return name
}

// auditBody is the page of what callers did.
type auditBody struct{ Rows []auditRow }

type auditRow struct {
	Time                                 moment
	Who, Peer, Call, What, Result, Error string
	Class                                string
	Omitted                              uint64
}

// auditEntries are how many the page shows.
const auditEntries = 200

func (d *Dashboard) auditPage(v *visit) error {
	list, err := v.api.Audit(v.r.Context(), auditEntries)
	if err != nil {
		return err
	}
	var body auditBody
	for _, e := range list {
		row := auditRow{
			Time: since(e.GetTime()), Who: e.GetWho(), Peer: e.GetPeer(), Call: e.GetCall(), Result: e.GetResult(), Error: clip(e.GetError(), 300), Omitted: e.GetOmitted(),
			What: clip(joined(append(append([]string{}, e.GetFunctions()...), e.GetAgent(), e.GetToken())), 200),
		}
		row.Class = badIf(e.GetResult() != "ok")
		body.Rows = append(body.Rows, row)
	}
	return d.show(v, "audit", page{Title: "Audit", At: "audit", Body: body})
}

// joined are the texts that are not empty.
func joined(texts []string) (list string) {
	for _, text := range texts {
		switch {
		case text == "":
		case list == "":
			list = text
		default:
			list += ", " + text
		}
	}
	return list
}
