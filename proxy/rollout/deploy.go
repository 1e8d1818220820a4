package rollout

import (
	"cmp"
	"context"
	"slices"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
)

// deploy brings a function to an agent and returns its last row.
func (r *Rollouts) deploy(ctx context.Context, o *Rollout, agent *fleet.Session, s Step) (*proto.FunctionJsonRsp, error) {
	fn := protobuf.CloneOf(o.Function)
	fn.ToAgent, fn.Wait, fn.Version = nil, false, s.Version
	if o.Names {
		fn.Secrets = nil
	}
	program, err := r.program(ctx, o, agent)
	if err != nil {
		if fleet.OfSource(err) {
			return Failed(s.Name, s.Agent, err), nil
		}
		return nil, err
	}
	if program != nil {
		fn.Program, fn.Kind = program.GetKey(), program.GetKind()
	}
	row, err := r.give(ctx, o, agent, fn)
	if program != nil && row.GetReason() == proto.ReasonProgram && r.fleet.Info(s.Agent).Builds() { // the agent has dropped it meanwhile
		fn.Program, fn.Kind = "", o.Function.GetKind()
		row, err = r.give(ctx, o, agent, fn)
	}
	if err == nil && proto.Status(row.GetStatus()) == proto.Deployed {
		r.holds(ctx, o, agent, row)
	}
	return row, err
}

// holds notes that an agent has the program now that the others are to get. Its row names
// that of the version that serves, which a canary is not.
func (r *Rollouts) holds(ctx context.Context, o *Rollout, agent *fleet.Session, row *proto.FunctionJsonRsp) {
	built, kind := row.GetProgram(), row.GetKind()
	if o.Function.GetCanary() > 0 {
		list, err := agent.Versions(ctx, row.GetName())
		i := slices.IndexFunc(list, func(v *proto.Version) bool {
			return v.GetPackage() == o.Function.GetPackage() && sameBuild(v, o.Function)
		})
		if err != nil || i < 0 { // then each agent builds it
			r.logger.Warn("an agent does not tell the program of a canary", "function", row.GetName(), "agent", agent.Addr, "error", err)
			return
		}
		built, kind = list[i].GetProgram(), list[i].GetKind()
	}
	if built.GetKey() != "" {
		o.programs[built.GetPlatform()] = origin{agent.Addr, &proto.Program{Key: built.GetKey(), Digest: built.GetDigest(), Platform: built.GetPlatform(), Kind: kind}}
	}
}

// give gives a function to an agent and waits until it is deployed or has failed.
func (r *Rollouts) give(ctx context.Context, o *Rollout, agent *fleet.Session, fn *proto.FunctionJson) (*proto.FunctionJsonRsp, error) {
	row, err := agent.Deploy(ctx, fn)
	if err != nil {
		return nil, err
	}
	o.answer(outcome{rows: r.underWay(o, row)})
	return agent.Settled(ctx, row, settleLimit), nil
}

// underWay returns the rows for callers that do not wait: that of the first agent, if it
// has one yet, and queued ones for the others.
func (r *Rollouts) underWay(o *Rollout, first *proto.FunctionJsonRsp) []*proto.FunctionJsonRsp {
	rows := make([]*proto.FunctionJsonRsp, len(o.Agents))
	for i, addr := range o.Agents {
		if first != nil && addr == first.GetAtAgent() {
			rows[i] = first
			continue
		}
		rows[i] = r.pending(o, addr, proto.StageQueued)
	}
	return rows
}

// pending returns the row of a function that an agent does not have yet.
func (r *Rollouts) pending(o *Rollout, addr, stage string) *proto.FunctionJsonRsp {
	name := o.Function.GetName()
	row := cmp.Or(r.fleet.Row(addr, name), &proto.FunctionJsonRsp{Name: name, AtAgent: addr})
	row.Status, row.Stage, row.Error, row.Reason = string(proto.Deploying), stage, "", ""
	return row
}
