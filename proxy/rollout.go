package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// reasonRollout is the reason of rows of agents that did their part, or would
// have, where another could not.
const reasonRollout = "rollout"

// Why a rollout is given up.
var (
	errReplaced = errors.New("replaced by a later deploy before it was ready")
	errStopped  = errors.New("stopped before it was ready")
)

// rollout is the newest deploy of a function, until it is settled.
type rollout struct {
	order   order
	agents  []string // as they were named
	version uint32   // of what a change makes; 0: as the agent counts
	cancel  context.CancelCauseFunc

	accept   sync.Once
	accepted chan struct{} // closed when begun is set
	begun    outcome       // for who does not wait
	done     chan struct{} // closed when end is set
	end      outcome       // for who waits

	// The below belong to follow, and once done is closed to the rollout after this.
	same     uint32            // the version of an agent that had nothing to change
	programs map[string]origin // by platform
	awaiting []string          // agents for which another builds
	taken    []step            // what it has changed and not undone
}

// outcome is the answer to a deploy of one function.
type outcome struct {
	rows []*proto.FunctionJsonRsp
	err  error
}

// answer answers those who do not wait, unless they have their answer.
func (r *rollout) answer(o outcome) {
	r.accept.Do(func() {
		r.begun = o
		close(r.accepted)
	})
}

// step is what a change of a function does at one agent.
type step struct {
	addr   string
	before *proto.FunctionJsonRsp // nil: the function was not there
	do     func(context.Context) (*proto.FunctionJsonRsp, error)
	undo   func(context.Context) error
}

// roll takes steps one by one. At the first that fails it stops and has what was
// changed go back, the latest first: its own steps and those of the rollout that
// it replaces, taken. It returns the steps that stand, and a row for each agent;
// or the error of the first step, when that has no row.
//
// A roll whose ctx ends since another takes its place leaves to that what it has
// changed.
func (p *Proxy) roll(ctx context.Context, name string, taken, steps []step) ([]step, map[string]*proto.FunctionJsonRsp, error) {
	rows := map[string]*proto.FunctionJsonRsp{}
	for i, s := range steps {
		row, err := s.do(ctx)
		if err == nil && proto.Status(row.GetStatus()) == proto.Deployed {
			rows[s.addr] = row
			mine := slices.ContainsFunc(taken, func(t step) bool { return t.addr == s.addr })
			if !mine && !sameVersions(s.before, row) {
				taken = append(taken, s)
			}
			continue
		}
		why := "the rollout stopped at agent " + s.addr
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, errReplaced), errors.Is(cause, errStopped):
			why = cause.Error()
			row, err = failed(name, s.addr, cause), nil
		case p.fleet.ending():
			why = "the proxy ended"
		default:
			p.undo(ctx, name, taken, rows, why)
			taken = nil
		}
		if i == 0 && err != nil {
			return taken, nil, err
		}
		if err != nil {
			row = failed(name, s.addr, err)
		}
		rows[s.addr] = row
		for _, s := range steps[i+1:] {
			rows[s.addr] = p.aborted(name, s.addr, "it was not changed: "+why)
		}
		return taken, rows, nil
	}
	return taken, rows, nil
}

// undo has steps go back, and says so in their rows.
func (p *Proxy) undo(ctx context.Context, name string, taken []step, rows map[string]*proto.FunctionJsonRsp, why string) {
	ctx = context.WithoutCancel(ctx)
	for _, s := range slices.Backward(taken) {
		text := fmt.Sprintf("it is back at version %d: %s", s.before.GetVersion(), why)
		if s.before.GetVersion() == 0 {
			text = "it was stopped again: " + why
		}
		if err := s.undo(ctx); err != nil {
			p.logger.Error("a change is not undone", "function", name, "agent", s.addr, "error", err)
			text = fmt.Sprintf("it was changed, and cannot go back: %s", err)
		}
		rows[s.addr] = p.aborted(name, s.addr, text)
	}
}

// aborted is the row of an agent where a change does not stand.
func (p *Proxy) aborted(name, addr, text string) *proto.FunctionJsonRsp {
	row := cmp.Or(p.fleet.row(addr, name), &proto.FunctionJsonRsp{Name: name, AtAgent: addr, Since: time.Now().UTC().Format(time.RFC3339)})
	row.Status, row.Reason, row.Error = string(proto.Failed), reasonRollout, text
	return row
}

