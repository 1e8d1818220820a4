package proxy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/queue"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

const (
	// maxDeployHooks bounds the urls that are told: each change is stored for each of them.
	maxDeployHooks = 20
	// maxToldError bounds what is told of an error, in bytes: its beginning says most.
	maxToldError = 8 << 10
)

// told is what a deploy hook is told, a CloudEvent in the structured form.
type told struct {
	SpecVersion string `json:"specversion"`
	ID          string `json:"id"`
	Source      string `json:"source"`
	Type        string `json:"type"`
	Subject     string `json:"subject"`
	Time        string `json:"time"`
	ContentType string `json:"datacontenttype"`
	Data        change `json:"data"`
}

// change is what became of a function.
type change struct {
	Action   string   `json:"action"` // deploy, rollback, canary, promote, drop, pause, resume, stop, remove, crash or recover
	Function string   `json:"function"`
	Status   string   `json:"status"`            // Deployed, Failed, Stopped or Replaced
	Version  uint32   `json:"version,omitempty"` // that was to serve; 0: it is not known
	Canary   uint32   `json:"canary,omitempty"`  // its share of the calls, in percent
	Agents   []string `json:"agents,omitempty"`
	Who      string   `json:"who"` // as the audit log says it
	Note     string   `json:"note,omitempty"`
	Preview  string   `json:"preview,omitempty"` // the branch
	Reason   string   `json:"reason,omitempty"`
	Error    string   `json:"error,omitempty"`
	// ReplacedBy is the id of the change that has replaced this one.
	ReplacedBy string `json:"replacedBy,omitempty"`
	Restarts   uint32 `json:"restarts,omitempty"` // of processes at the agent, since the function came there
}

// statusReplaced is the status of a change that another one has replaced: what was to be is not, and
// what is, the other one tells.
const statusReplaced = "Replaced"

// parseDeployHooks reads the flag -deploy-hooks. An error does not repeat a url: it may be
// secret.
func parseDeployHooks(list []string, getenv func(string) string) (urls []string, err error) {
	for _, text := range list {
		if strings.HasPrefix(text, "env:") || strings.HasPrefix(text, "file:") {
			if text, err = hookSecret(text, getenv); err != nil {
				return nil, fmt.Errorf("-deploy-hooks: %w", err)
			}
		}
		found := strings.Fields(text)
		if len(found) == 0 {
			return nil, fmt.Errorf("-deploy-hooks: a variable or a file has no url")
		}
		for _, to := range found {
			if !slices.Contains(urls, to) {
				urls = append(urls, to)
			}
		}
	}
	if len(urls) > maxDeployHooks {
		return nil, fmt.Errorf("-deploy-hooks: %d urls are more than %d", len(urls), maxDeployHooks)
	}
	return urls, nil
}

// checkDeployHooks returns what is wrong with the urls.
func (p *Proxy) checkDeployHooks() error {
	for i, to := range p.cfg.DeployHooks {
		switch err := p.queue.CheckURL(to); {
		case errors.Is(err, proto.ErrInvalid):
			return proto.Errorf(proto.ErrInvalid, "-deploy-hooks: url %d is none, such as https://example.com/deploys", i+1)
		case err != nil: // of its address
			return fmt.Errorf("-deploy-hooks: url %d: %w", i+1, err)
		}
	}
	return nil
}

// changeOf is what is told of a change that takes steps at agents.
func (p *Proxy) changeOf(name string, of *wish.Change) (now change, step rollout.Step, ok bool) {
	var steps []rollout.Step
	if len(p.cfg.DeployHooks) == 0 || of.Mending || json.Unmarshal(of.Steps, &steps) != nil || len(steps) == 0 {
		return change{}, rollout.Step{}, false
	}
	step = steps[0]
	now = change{
		Action: actionOf(step), Function: name, Status: string(proto.Deployed), Version: step.Version, Canary: step.Canary,
		Agents: of.Agents, Who: of.By, Note: of.Note,
	}
	if w := p.wishes.Get(proto.Path(name)); w != nil {
		now.Preview = w.Version.Settings.GetPreview()
	}
	if fn := of.Function.FunctionJson; fn != nil {
		now.Preview = fn.GetPreview()
	}
	return now, step, true
}

