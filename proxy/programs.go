package proxy

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// origin is an agent that holds a program.
type origin struct {
	addr    string
	program *proto.Program
}

// program brings a program to an agent that would otherwise have to build it, or
// cannot, and returns it; nil when the agent is to build.
func (p *Proxy) program(ctx context.Context, r *rollout, a *agent, client *transport.Client) (*proto.Program, error) {
	info := p.fleet.info(a.addr)
	from, found := p.origin(ctx, r, a.addr, info)
	if !found {
		if info.builds() {
			return nil, nil
		}
		var err error
		if from, err = p.buildElsewhere(ctx, r, a.addr, info.GetPlatform()); err != nil {
			return nil, err
		}
	}
	if from.addr == a.addr {
		return from.program, nil
	}
	err := p.move(ctx, from, a, client)
	if err != nil && info.builds() && ctx.Err() == nil {
		p.logger.Warn("a program cannot be moved; it is built anew", "function", r.order.fn.GetName(), "from", from.addr, "to", a.addr, "error", err)
		return nil, nil
	}
	return from.program, err
}

// origin finds an agent that has the program which a build for another would give:
// one of this rollout, or one that has the same package deployed.
func (p *Proxy) origin(ctx context.Context, r *rollout, to string, info abilities) (origin, bool) {
	if info.GetPlatform() == "" {
		return origin{}, false
	}
	if from, ok := r.programs[info.GetPlatform()]; ok {
		return from, true
	}
	for _, l := range p.fleet.find(r.order.path) {
		// An agent that builds knows best whether what it has is up to date.
		if l.row.GetPackage() != r.order.fn.GetPackage() || l.agent.addr == to && info.builds() {
			continue
		}
		list, err := p.versionsAt(ctx, l)
		if err != nil {
			p.logger.Warn("its versions are not known", "function", l.row.GetName(), "agent", l.agent.addr, "error", err)
			continue
		}
		for _, v := range list {
			built := v.GetProgram()
			if built.GetKey() == "" || built.GetPlatform() != info.GetPlatform() || !sameBuild(v, r.order.fn) {
				continue
			}
			return origin{l.agent.addr, &proto.Program{Key: built.GetKey(), Digest: built.GetDigest(), Platform: built.GetPlatform(), Kind: v.GetKind()}}, true
		}
	}
	return origin{}, false
}

// sameBuild says whether building a function gives the program of a version.
func sameBuild(v *proto.Version, fn *proto.FunctionJson) bool {
	was := v.GetSettings()
	return v.GetPackage() == fn.GetPackage() && (fn.GetKind() == "" || fn.GetKind() == v.GetKind()) &&
		was.GetPackagePath() == fn.GetPackagePath() && was.GetFilePath() == fn.GetFilePath() &&
		was.GetLdflags() == fn.GetLdflags() && slices.Equal(was.GetTags(), fn.GetTags())
}

// buildElsewhere has a connected agent build a function for one that cannot.
func (p *Proxy) buildElsewhere(ctx context.Context, r *rollout, to, platform string) (origin, error) {
	addr, ok := p.fleet.builder(platform)
	if !ok {
		return origin{}, proto.Errorf(proto.ErrUnavailable, "agent %s does not build, and no connected agent builds for %s", to, platform).
			WithHint("start an agent on "+platform+" that has Go and is not told -build never, and name it to the proxy: -agents").
			From("gateway", proto.ReasonAgent)
	}
	if err := p.upload(ctx, addr, r.order.pkg); err != nil {
		return origin{}, err
	}
	a, client, err := p.fleet.connect(ctx, addr)
	if err != nil {
		return origin{}, err
	}
	p.logger.Info("building for another agent", "function", r.order.fn.GetName(), "at", addr, "for", to, "platform", platform)
	p.announce(r, to)
	r.answer(outcome{rows: p.underWay(r, nil)}) // a build may take minutes
	var program *proto.Program
	if err := ask(ctx, a, rolloutLimit, func(ctx context.Context) error {
		program, err = client.Build(ctx, r.order.fn)
		return err
	}); err != nil {
		return origin{}, err
	}
	r.programs[platform] = origin{addr, program}
	return r.programs[platform], nil
}

// announce tells of a function whose agent does not know of it until it has its
// program. What that agent says of the function later takes the place of this.
func (p *Proxy) announce(r *rollout, addr string) {
	r.awaiting = append(r.awaiting, addr)
	row := p.awaited(r, addr, proto.StageBuilding)
	row.Since = time.Now().UTC().Format(time.RFC3339)
	p.fleet.rows.Set(row)
}

// conclude tells how a rollout ended at agents which have not been asked to do
// their part, so that they cannot tell. Its rows, or its error, are set.
func (p *Proxy) conclude(ctx context.Context, r *rollout) {
	name, cause := r.order.fn.GetName(), context.Cause(ctx)
	for i, addr := range r.agents {
		if !slices.Contains(r.awaiting, addr) {
			continue
		}
		var end *proto.FunctionJsonRsp
		if r.end.err != nil {
			end = failed(name, addr, r.end.err)
		} else {
			end = r.end.rows[i]
		}
		if end.GetGeneration() > 0 { // the agent's own
			continue
		}
		row := p.fleet.row(addr, name)
		switch {
		case errors.Is(cause, errReplaced), errors.Is(cause, errStopped):
			row = cmp.Or(row, stopped(end))
		case row != nil:
			row.Error, row.Reason = proto.Unchanged+end.GetError(), end.GetReason()
		default:
			row = protobuf.CloneOf(end)
		}
		p.fleet.rows.Set(row)
	}
}

// move copies a program from one agent to another, which may have it already. It
// passes through; nothing of it stays here.
func (p *Proxy) move(ctx context.Context, from origin, to *agent, client *transport.Client) error {
	key := from.program.GetKey()
	stored := false
	if err := ask(ctx, to, askLimit, func(ctx context.Context) (err error) {
		stored, err = client.HasProgram(ctx, key)
		return err
	}); err != nil || stored {
		return err
	}
	a, holder, err := p.fleet.connect(ctx, from.addr)
	if err != nil {
		return err
	}
	return ask(ctx, a, uploadLimit, func(ctx context.Context) error { return holder.MoveProgram(ctx, key, client) })
}
