package rollout

import (
	"context"
	"errors"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Action is what a step does on its agent.
type Action string

// The actions.
const (
	Deploy   Action = "deploy"   // give the agent the function that is rolled out
	Rollback Action = "rollback" // serve with a version that the agent keeps
	Shift    Action = "shift"    // change the share of a canary
	Pause    Action = "pause"    // answer calls with 503
	Resume   Action = "resume"   // serve again
)

// Step is what a change of a function does on one agent: data, so that it can be taken
// and undone.
type Step struct {
	Agent   string                 // its address
	Name    string                 // of the function
	Before  *proto.FunctionJsonRsp // the agent's row, also of one that is stopped; nil: the function was not there
	Action  Action
	Version uint32 // that a deploy makes or a rollback goes to; 0: the agent chooses
	Canary  uint32 // percentage of calls, in a deploy or a shift
}

// align gives the step the version of a step before it: that of an agent that had
// nothing to change, or the one to which the first agent went back.
func (s *Step) align(version uint32) {
	switch s.Action {
	case Deploy:
		if s.Canary == 0 && version < s.Version && version > s.Before.GetLastVersion() {
			s.Version = version
		}
	case Rollback:
		if s.Version == 0 {
			s.Version = version
		}
	case Shift, Pause, Resume:
	}
}

// wasStopped reports whether the function was stopped, with its versions kept.
func (s *Step) wasStopped() bool { return proto.Status(s.Before.GetStatus()) == proto.Stopped }

// apply takes a step and returns the row with which the agent ends.
func (c *change) apply(ctx context.Context, s Step) (*proto.FunctionJsonRsp, error) {
	agent, err := c.fleet.Connect(ctx, s.Agent)
	if err != nil {
		return nil, err
	}
	switch s.Action {
	case Rollback:
		return agent.Rollback(ctx, s.Name, s.Version)
	case Shift:
		return agent.Shift(ctx, s.Name, s.Canary)
	case Pause:
		return agent.Pause(ctx, s.Name)
	case Resume:
		return agent.Resume(ctx, s.Name)
	case Deploy:
	}
	return c.deploy(ctx, c.rollout, agent, s)
}

// undo brings an agent back to what it had before a step. A canary that the step dropped
// does not come back.
func (r *Rollouts) undo(ctx context.Context, s Step) error {
	agent, err := r.fleet.Connect(ctx, s.Agent)
	if err != nil {
		return err
	}
	switch {
	case s.Action == Pause && !s.Before.GetPaused():
		_, err = agent.Resume(ctx, s.Name)
	case s.Action == Resume && s.Before.GetPaused():
		_, err = agent.Pause(ctx, s.Name)
	case s.Action == Pause || s.Action == Resume: // the step changed nothing
	case s.wasStopped():
		_, err = agent.Stop(ctx, s.Name)
	case s.Action == Deploy && s.Before == nil:
		_, err = agent.Remove(ctx, s.Name)
	case s.Action == Deploy && s.Before.GetVersion() == 0:
		_, err = agent.Stop(ctx, s.Name)
	case s.Action == Deploy && s.Canary > 0:
		_, err = agent.Shift(ctx, s.Name, 0)
	case s.Action == Shift && s.Canary == 0:
		err = errors.New("its canary was dropped")
	case s.Action == Shift && s.Canary < 100:
		_, err = agent.Shift(ctx, s.Name, canaryOf(s.Before))
	default:
		_, err = agent.Rollback(ctx, s.Name, s.Before.GetVersion())
	}
	return err
}

// canaryOf returns the percentage of calls that a replica's canary gets, 0 without one.
func canaryOf(row *proto.FunctionJsonRsp) uint32 {
	for _, s := range row.GetServing() {
		if s.GetVersion() != row.GetVersion() && s.GetWeight() > 0 {
			return s.GetWeight()
		}
	}
	return 0
}
