package proxy

import (
	"context"
	"net/http"

	"github.com/Ishan27g/ryo-faas/proxy/gateway"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/queue"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// callHandler returns what serves calls of functions. Those whose callers do not want to
// wait are made later.
func (p *Proxy) callHandler() http.Handler {
	if p.queue == nil {
		return p.gateway
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if queue.Prefers(r.Header) {
			p.queue.ServeHTTP(w, r)
			return
		}
		p.gateway.ServeHTTP(w, r)
	})
}

// laterMounts returns the handlers of calls that are made later.
func (p *Proxy) laterMounts() []server.Mount {
	if p.queue == nil {
		return nil
	}
	return []server.Mount{
		{Path: queue.AsyncPath, Scope: wire.ScopeInvoke, Does: "calls a function later", Handler: p.queue},
		{Path: queue.CallsPath, Scope: wire.ScopeInvoke, Does: "what became of a call that is made later", Rest: "ID", Handler: p.queue.State()},
		{Path: queue.ResultsPath, Scope: wire.ScopeInvoke, Does: "the answer to a call that was made later", Rest: "ID", Handler: p.queue.Results()},
	}
}

// dispatcher returns what answers for calls that are made later, nil for nobody.
func (p *Proxy) dispatcher() transport.Dispatcher {
	if p.queue == nil {
		return nil
	}
	return p.queue
}

// later returns what is known of calls that are made later, for metrics.
func (p *Proxy) later(ctx context.Context) []gateway.Later {
	if p.queue == nil {
		return nil
	}
	return p.queue.Counts(ctx)
}
