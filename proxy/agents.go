package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/fleet"
	"github.com/Ishan27g/ryo-faas/proxy/store"
)

// The agents of proxies that have one store are those of each: one that was named to a proxy,
// has joined, or was named by a call, has a record, which also says whether it drains. What
// removes it removes the record; then each proxy forgets it. What an agent is told in
// confidence is in no record: who has joined, the authority knows.

const (
	agentsEvery = 10 * time.Second // a hint may be lost
	agentsPause = time.Second      // between two looks
	recordLimit = 5 * time.Second  // for a change that somebody waits for
)

// tendAgents keeps the records and the fleet alike until ctx is done.
func (p *Proxy) tendAgents(ctx context.Context) {
	if p.cfg.Store == nil {
		return
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		for ctx.Err() == nil {
			_ = p.cfg.Store.Registry(store.Agents).Watch(ctx, "", p.agentsHint)
			rest(ctx, agentsPause)
		}
	})
	look := time.NewTicker(agentsEvery)
	defer look.Stop()
	failed := false
	for {
		err := p.learnAgents(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			p.logger.Warn("the agents of other proxies are not known", "error", err)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-p.agentsKick:
		}
		rest(ctx, sizeEvery) // agents come together
	}
}

// agentsHint lets the records be looked at soon.
func (p *Proxy) agentsHint() {
	select {
	case p.agentsKick <- struct{}{}:
	default:
	}
}

// learnAgents takes over the records of agents, and makes those that lack.
func (p *Proxy) learnAgents(ctx context.Context) error {
	unlock, err := p.agentsTurn.lock(ctx, "")
	if err != nil {
		return err
	}
	defer unlock()
	records := p.cfg.Store.Registry(store.Agents)
	entries, err := records.List(ctx, "")
	if err != nil {
		return err
	}
	var list []fleet.Known
	for _, e := range entries {
		k := fleet.Known{Revision: e.Revision}
		if err := json.Unmarshal(e.Value, &k); err != nil || k.ID != e.Key {
			p.logger.Error("the record of an agent cannot be read", "id", e.Key, "error", err)
			k = fleet.Known{ID: e.Key, Revision: e.Revision} // it is none that was removed
		}
		list = append(list, k)
	}
	epoch := p.cfg.Store.Epoch()
	var errs []error
	for _, k := range p.fleet.Learn(epoch, list) {
		revision, err := putAgent(ctx, records, k)
		if err == nil {
			p.fleet.Noted(epoch, k.ID, revision)
		} else if !errors.Is(err, proto.ErrConflict) { // else another proxy was faster
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func putAgent(ctx context.Context, records store.Registry, k fleet.Known) (uint64, error) {
	value, err := json.Marshal(k)
	if err != nil {
		return 0, err
	}
	if k.Revision == 0 {
		return records.Create(ctx, k.ID, value)
	}
	return records.Update(ctx, k.ID, value, k.Revision)
}

// drain says of an agent whether it drains: to each proxy of the store.
func (p *Proxy) drain(ctx context.Context, agent string, drains bool) (*proto.AgentState, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	k, err := p.fleet.Meant(agent)
	if err != nil {
		return nil, err
	}
	var revision uint64
	if p.cfg.Store != nil && k.ID != "" {
		if revision, err = p.recordDrain(ctx, k, drains); err != nil {
			return nil, proto.Errorf(proto.ErrUnavailable, "agent %s: nothing was changed, since the store does not note it: %w", k.Addr, err).
				WithHint("see the proxy's log, and try again").From("proxy", "store")
		}
	}
	return p.fleet.Drain(agent, drains, revision)
}

// recordDrain writes into the record of an agent whether it drains.
func (p *Proxy) recordDrain(ctx context.Context, k fleet.Known, drains bool) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, recordLimit)
	defer cancel()
	records := p.cfg.Store.Registry(store.Agents)
	for {
		e, err := records.Get(ctx, k.ID)
		if err != nil && !errors.Is(err, proto.ErrNotFound) {
			return 0, err
		}
		now := k
		if err == nil {
			if err := json.Unmarshal(e.Value, &now); err != nil {
				return 0, err
			}
		}
		now.Draining, now.Revision = drains, e.Revision
		revision, err := putAgent(ctx, records, now)
		if !errors.Is(err, proto.ErrConflict) {
			return revision, err
		}
	}
}

// forgetRecord removes the record of an agent, so that each proxy forgets it.
func (p *Proxy) forgetRecord(ctx context.Context, id string) error {
	if p.cfg.Store == nil || id == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, recordLimit)
	defer cancel()
	records := p.cfg.Store.Registry(store.Agents)
	for {
		e, err := records.Get(ctx, id)
		if errors.Is(err, proto.ErrNotFound) {
			return nil
		}
		if err == nil {
			err = records.Delete(ctx, id, e.Revision)
		}
		if !errors.Is(err, proto.ErrConflict) {
			return err
		}
	}
}
