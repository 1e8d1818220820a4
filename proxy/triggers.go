package proxy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/cron"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/events"
	"github.com/Ishan27g/ryo-faas/proxy/trigger/queue"
	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// openTriggers opens what calls functions by itself. Its calls wait in the queue.
func (p *Proxy) openTriggers() {
	p.schedules = cron.New(cron.Config{
		Store: p.cfg.Store, Calls: scheduledCalls{p.queue}, Rows: p.callable,
		Watch:  p.watchSchedules,
		Logger: p.logger.Named("cron"),
	})
	p.events = events.New(events.Config{
		Store: p.cfg.Store, Calls: eventCalls{p.queue}, Rows: p.callable, May: maySend, Hooks: p.cfg.Hooks, Logger: p.logger.Named("events"),
	})
}

// watchSchedules calls changed after rows with schedules may have changed, until ctx is done.
// Most functions have none.
func (p *Proxy) watchSchedules(ctx context.Context, changed func()) {
	has := map[string]bool{} // by name
	_ = p.fleet.Watch(ctx, func(ev *proto.WatchEvent) error {
		news := ev.GetSnapshot()
		for _, row := range ev.GetFunctions() {
			name := row.GetName()
			had := has[name]
			if delete(has, name); row.GetSchedule() != "" {
				has[name] = true
			}
			news = news || had || has[name]
		}
		if news {
			changed()
		}
		return nil
	})
}

// callable returns a row of each function that serves.
func (p *Proxy) callable() []*proto.FunctionJsonRsp { return newest(p.fleet.Called()) }

// newest returns one row of each function of which a version serves. While a change is
// under way that is one of the newer version.
func newest(rows []*proto.FunctionJsonRsp) []*proto.FunctionJsonRsp {
	of := map[string]*proto.FunctionJsonRsp{}
	for _, row := range rows {
		path := proto.Path(row.GetName())
		if was := of[path]; row.GetVersion() > 0 && (was == nil || was.GetVersion() < row.GetVersion()) {
			of[path] = row
		}
	}
	return slices.Collect(maps.Values(of))
}

// eventMounts returns the handler of events.
func (p *Proxy) eventMounts() []server.Mount {
	if p.events == nil {
		return nil
	}
	mounts := []server.Mount{{
		Path: events.Path, Methods: []string{http.MethodPost}, Scope: wire.ScopeAny, Does: "gives CloudEvents to the functions that subscribe to their types", Handler: p.events,
	}}
	if len(p.cfg.Hooks) > 0 {
		// Everybody may send what is signed, as callers of public functions may: senders have
		// no token.
		mounts = append(mounts, server.Mount{
			Path: events.HookPath, Methods: []string{http.MethodPost}, Scope: wire.ScopeInvoke, Does: "makes events of the signed webhooks of others",
			Handler: http.HandlerFunc(p.events.ServeHook),
		})
	}
	return mounts
}

// maySend says why a caller may send no events: they lead to functions that it may not
// call.
func maySend(ctx context.Context) error {
	if t := server.CallerFrom(ctx).Token; t != nil && !t.May(wire.ScopeInvoke) {
		return proto.Errorf(proto.ErrForbidden, "%s has the scope %s; events take invoke", t, t.ScopeNames()).
			WithHint("take another token, or make one: proxyCli token create -scope invoke")
	}
	return nil
}

// scheduledCalls are the queue as package cron wants it.
type scheduledCalls struct{ queue *queue.Queue }

func (c scheduledCalls) Enqueue(ctx context.Context, call cron.Call) (id string, err error) {
	return c.queue.Enqueue(ctx, queue.Order(call))
}

func (c scheduledCalls) State(ctx context.Context, id string) (state string, ended bool, err error) {
	call, err := c.queue.Call(ctx, id, 0)
	return call.GetState(), call.GetEnded() != "", err
}

func (c scheduledCalls) Cancel(ctx context.Context, id string) error {
	_, err := c.queue.CancelCall(ctx, id)
	if errors.Is(err, proto.ErrConflict) { // it has ended
		return nil
	}
	return err
}

// eventCalls are the queue as package events wants it.
type eventCalls struct{ queue *queue.Queue }

func (c eventCalls) Enqueue(ctx context.Context, call events.Call) (id string, err error) {
	return c.queue.Enqueue(ctx, queue.Order(call))
}
