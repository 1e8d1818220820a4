package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
)

// change is a change of a function under way: steps, one to an agent.
type change struct {
	*Rollouts
	name  string
	steps []Step
	order *Rollout // what Deploy steps give to the agents; nil without such steps

	taken []Step // what stands and is undone when a step fails, also of rollouts that this one replaces
	rows  map[string]*proto.FunctionJsonRsp
}

// roll is the policy. Steps are taken one by one, each when the one before stands.
// At the first that fails the agents after it stay as they are, and those before it
// go back, the latest first. In the end there is a row for each agent; if the first
// step fails without one, its error.
//
// A change that another replaces, or whose proxy ends, leaves what it has taken: to
// the other, or to the next deploy.
func (c *change) roll(ctx context.Context) error {
	for i, s := range c.steps {
		row, err := c.apply(ctx, s)
		if err == nil && proto.Status(row.GetStatus()) == proto.Deployed {
			c.stands(s, row)
			for j := range c.steps[i+1:] {
				c.steps[i+1+j].follow(row.GetVersion())
			}
			continue
		}
		why := "the rollout stopped at agent " + s.Agent
		switch cause := context.Cause(ctx); {
		case errors.Is(cause, fleet.ErrReplaced), errors.Is(cause, ErrStopped):
			why = cause.Error()
			row, err = Failed(c.name, s.Agent, cause), nil
		case c.fleet.Ending():
			why = "the proxy ended"
		default:
			c.goBack(ctx, why)
		}
		if i == 0 && err != nil {
			return err
		}
		if err != nil {
			row = Failed(c.name, s.Agent, err)
		}
		c.rows[s.Agent] = row
		for _, s := range c.steps[i+1:] {
			c.rows[s.Agent] = c.aborted(c.name, s.Agent, "it was not changed: "+why)
		}
		return nil
	}
	return nil
}

// stands notes a step that was taken. What changed nothing is not undone, nor what a
// rollout that this one replaces has changed before: that goes back to what was
// before both.
func (c *change) stands(s Step, row *proto.FunctionJsonRsp) {
	c.rows[s.Agent] = row
	again := slices.ContainsFunc(c.taken, func(t Step) bool { return t.Agent == s.Agent })
	if !again && !fleet.SameVersions(s.Before, row) {
		c.taken = append(c.taken, s)
	}
}

// goBack undoes what was taken, and says so in the rows. It goes on when ctx ends.
func (c *change) goBack(ctx context.Context, why string) {
	ctx = context.WithoutCancel(ctx)
	for _, s := range slices.Backward(c.taken) {
		text := fmt.Sprintf("it is back at version %d: %s", s.Before.GetVersion(), why)
		if s.Before.GetVersion() == 0 {
			text = "it was stopped again: " + why
		}
		if err := c.undo(ctx, s); err != nil {
			c.logger.Error("a change is not undone", "function", c.name, "agent", s.Agent, "action", s.Action, "error", err)
			text = fmt.Sprintf("it was changed, and cannot go back: %s", err)
		}
		c.rows[s.Agent] = c.aborted(c.name, s.Agent, text)
	}
	c.taken = nil
}
