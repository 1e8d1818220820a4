package rollout

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
)

// origin is an agent that holds a program.
type origin struct {
	addr    string
	program *proto.Program
}

// program brings the program to an agent that need not or cannot build, and returns it;
// nil when the agent is to build.
func (r *Rollouts) program(ctx context.Context, o *Rollout, to *fleet.Session) (*proto.Program, error) {
	info := r.fleet.Info(to.Addr)
	from, found := r.origin(ctx, o, to.Addr, info)
	if !found {
		if info.Builds() {
			return nil, nil
		}
		var err error
		if from, err = r.buildElsewhere(ctx, o, to.Addr, info.GetPlatform()); err != nil {
			return nil, err
		}
	}
	if from.addr == to.Addr {
		return from.program, nil
	}
	holder, err := r.fleet.Connect(ctx, from.addr)
	if err == nil {
		err = holder.SendProgram(ctx, from.program.GetKey(), to)
	}
	if err != nil && info.Builds() && ctx.Err() == nil {
		r.logger.Warn("a program cannot be sent; the agent builds it", "function", o.Function.GetName(), "from", from.addr, "to", to.Addr, "error", err)
		return nil, nil
	}
	return from.program, err
}

// origin finds an agent that already has the program that the agent to would build: one
// of this rollout, or one that has the same package deployed.
func (r *Rollouts) origin(ctx context.Context, o *Rollout, to string, info fleet.Abilities) (origin, bool) {
	if info.GetPlatform() == "" {
		return origin{}, false
	}
	if from, ok := o.programs[info.GetPlatform()]; ok {
		return from, true
	}
	for _, replica := range r.fleet.Find(o.Path()) {
		// An agent that builds decides itself whether its program is up to date.
		if replica.Row.GetPackage() != o.Function.GetPackage() || replica.Agent == to && info.Builds() {
			continue
		}
		list, err := r.versions(ctx, replica)
		if err != nil {
			r.logger.Warn("an agent does not tell its versions", "function", replica.Row.GetName(), "agent", replica.Agent, "error", err)
			continue
		}
		for _, v := range list {
			built := v.GetProgram()
			if built.GetKey() == "" || built.GetPlatform() != info.GetPlatform() || !sameBuild(v, o.Function) {
				continue
			}
			return origin{replica.Agent, &proto.Program{Key: built.GetKey(), Digest: built.GetDigest(), Platform: built.GetPlatform(), Kind: v.GetKind()}}, true
		}
	}
	return origin{}, false
}

func (r *Rollouts) versions(ctx context.Context, replica fleet.Replica) ([]*proto.Version, error) {
	agent, err := r.fleet.Connect(ctx, replica.Agent)
	if err != nil {
		return nil, err
	}
	return agent.Versions(ctx, replica.Row.GetName())
}

// sameBuild says whether a build of a function would give the program of a version.
func sameBuild(v *proto.Version, fn *proto.FunctionJson) bool {
	was, now := v.GetSettings().Lasting(), fn.Lasting()
	was.Package, was.Kind, now.Kind = v.GetPackage(), v.GetKind(), cmp.Or(fn.GetKind(), v.GetKind())
	_, effect := proto.Compare(was, now)
	return effect < proto.OnBuild
}

// buildElsewhere builds a function on a connected agent for one that cannot build.
func (r *Rollouts) buildElsewhere(ctx context.Context, o *Rollout, to, platform string) (origin, error) {
	addr, ok := r.fleet.Builder(platform)
	if !ok {
		return origin{}, proto.Errorf(proto.ErrUnavailable, "agent %s does not build, and no connected agent builds for %s", to, platform).
			WithHint("start an agent on "+platform+" that has Go and is not told -build never, and name it to the proxy: -agents").
			From("gateway", proto.ReasonAgent)
	}
	agent, err := r.fleet.Connect(ctx, addr)
	if err != nil {
		return origin{}, err
	}
	if err := agent.Upload(ctx, o.Package); err != nil {
		return origin{}, err
	}
	r.logger.Info("building for another agent", "function", o.Function.GetName(), "at", addr, "for", to, "platform", platform)
	r.announce(o, to)
	o.answer(outcome{rows: r.underWay(o, nil)}) // a build may take minutes
	program, err := agent.Build(ctx, o.Function)
	if err != nil {
		return origin{}, err
	}
	o.programs[platform] = origin{addr, program}
	return o.programs[platform], nil
}

// announce shows watchers a function whose agent does not know it before it has the
// program. A later row of the agent replaces this one.
func (r *Rollouts) announce(o *Rollout, addr string) {
	o.awaiting = append(o.awaiting, addr)
	row := r.pending(o, addr, proto.StageBuilding)
	row.Since = time.Now().UTC().Format(time.RFC3339)
	r.fleet.Tell(row)
}

// settle replaces the rows that announce showed if their agents never got the function.
// The final outcome is set.
func (r *Rollouts) settle(ctx context.Context, o *Rollout) {
	name, cause := o.Function.GetName(), context.Cause(ctx)
	for i, addr := range o.Agents {
		if !slices.Contains(o.awaiting, addr) {
			continue
		}
		var last *proto.FunctionJsonRsp
		if o.final.err != nil {
			last = Failed(name, addr, o.final.err)
		} else {
			last = o.final.rows[i]
		}
		if last.GetGeneration() > 0 { // it is the agent's own
			continue
		}
		row := r.fleet.Row(addr, name)
		switch {
		case errors.Is(cause, fleet.ErrReplaced), errors.Is(cause, ErrStopped):
			row = cmp.Or(row, fleet.Stopped(last))
		case row != nil:
			row.Error, row.Reason = proto.Unchanged+last.GetError(), last.GetReason()
		default:
			row = protobuf.CloneOf(last)
		}
		r.fleet.Tell(row)
	}
}
