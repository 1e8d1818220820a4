package gateway

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/Ishan27g/ryo-faas/proxy/gateway/forward"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// ask sends the request to a target. If the link seems to have been closed while it
// was idle, the request is sent a second time over a new one: nothing of an answer has
// come, and either nothing of the call was sent or the caller allows that it is made
// twice. There is no third time, at any replica: if this call kills the function's
// process, it would kill one after the other.
func (c *call) ask(ctx context.Context, t *target, request []byte) (*link, *http.Response, error) {
	l, reused, err := t.links.get(ctx, c.repeatable())
	if err != nil {
		return nil, nil, err
	}
	res, err := l.ask(ctx, &c.out, c.in, request)
	if err != nil && reused && !l.heard && ctx.Err() == nil && !wire.IsCutOff(err) {
		t.links.failedAt.Store(time.Now().UnixNano())
		if (c.repeatable() || !l.sent) && !c.repeated {
			c.repeated = true
			l.cancel()
			if l, err = t.links.fresh(ctx); err != nil {
				return nil, nil, err
			}
			res, err = l.ask(ctx, &c.out, c.in, request)
		}
	}
	if err == nil {
		err = c.begins(res)
	} else if !l.sent {
		err = fmt.Errorf("%w: %w", errUnsent, err)
	}
	if err != nil {
		l.cancel()
		return nil, nil, err
	}
	return l, res, nil
}

// reusable says whether the link can serve another call after a whole answer. An
// answer that announces a body where there can be none may be followed by one.
func reusable(res *http.Response) bool {
	switch res.StatusCode {
	case http.StatusNoContent, http.StatusNotModified:
		length := res.Header.Get("Content-Length") // of a 304 ContentLength says 0
		return !res.Close && (length == "" || length == "0") && len(res.TransferEncoding) == 0
	}
	return !res.Close
}

// repeatable says whether the caller allows that its call is made twice, as
// net/http understands it.
func (c *call) repeatable() bool {
	switch c.in.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return c.in.Header.Get("Idempotency-Key") != "" || c.in.Header.Get("X-Idempotency-Key") != ""
}

// passInterim passes an interim answer on.
func passInterim(w http.ResponseWriter, res *http.Response) {
	h := w.Header()
	forward.Pass(h, res.Header)
	w.WriteHeader(res.StatusCode)
	clear(h)
}
