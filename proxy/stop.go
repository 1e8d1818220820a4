package proxy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

// ending is how functions end.
type ending struct {
	state wish.State
	verb  string
	// find returns the replicas that are to end, and ask asks an agent.
	find func(ctx context.Context, path string) []fleet.Replica
	by   string // who ends it, where that is nobody who asked
	// due says why it is not to end after all; nil: it is, whatever is under way.
	due func(ctx context.Context, path string) error
	ask func(ctx context.Context, agent *fleet.Session, name string) (*proto.FunctionJsonRsp, error)
}

// Stop implements transport.Interface. It takes the route out before it asks the agents.
// With a store, agents that do not answer stop the function when they are back, which the
// error of the row says.
func (p *Proxy) Stop(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	row, err := p.stopAt(ctx, fnName, ending{
		state: wish.Stopped, verb: "stopped on",
		find: func(_ context.Context, path string) []fleet.Replica { return p.fleet.Find(path) },
		ask: func(ctx context.Context, agent *fleet.Session, name string) (*proto.FunctionJsonRsp, error) {
			return agent.Stop(ctx, name)
		},
	})
	if err == nil {
		p.restSchedule(ctx, fnName)
	}
	return row, err
}

// Remove implements transport.Interface. It asks all agents that answer. The others
// remove the function when they are back, which the error of the row says.
func (p *Proxy) Remove(ctx context.Context, fnName string) (*proto.FunctionJsonRsp, error) {
	return p.remove(ctx, fnName, "", nil)
}

// remove removes a function, unless due says that it is not to be. by is who does where
// nobody has asked.
func (p *Proxy) remove(ctx context.Context, fnName, by string, due func(ctx context.Context, path string) error) (*proto.FunctionJsonRsp, error) {
	row, err := p.stopAt(ctx, fnName, ending{
		by: by, due: due,
		state: wish.Removed, verb: "removed from",
		find: p.anywhere,
		ask: func(ctx context.Context, agent *fleet.Session, name string) (*proto.FunctionJsonRsp, error) {
			return agent.Remove(ctx, name)
		},
	})
	if err == nil {
		p.forgetSchedule(ctx, fnName)
	}
	return row, err
}

// stopAt takes a function out of the routes and ends it.
func (p *Proxy) stopAt(ctx context.Context, fnName string, e ending) (*proto.FunctionJsonRsp, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	path := proto.Path(fnName)
	unlock, err := p.turn(ctx, path)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if e.due != nil {
		if err := e.due(ctx, path); err != nil {
			return nil, err
		}
	}
	drafts := p.fleet.Drafts(path)
	p.rollouts.Cancel(path, rollout.ErrStopped)
	for _, row := range drafts {
		p.fleet.Tell(fleet.Stopped(row))
	}
	replicas := p.ending(ctx, path, e)
	switch {
	case len(replicas) == 0 && len(drafts) > 0: // no agent has been given it
		p.drop(ctx, drafts[0].GetName())
		return p.present(ctx, []*proto.FunctionJsonRsp{fleet.Stopped(drafts[0])})[0], nil
	case len(replicas) == 0:
		return nil, p.nowhere(fnName)
	}
	absent, followed, err := p.willEnd(ctx, replicas, e)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, lastCalls)
	defer cancel()
	underWay := p.table.Calls(path)
	p.fleet.Hide(path)
	defer p.fleet.Show(path)
	underWay.Wait(limited)

	rows := make([]*proto.FunctionJsonRsp, len(replicas))
	errs := make([]error, len(replicas))
	var wg sync.WaitGroup
	for i, r := range replicas {
		if slices.Contains(absent, r.Agent) {
			rows[i] = fleet.Stopped(r.Row)
			continue
		}
		wg.Go(func() {
			var agent *fleet.Session
			if agent, errs[i] = p.fleet.Connect(ctx, r.Agent); errs[i] == nil {
				rows[i], errs[i] = e.ask(ctx, agent, r.Row.GetName())
			}
		})
	}
	wg.Wait()
	var ended []string
	for i, r := range replicas {
		if errs[i] == nil && !slices.Contains(absent, r.Agent) {
			ended = append(ended, r.Agent)
		}
	}
	followed(ended)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	row := p.present(ctx, rows)[0]
	if len(absent) > 0 {
		row.Reason = proto.ReasonUnreachable
		row.Error = "it is " + e.verb + " these agents when they answer again: " + strings.Join(absent, ", ")
	}
	return row, nil
}

