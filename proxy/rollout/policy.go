package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
)

// change is a change of a function that is under way, with one step for each agent.
type change struct {
	*Rollouts
	name    string
	steps   []Step
	rollout *Rollout // what Deploy steps give to the agents; nil without such steps
	resumed bool     // agents may have taken their steps already

	taken []Step // to undo when a step fails, also those of rollouts that this one replaces
	rows  map[string]*proto.FunctionJsonRsp
	end   End
}

// roll is the policy. It takes the steps one by one, each when the one before stands. If
// one fails, the agents after it stay as they are and those before it go back, the
// latest first. Then there is a row for each agent, or, if the first step failed
// without one, an error.
//
// A change that another replaces undoes nothing: the other goes on from there. Nor does
// one whose function or proxy stops.
func (c *change) roll(ctx context.Context) error {
	for i, s := range c.steps {
		row, err := c.apply(ctx, s)
		if err == nil && proto.Status(row.GetStatus()) == proto.Deployed {
			c.stands(s, row)
			for j := range c.steps[i+1:] {
				c.steps[i+1+j].align(row.GetVersion())
			}
			continue
		}
		why := "the rollout stopped at agent " + s.Agent
		c.end.Result = Undone
		if unsure(err) || row.GetReason() == proto.ReasonUnreachable {
			c.end.Unsure = append(c.end.Unsure, s.Agent)
		}
		if c.end.Why, c.end.Reason = row.GetError(), row.GetReason(); err != nil {
			c.end.Why, c.end.Reason = err.Error(), proto.AsError(err).Reason
		}
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, fleet.ErrReplaced), errors.Is(cause, ErrStopped):
			why, c.end.Result = cause.Error(), Replaced
			row, err = Failed(c.name, s.Agent, cause), nil
		case c.fleet.Closed():
			why, c.end.Result = "the proxy stopped", Cut
		default:
			if now := c.fleet.Row(s.Agent, s.Name); c.resumed && now != nil && now.GetVersion() != s.Before.GetVersion() {
				c.taken = append(c.taken, s) // it was changed before, to something else
			}
			c.undoAll(ctx, why)
		}
		if i == 0 && err != nil {
			return err
		}
		if err != nil {
			row = Failed(c.name, s.Agent, err)
		}
		c.rows[s.Agent] = row
		for _, s := range c.steps[i+1:] {
			c.rows[s.Agent] = c.canceled(c.name, s.Agent, "it was not changed: "+why)
		}
		return nil
	}
	return nil
}

// unsure reports whether an error leaves open what an agent has done: one that has refused,
// or was not reached, has done nothing.
func unsure(err error) bool {
	if err == nil || Unreachable(err) {
		return false
	}
	switch proto.AsError(err).Kind {
	case proto.ErrUnavailable, proto.ErrTimeout, proto.ErrCanceled, proto.ErrStalled, proto.ErrBadGateway, proto.ErrInternal:
		return true
	}
	return false
}

// stands notes a step that was taken. To undo it later is needless if it changed
// nothing, or if a rollout that this one replaces has changed the agent before: that
// step goes back to what was before both.
func (c *change) stands(s Step, row *proto.FunctionJsonRsp) {
	c.rows[s.Agent] = row
	again := slices.ContainsFunc(c.taken, func(t Step) bool { return t.Agent == s.Agent })
	if !again && (s.wasStopped() || !fleet.SameVersions(s.Before, row)) {
		c.taken = append(c.taken, s)
	}
}

// undoAll undoes the steps that were taken, and says so in the rows. A canceled ctx does
// not keep it from that.
func (c *change) undoAll(ctx context.Context, why string) {
	ctx = context.WithoutCancel(ctx)
	for _, s := range slices.Backward(c.taken) {
		text := fmt.Sprintf("it is back at version %d: %s", s.Before.GetVersion(), why)
		if s.Before.GetVersion() == 0 || s.wasStopped() {
			text = "it was stopped again: " + why
		}
		if err := c.undo(ctx, s); err != nil {
			c.logger.Error("a change is not undone", "function", c.name, "agent", s.Agent, "action", s.Action, "error", err)
			text = fmt.Sprintf("it was changed, and cannot go back: %s", err)
			c.end.Unsure = append(c.end.Unsure, s.Agent)
		}
		c.rows[s.Agent] = c.canceled(c.name, s.Agent, text)
	}
	c.taken = nil
}
