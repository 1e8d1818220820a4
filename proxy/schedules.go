package proxy

import (
	"context"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

var _ transport.Scheduler = (*Proxy)(nil)

// scheduled asks what looks after schedules, which needs a store.
func scheduled[T any](ctx context.Context, p *Proxy, ask func() (T, error)) (answer T, err error) {
	if p.schedules == nil {
		return answer, proto.Errorf(proto.ErrUnsupported, "this proxy stores nothing, so it has no schedules")
	}
	if err := p.fleet.Started(ctx); err != nil {
		return answer, err
	}
	return ask()
}

// Schedules implements transport.Scheduler.
func (p *Proxy) Schedules(ctx context.Context, fnName string) ([]*proto.FunctionSchedule, error) {
	return scheduled(ctx, p, func() ([]*proto.FunctionSchedule, error) { return p.schedules.List(ctx, fnName) })
}

// RunSchedule implements transport.Scheduler.
func (p *Proxy) RunSchedule(ctx context.Context, fnName string) (*proto.ScheduleRun, error) {
	return scheduled(ctx, p, func() (*proto.ScheduleRun, error) { return p.schedules.Start(ctx, fnName) })
}

// PauseSchedule implements transport.Scheduler.
func (p *Proxy) PauseSchedule(ctx context.Context, fnName string) (*proto.FunctionSchedule, error) {
	return scheduled(ctx, p, func() (*proto.FunctionSchedule, error) { return p.schedules.Pause(ctx, fnName) })
}

// ResumeSchedule implements transport.Scheduler.
func (p *Proxy) ResumeSchedule(ctx context.Context, fnName string) (*proto.FunctionSchedule, error) {
	return scheduled(ctx, p, func() (*proto.FunctionSchedule, error) { return p.schedules.Resume(ctx, fnName) })
}

// noteLimit bounds what a stop waits for a store that does not answer.
const noteLimit = 2 * time.Second

// restSchedule lets the schedule of a function that was stopped rest.
func (p *Proxy) restSchedule(ctx context.Context, name string) {
	if p.schedules == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteLimit)
	defer cancel()
	if err := p.schedules.Rest(ctx, name); err != nil {
		p.logger.Warn("the schedule of a function that was stopped may make up for what it misses", "function", name, "error", err)
	}
}

// forgetSchedule removes what is kept of the schedule of a function that was removed.
func (p *Proxy) forgetSchedule(ctx context.Context, name string) {
	if p.schedules == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteLimit)
	defer cancel()
	if err := p.schedules.Forget(ctx, name); err != nil {
		p.logger.Warn("the schedule of a function that was removed is kept for now", "function", name, "error", err)
	}
}
