package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/wish"
)

// A preview is removed for its age. When that is follows from its wish, or, of one that was
// never Deployed, from its row; so it holds over restarts, and for the proxy that leads next.

// errNotDue says that a preview is kept: it was deployed again, or is being changed.
var errNotDue = errors.New("the preview is not to be removed yet")

// expires returns when the function of a row is removed for its age; zero: never.
func (p *Proxy) expires(row *proto.FunctionJsonRsp) time.Time {
	if row.GetPreview() == "" || p.wishes == nil {
		return time.Time{}
	}
	if w := p.wishes.Get(proto.Path(row.GetName())); w != nil && w.State != wish.Removed {
		return w.Expires()
	}
	since, err := time.Parse(time.RFC3339, row.GetSince())
	if status := proto.Status(row.GetStatus()); err != nil || status == proto.Deploying || status == proto.Stopped { // the last is one that was removed
		return time.Time{}
	}
	age, err := (&proto.FunctionJson{PreviewTtl: row.GetPreviewTtl()}).PreviewAge()
	if err != nil {
		age = proto.DefaultPreviewTTL
	}
	return since.Add(age)
}

// previewOf returns the branch whose preview the function of a row is; "": of none.
func (p *Proxy) previewOf(row *proto.FunctionJsonRsp) string {
	if w := p.wishes.Get(proto.Path(row.GetName())); w != nil && w.State != wish.Removed {
		return w.Version.Settings.GetPreview()
	}
	return row.GetPreview()
}

// previewsHint has previews looked at, if one of some paths is one.
func (p *Proxy) previewsHint(paths ...string) {
	for _, w := range p.wishes.Some(paths...) {
		if !w.Expires().IsZero() {
			select {
			case p.previews <- struct{}{}:
			default:
			}
			return
		}
	}
}

// tendPreviews removes previews for their age until ctx is done.
func (p *Proxy) tendPreviews(ctx context.Context) {
	if p.wishes == nil {
		return
	}
	for ctx.Err() == nil {
		next := time.NewTimer(p.removeAged(ctx))
		select {
		case <-ctx.Done():
		case <-next.C:
		case <-p.previews:
		}
		next.Stop()
	}
}

// removeAged removes the previews whose time has come, and returns how long there is
// nothing to do, as far as is known.
func (p *Proxy) removeAged(ctx context.Context) (next time.Duration) {
	previews := map[string]time.Time{} // name → when it expires
	for _, w := range p.wishes.All() {
		if at := w.Expires(); !at.IsZero() {
			previews[w.Name] = at
		}
	}
	for _, replicas := range p.fleet.Owned() {
		for _, r := range replicas {
			if at := p.expires(r.Row); !at.IsZero() {
				previews[r.Row.GetName()] = at
			}
		}
	}
	next = lookEvery
	for name, at := range previews {
		if left := time.Until(at); left > 0 {
			next = min(next, left)
			continue
		}
		_, err := p.remove(ctx, name, "the proxy, for its age", p.aged)
		switch {
		case err == nil:
			p.logger.Info("a preview was removed for its age", "function", name, "expired", at)
		case errors.Is(err, errNotDue), ctx.Err() != nil:
		case errors.Is(err, proto.ErrNotFound):
			p.logger.Debug("no agent has a preview that is to be removed for its age", "function", name)
		default:
			p.logger.Warn("a preview is not removed for its age, and soon tried again", "function", name, "error", err)
		}
	}
	return next
}

// aged returns errNotDue for what is not to be removed now: it was deployed meanwhile, or
// somebody is changing it.
func (p *Proxy) aged(ctx context.Context, path string) error {
	if p.rollouts.Of(path) != nil || p.wishes.Ours(path) != "" {
		return errNotDue
	}
	w, err := p.wishes.Fresher(ctx, path)
	if err != nil {
		return err
	}
	if w != nil && w.State != wish.Removed {
		if at := w.Expires(); at.IsZero() || time.Until(at) > 0 {
			return errNotDue
		}
		return nil
	}
	for _, r := range p.fleet.Find(path) {
		if at := p.expires(r.Row); at.IsZero() || time.Until(at) > 0 {
			return errNotDue
		}
	}
	return nil
}