// drop forgets a change of this proxy that was canceled: nobody shall go on with it.
func (p *Proxy) drop(ctx context.Context, name string) {
	if p.wishes == nil {
		return
	}
	if n := p.replacement(name, ""); n != nil {
		_ = p.tell(ctx, *n)
	}
	path := proto.Path(name)
	if err := p.wishes.End(ctx, path, p.wishes.Ours(path)); err != nil {
		p.logger.Error("a deploy that was stopped may begin again", "function", path, "error", err)
	}
}

// ending returns the replicas that are to end, also those of which nothing is known but that
// they are wished.
func (p *Proxy) ending(ctx context.Context, path string, e ending) []fleet.Replica {
	replicas := e.find(ctx, path)
	if p.wishes != nil || e.state == wish.Removed {
		for _, r := range replicas {
			_, _ = p.fleet.Connect(ctx, r.Agent) // it may be back
		}
	}
	if p.wishes == nil {
		return replicas
	}
	w := p.wishes.Get(path)
	if w == nil || w.State == wish.Removed || w.State == e.state {
		return replicas
	}
	for _, at := range w.Agents() {
		r, known, answers := p.fleet.Agent(at.Agent, at.ID)
		if known && !answers && !slices.ContainsFunc(replicas, func(other fleet.Replica) bool { return other.Agent == r.Agent }) {
			r.Row = &proto.FunctionJsonRsp{Name: w.Name, AtAgent: r.Agent, Status: string(proto.Deployed), Version: w.Version.Number}
			replicas = append(replicas, r)
		}
	}
	return replicas
}

// willEnd makes sure that agents that do not answer end a function when they are back, and
// removes their rows of it. It returns the addresses of these agents, and what is to be
// called with those that have ended it now.
func (p *Proxy) willEnd(ctx context.Context, replicas []fleet.Replica, e ending) (absent []string, followed func([]string), err error) {
	name := replicas[0].Row.GetName()
	nobody := func([]string) {}
	if p.wishes == nil {
		if e.state == wish.Removed {
			absent = p.fleet.RemoveLater(name)
		}
		return absent, nobody, nil
	}
	if e.state == wish.Stopped && p.spares("") == nil {
		for _, r := range replicas {
			if problem := p.fleet.Problem(r.Agent); problem != nil {
				return nil, nil, problem
			}
		}
	}
	c, _, err := p.writing(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	c.by = cmp.Or(e.by, c.by)
	ours := p.wishes.Ours(c.path) // a deploy that was stopped
	branch := p.previewOf(replicas[0].Row)
	var untold []wish.Notice
	if len(p.cfg.DeployHooks) > 0 {
		if deploy := p.replacement(name, c.id); deploy != nil {
			untold = append(untold, *deploy)
		}
		untold = append(untold, endOf(c, e.state, replicas, branch))
	}
	w, absent, err := p.end(ctx, c, e.state, replicas, untold)
	if err != nil {
		return nil, nil, err
	}
	p.tellUntold(ctx, c.path, untold)
	p.fleet.Forget(c.path)
	return absent, func(agents []string) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wishLimit)
		defer cancel()
		var errs []error
		if w != nil {
			errs = append(errs, p.followed(ctx, c.path, w.Generation, agents...))
		}
		if ours != "" {
			errs = append(errs, p.wishes.End(ctx, c.path, ours))
		}
		if e.state == wish.Removed {
			errs = append(errs, p.wishes.DropVersions(ctx, c.path))
		}
		if err := errors.Join(errs...); err != nil {
			p.logger.Error("what a change came to is not stored yet", "function", name, "change", c.id, "error", err)
		}
	}, nil
}