// tellChange tells deploy hooks how a change has ended that took steps at agents.
func (p *Proxy) tellChange(ctx context.Context, c *writing, of *wish.Change, end rollout.End) {
	now, step, ok := p.changeOf(c.name, of)
	if !ok {
		return
	}
	w := p.wishes.Get(c.path)
	switch {
	case end.Result == rollout.Replaced:
		now.Status, now.Version = statusReplaced, 0
	case end.Result == rollout.Undone:
		now.Status, now.Error, now.Reason = string(proto.Failed), clipped(end.Why), end.Reason
	case w != nil && w.Canary != nil && step.Canary > 0:
		now.Version = w.Canary.Number
	case w != nil:
		now.Version = w.Version.Number
	}
	_ = p.tell(ctx, noticeOf(c.id, now)) // it is logged
}

// replacement is the notice of the change of a function that is under way here and that
// another one replaces; nil: there is none, or nobody is told.
func (p *Proxy) replacement(name, by string) *wish.Notice {
	of := p.wishes.Own(proto.Path(name))
	now, _, ok := p.changeOf(name, &of)
	if of.ID == "" || !ok {
		return nil
	}
	now.Status, now.Version, now.ReplacedBy = statusReplaced, 0, by
	notice := noticeOf(of.ID, now)
	return &notice
}

// actionOf names what a step does as people do.
func actionOf(s rollout.Step) string {
	switch {
	case s.Action == rollout.Shift && s.Canary == 0:
		return "drop"
	case s.Action == rollout.Shift && s.Canary >= 100:
		return "promote"
	case s.Action == rollout.Shift:
		return "canary"
	}
	return string(s.Action)
}

// endOf is the notice of a stop, or of a removal. Agents that do not answer follow later.
func endOf(c *writing, state wish.State, replicas []fleet.Replica, branch string) wish.Notice {
	now := change{Action: "stop", Function: c.name, Status: string(proto.Stopped), Who: c.by, Preview: branch}
	if state == wish.Removed {
		now.Action = "remove"
	}
	for _, r := range replicas {
		now.Agents = append(now.Agents, r.Agent)
		now.Version = max(now.Version, r.Row.GetVersion())
	}
	return noticeOf(c.id, now)
}

// noticeOf is a notice of what became of a function.
func noticeOf(id string, now change) wish.Notice {
	what, err := json.Marshal(now)
	if err != nil {
		panic(err) // of texts and numbers: never
	}
	return wish.Notice{ID: id, What: what}
}

// tell stores notices for each deploy hook. What became of functions stands without them:
// what cannot be stored is logged.
func (p *Proxy) tell(ctx context.Context, notices ...wish.Notice) (err error) {
	if len(p.cfg.DeployHooks) == 0 {
		return nil
	}
	host, _ := os.Hostname()
	for _, n := range notices {
		var now change
		if wrong := json.Unmarshal(n.What, &now); wrong != nil {
			p.logger.Error("a notice for deploy hooks cannot be read", "change", n.ID, "error", wrong)
			continue
		}
		body, wrong := json.Marshal(told{
			SpecVersion: "1.0", ID: n.ID, Source: cmp.Or(p.cfg.URL, "/ryo-faas/"+host), Type: "ryo.function." + now.Action, Subject: now.Function,
			Time: time.Now().UTC().Format(time.RFC3339Nano), ContentType: "application/json", Data: now,
		})
		for _, to := range p.cfg.DeployHooks {
			wrong = errors.Join(wrong, p.queue.Tell(ctx, queue.Notice{ID: n.ID, URL: to, Type: "application/cloudevents+json", Body: body}))
		}
		if wrong != nil {
			p.logger.Error("not all deploy hooks are told of a change", "function", now.Function, "change", n.ID, "action", now.Action, "error", wrong)
			err = errors.Join(err, wrong)
		}
	}
	return err
}

// clipped is the beginning of an error.
func clipped(text string) string {
	if len(text) > maxToldError {
		return strings.ToValidUTF8(text[:maxToldError], "") + "…"
	}
	return text
}
