package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

// Some notices for deploy hooks are of no change that somebody makes: that a function keeps
// crashing, and that it serves again. Others are left over by a proxy that was killed. One
// proxy looks for both. A receiver may get a notice twice, by the same id.

const (
	// tellAgainAfter is when somebody else tells what is still noted as untold.
	tellAgainAfter = 5 * time.Second
	// steady is how long a function that kept crashing must have served until that is told.
	// One whose processes live shorter counts as crashing still (healthy, of package remote).
	steady = time.Minute
	// newsEvery bounds how often agents' news are looked through.
	newsEvery = time.Second
)

// tellUntold tells notices that a wish has, and removes them from it.
func (p *Proxy) tellUntold(ctx context.Context, path string, untold []wish.Notice) {
	if len(untold) == 0 || p.tell(ctx, untold...) != nil {
		return // it is tried again
	}
	_, err := p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
		before := len(w.Untold)
		w.Untold = slices.DeleteFunc(w.Untold, func(n wish.Notice) bool {
			return slices.ContainsFunc(untold, func(done wish.Notice) bool { return done.ID == n.ID })
		})
		if len(w.Untold) == before {
			return wish.ErrSame
		}
		return nil
	})
	if err != nil {
		p.logger.Warn("deploy hooks are told twice of a change", "function", path, "error", err)
	}
}

// tendNotices tells deploy hooks what nobody else does, until ctx is done.
func (p *Proxy) tendNotices(ctx context.Context) {
	if p.wishes == nil || len(p.cfg.DeployHooks) == 0 {
		return
	}
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		changed := p.fleet.Changed()
		for path, w := range p.wishes.All() {
			if time.Since(w.Time) > tellAgainAfter {
				p.tellUntold(ctx, path, w.Untold)
			}
			p.tellCrashes(ctx, path, w)
		}
		rest(ctx, newsEvery)
		select {
		case <-ctx.Done():
		case <-look.C:
		case <-changed:
		}
	}
}

// tellCrashes tells of the agents of a function at which it began to crash again and again, or
// has ceased to.
func (p *Proxy) tellCrashes(ctx context.Context, path string, w *wish.Wish) {
	if w.State != wish.Running {
		return
	}
	for _, at := range w.Agents() {
		row := p.fleet.Row(at.Agent, w.Name)
		news := crashing(row, time.Now())
		if row == nil || w.Behind(&at) || news == "" || (news == "crash") == at.Crashing {
			continue
		}
		now := change{
			Action: news, Function: w.Name, Status: row.GetStatus(), Version: row.GetVersion(), Agents: []string{at.Agent}, Who: "agent " + at.Agent,
			Preview: w.Version.Settings.GetPreview(), Reason: row.GetReason(), Error: clipped(row.GetError()), Restarts: row.GetRestarts(),
		}
		// The same news has the same id, though it is told again since it could not be noted.
		sum := sha256.Sum256([]byte(path + "\x00" + at.Agent + "\x00" + news + "\x00" + row.GetSince()))
		if p.tell(ctx, noticeOf("n_"+hex.EncodeToString(sum[:10]), now)) != nil {
			continue
		}
		_, err := p.wishes.Edit(ctx, path, func(w *wish.Wish) error {
			place := w.Place(at.Agent, at.ID)
			if place == nil || place.Crashing == (news == "crash") {
				return wish.ErrSame
			}
			place.Crashing = news == "crash"
			return nil
		})
		if err != nil {
			p.logger.Warn("deploy hooks are told twice of a crash", "function", w.Name, "agent", at.Agent, "error", err)
		}
	}
}

// crashing is what a row says of a function: "crash" when its processes keep exiting, so that
// none serves, "recover" when it has served for a while, and "" in between.
func crashing(row *proto.FunctionJsonRsp, now time.Time) string {
	switch proto.Status(row.GetStatus()) {
	case proto.Failed:
		if row.GetReason() == proto.ReasonCrash && row.GetRetry() != "" { // after one exit it starts at once
			return "crash"
		}
	case proto.Deployed:
		if since, err := time.Parse(time.RFC3339, row.GetSince()); err == nil && row.GetReason() == "" && now.Sub(since) >= steady {
			return "recover"
		}
	}
	return ""
}

// notices returns what became of notices, for metrics.
func (p *Proxy) notices(ctx context.Context) []gateway.Notices {
	if p.queue == nil {
		return nil
	}
	return p.queue.Notices(ctx, p.cfg.DeployHooks)
}