// sameVersions says whether the same versions serve as before, with the same weights.
func sameVersions(before, after *proto.FunctionJsonRsp) bool {
	weighted := func(row *proto.FunctionJsonRsp) []*proto.Serving {
		return slices.DeleteFunc(slices.Clone(row.GetServing()), func(s *proto.Serving) bool { return s.GetWeight() == 0 })
	}
	return before != nil && before.GetVersion() == after.GetVersion() && before.GetLastVersion() == after.GetLastVersion() &&
		slices.EqualFunc(weighted(before), weighted(after), func(a, b *proto.Serving) bool {
			return a.GetVersion() == b.GetVersion() && a.GetWeight() == b.GetWeight()
		})
}

// begin starts the rollout of a function to agents that have its package. It goes
// on when the caller leaves. The lock of its path is held.
func (p *Proxy) begin(ctx context.Context, r *rollout) {
	if old := p.halt(r.order.path, errReplaced); old != nil {
		r.taken = old.taken
	}
	for _, row := range p.fleet.drafts(r.order.path) {
		if !slices.Contains(r.agents, row.GetAtAgent()) {
			p.fleet.rows.Set(stopped(row))
		}
	}
	r.version = p.nextVersion(r)
	ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rollouts[r.order.path] = r
	p.followers.Go(func() {
		defer r.cancel(nil)
		p.follow(ctx, r)
	})
}

// nextVersion is the number of the version that a deploy makes, one for all
// replicas. For a single one, 0: its agent knows.
func (p *Proxy) nextVersion(r *rollout) uint32 {
	last, agents := uint32(0), slices.Clone(r.agents)
	for _, l := range p.fleet.find(r.order.path) {
		last = max(last, l.row.GetLastVersion())
		agents = append(agents, l.agent.addr)
	}
	slices.Sort(agents)
	if len(slices.Compact(agents)) == 1 {
		return 0
	}
	return last + 1
}

// follow brings a rollout to its end, and takes the function from the agents that
// it has left.
func (p *Proxy) follow(ctx context.Context, r *rollout) {
	defer close(r.done)
	name := r.order.fn.GetName()
	taken, rows, err := p.roll(ctx, name, r.taken, p.steps(r))
	r.end.err = err
	whole := err == nil
	for _, addr := range r.agents {
		row := rows[addr]
		whole = whole && proto.Status(row.GetStatus()) == proto.Deployed
		r.end.rows = append(r.end.rows, row)
	}
	p.conclude(ctx, r)
	r.answer(r.end)
	if whole {
		p.leave(ctx, r)
		taken = nil
	}
	r.taken = taken
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.rollouts, r.order.path)
}

// leave stops a function on the agents that its new deploy does not name.
func (p *Proxy) leave(ctx context.Context, r *rollout) {
	for _, l := range p.fleet.find(r.order.path) {
		if slices.Contains(r.agents, l.agent.addr) || ctx.Err() != nil {
			continue
		}
		if _, err := p.stopAt(ctx, l.agent.addr, l.row.GetName()); err != nil && !errors.Is(err, proto.ErrNotFound) {
			p.logger.Error("a replica that was replaced goes on", "function", l.row.GetName(), "agent", l.agent.addr, "error", err)
		}
	}
}

// steps are those of a deploy. Agents that run the same package go first, since
// what they have saves others a build; then those that can build.
func (p *Proxy) steps(r *rollout) []step {
	order := r.order
	rank := func(s step) int {
		switch {
		case s.before.GetPackage() == order.fn.GetPackage():
			return 0
		case p.fleet.info(s.addr).builds():
			return 1
		}
		return 2
	}
	steps := make([]step, len(r.agents))
	for i, addr := range r.agents {
		before := p.fleet.row(addr, order.fn.GetName())
		steps[i] = step{
			addr: addr, before: before,
			do: func(ctx context.Context) (*proto.FunctionJsonRsp, error) { return p.deployAt(ctx, r, addr, before) },
			undo: func(ctx context.Context) (err error) {
				switch {
				case before.GetVersion() == 0:
					_, err = p.stopAt(ctx, addr, order.fn.GetName())
				case order.fn.GetCanary() > 0:
					_, err = p.shiftAt(ctx, addr, order.fn.GetName(), 0)
				default:
					_, err = p.rollbackAt(ctx, addr, order.fn.GetName(), before.GetVersion())
				}
				return err
			},
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(rank(a), rank(b)) })
	return steps
}

// rollout returns the rollout of a path, nil when there is none.
func (p *Proxy) rollout(path string) *rollout {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rollouts[path]
}

// halt ends the rollout of a path, if there is one, for a reason, and returns it
// once it has let go. The lock of the path is held.
func (p *Proxy) halt(path string, why error) *rollout {
	r := p.rollout(path)
	if r != nil {
		r.cancel(why)
		<-r.done
	}
	return r
}
