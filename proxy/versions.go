package proxy

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/rollout"
)

// Versions implements transport.Interface. Of an agent that does not answer it says why.
func (p *Proxy) Versions(ctx context.Context, fnName string) ([]*proto.Version, error) {
	replicas, err := p.everywhere(ctx, fnName)
	if err != nil {
		return nil, err
	}
	list, err := gather(ctx, p, replicas, (*fleet.Session).Versions, func(r fleet.Replica, err error) *proto.Version {
		return &proto.Version{AtAgent: r.Agent, Error: err.Error()}
	})
	slices.SortStableFunc(list, func(a, b *proto.Version) int {
		return cmp.Or(cmp.Compare(b.GetVersion(), a.GetVersion()), cmp.Compare(a.GetAtAgent(), b.GetAtAgent()))
	})
	return list, err
}

// Source implements transport.Interface. A package is in the store, or with an agent that
// was sent it.
func (p *Proxy) Source(ctx context.Context, fnName string, version uint32) (io.ReadCloser, error) {
	list, err := p.Versions(ctx, fnName)
	if err != nil {
		return nil, err
	}
	v, err := proto.FindVersion(fnName, list, version)
	if err != nil {
		return nil, err
	}
	if r, err := p.openPackage(ctx, v.GetPackage()); !errors.Is(err, proto.ErrNotFound) {
		return r, err
	}
	for _, at := range list {
		if at.GetVersion() != v.GetVersion() || at.GetPackage() != v.GetPackage() {
			continue
		}
		agent, err := p.fleet.Connect(ctx, at.GetAtAgent())
		if err != nil {
			continue // another one may have it
		}
		r, err := agent.Source(ctx, fnName, v.GetVersion())
		if err == nil || ctx.Err() != nil {
			return r, err
		}
	}
	return nil, v.SourceGone(fnName)
}

// openPackage opens a package that is stored, an ErrNotFound if it is not any more.
func (p *Proxy) openPackage(ctx context.Context, digest string) (io.ReadCloser, error) {
	r, err := p.store.Open(digest)
	if errors.Is(err, proto.ErrNotFound) && p.wishes != nil {
		return p.wishes.OpenPackage(ctx, digest)
	}
	return r, err
}

// Rollback implements transport.Interface. All replicas go to the same version as the
// first.
func (p *Proxy) Rollback(ctx context.Context, fnName string, to uint32) ([]*proto.FunctionJsonRsp, error) {
	return p.change(ctx, fnName, rollout.Step{Action: rollout.Rollback, Version: to})
}

// Shift implements transport.Interface.
func (p *Proxy) Shift(ctx context.Context, fnName string, canary uint32) ([]*proto.FunctionJsonRsp, error) {
	return p.change(ctx, fnName, rollout.Step{Action: rollout.Shift, Canary: canary})
}

// Pause implements transport.Interface.
func (p *Proxy) Pause(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	return p.change(ctx, fnName, rollout.Step{Action: rollout.Pause})
}

// Resume implements transport.Interface.
func (p *Proxy) Resume(ctx context.Context, fnName string) ([]*proto.FunctionJsonRsp, error) {
	return p.change(ctx, fnName, rollout.Step{Action: rollout.Resume})
}

// change takes a step on each replica of a function.
func (p *Proxy) change(ctx context.Context, fnName string, step rollout.Step) ([]*proto.FunctionJsonRsp, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	unlock, err := p.turn(ctx, proto.Path(fnName))
	if err != nil {
		return nil, err
	}
	defer unlock()
	find := p.known
	if step.Action == rollout.Rollback {
		find = p.everywhere
	}
	replicas, err := find(ctx, fnName)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(replicas, func(a, b fleet.Replica) int { return cmp.Compare(absent(a), absent(b)) })
	if err := p.resolveRollback(ctx, replicas[0], &step); err != nil {
		return nil, err
	}
	release, err := p.claimKept(ctx, replicas[0], step)
	if err != nil {
		return nil, err
	}
	defer release()
	ledger, steps, spared, err := p.recordChange(ctx, replicas, step)
	if err != nil {
		return nil, err
	}
	rows, err := p.rollouts.Change(ctx, ledger, steps...)
	if err != nil {
		return nil, err
	}
	return p.present(ctx, append(rows, spared...)), nil
}
