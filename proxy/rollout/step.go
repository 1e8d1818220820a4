package rollout

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
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
	if c.resumed {
		if row, err := c.done(ctx, agent, s); row != nil || err != nil {
			return row, err
		}
		if s.Action == Deploy && c.rollout.Lacks != nil {
			return nil, c.rollout.Lacks
		}
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

// done returns the row of an agent that has taken a step, for a process that is gone; nil if
// it has not.
func (c *change) done(ctx context.Context, agent *fleet.Session, s Step) (*proto.FunctionJsonRsp, error) {
	row := c.fleet.Row(s.Agent, s.Name)
	switch s.Action {
	case Shift:
		if canaryOf(row) == 0 && canaryOf(s.Before) > 0 && (s.Canary == 0 || row.GetVersion() != s.Before.GetVersion()) {
			return row, nil
		}
		return nil, nil //nolint:nilnil // it has not
	case Rollback, Pause, Resume: // twice is as good as once
		return nil, nil //nolint:nilnil // it has not
	case Deploy:
	}
	if row.GetLastVersion() <= s.Before.GetLastVersion() && proto.Status(row.GetStatus()) != proto.Deploying {
		return nil, nil //nolint:nilnil // it has not
	}
	row = agent.Settled(ctx, row, settleLimit)
	if proto.Status(row.GetStatus()) != proto.Deployed {
		return row, nil
	}
	list, err := agent.Versions(ctx, s.Name)
	if err != nil {
		return nil, err
	}
	for _, v := range list {
		if v.GetWeight() > 0 && Same(v, c.rollout.Function) {
			return row, nil
		}
	}
	return Failed(s.Name, s.Agent, errors.New("it did not get ready while no proxy was there")), nil
}

// Same reports whether a version that an agent keeps has the package and the settings of a
// function. Of secrets the names count.
func Same(v *proto.Version, fn *proto.FunctionJson) bool {
	was, now := v.GetSettings().Lasting(), fn.Lasting()
	was.Package, was.Kind, now.Kind = v.GetPackage(), v.GetKind(), cmp.Or(fn.GetKind(), v.GetKind())
	was.PackagePath, now.PackagePath = cmp.Or(was.GetPackagePath(), "."), cmp.Or(now.GetPackagePath(), ".")
	for _, fn := range []*proto.FunctionJson{was, now} {
		for name := range fn.GetSecrets() {
			fn.Secrets[name] = ""
		}
	}
	changed, _ := proto.Compare(was, now)
	return len(changed) == 0
}

// stepOnDisk is a step as it is stored. Of the row before it has what undo needs.
type stepOnDisk struct {
	Agent   string          `json:"agent"`
	Name    string          `json:"name"`
	Before  json.RawMessage `json:"before,omitempty"`
	Action  Action          `json:"action"`
	Version uint32          `json:"version,omitempty"`
	Canary  uint32          `json:"canary,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (s Step) MarshalJSON() ([]byte, error) {
	d := stepOnDisk{Agent: s.Agent, Name: s.Name, Action: s.Action, Version: s.Version, Canary: s.Canary}
	if b := s.Before; b != nil {
		short := &proto.FunctionJsonRsp{
			Name: b.GetName(), Status: b.GetStatus(), AtAgent: b.GetAtAgent(), Package: b.GetPackage(),
			Version: b.GetVersion(), LastVersion: b.GetLastVersion(), Paused: b.GetPaused(),
		}
		for _, v := range b.GetServing() {
			if v.GetWeight() > 0 {
				short.Serving = append(short.Serving, &proto.Serving{Version: v.GetVersion(), Weight: v.GetWeight()})
			}
		}
		var err error
		if d.Before, err = protojson.Marshal(short); err != nil {
			return nil, err
		}
	}
	return json.Marshal(d)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Step) UnmarshalJSON(data []byte) error {
	var d stepOnDisk
	if err := json.Unmarshal(data, &d); err != nil {
		return err
	}
	*s = Step{Agent: d.Agent, Name: d.Name, Action: d.Action, Version: d.Version, Canary: d.Canary}
	if len(d.Before) == 0 {
		return nil
	}
	s.Before = &proto.FunctionJsonRsp{}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(d.Before, s.Before)
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
