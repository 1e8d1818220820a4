package rollout

import (
	"cmp"
	"context"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
)

// deploy brings a function to an agent and returns the row with which it ends.
func (r *Rollouts) deploy(ctx context.Context, o *Rollout, agent *fleet.Session, s Step) (*proto.FunctionJsonRsp, error) {
	fn := protobuf.CloneOf(o.Function)
	fn.ToAgent, fn.Wait, fn.Version = nil, false, s.Version
	program, err := r.program(ctx, o, agent)
	if err != nil {
		if fleet.Refused(err) {
			return Failed(s.Name, s.Agent, err), nil
		}
		return nil, err
	}
	if program != nil {
		fn.Program, fn.Kind = program.GetKey(), program.GetKind()
	}
	row, err := r.give(ctx, o, agent, fn)
	if program != nil && row.GetReason() == proto.ReasonProgram && r.fleet.Info(s.Agent).Builds() { // it was dropped in between
		fn.Program, fn.Kind = "", o.Function.GetKind()
		row, err = r.give(ctx, o, agent, fn)
	}
	if built := row.GetProgram(); err == nil && built != nil && proto.Status(row.GetStatus()) == proto.Deployed {
		o.programs[built.GetPlatform()] = origin{s.Agent, &proto.Program{Key: built.GetKey(), Digest: built.GetDigest(), Platform: built.GetPlatform(), Kind: row.GetKind()}}
	}
	return row, err
}

// give lets an agent deploy a function, and waits until that has come to its end.
func (r *Rollouts) give(ctx context.Context, o *Rollout, agent *fleet.Session, fn *proto.FunctionJson) (*proto.FunctionJsonRsp, error) {
	row, err := agent.Deploy(ctx, fn)
	if err != nil {
		return nil, err
	}
	o.answer(outcome{rows: r.underWay(o, row)})
	return agent.Settled(ctx, row, settleLimit), nil
}

// underWay is what those see who do not wait: the row of the first agent, nil if
// it has none yet, and that the others wait for it.
func (r *Rollouts) underWay(o *Rollout, first *proto.FunctionJsonRsp) []*proto.FunctionJsonRsp {
	rows := make([]*proto.FunctionJsonRsp, len(o.Agents))
	for i, addr := range o.Agents {
		if first != nil && addr == first.GetAtAgent() {
			rows[i] = first
			continue
		}
		rows[i] = r.awaited(o, addr, proto.StageQueued)
	}
	return rows
}

// awaited is the row of a function that an agent has not been given yet.
func (r *Rollouts) awaited(o *Rollout, addr, stage string) *proto.FunctionJsonRsp {
	name := o.Function.GetName()
	row := cmp.Or(r.fleet.Row(addr, name), &proto.FunctionJsonRsp{Name: name, AtAgent: addr})
	row.Status, row.Stage, row.Error, row.Reason = string(proto.Deploying), stage, "", ""
	return row
}
