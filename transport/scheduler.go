package transport

import (
	"context"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Scheduler is what a proxy does for those who look after functions with schedules. An
// agent, and a proxy that stores nothing, answer ErrUnsupported. A function that has no
// schedule is an ErrNotFound.
type Scheduler interface {
	// Schedules returns the schedule of a function or, for "", of all, ordered by name.
	Schedules(ctx context.Context, fnName string) ([]*proto.FunctionSchedule, error)
	// RunSchedule calls a function as its schedule does, now, and returns when the call is
	// stored. If the run before goes on, and the function's overlap is forbid, it is an
	// ErrConflict.
	RunSchedule(ctx context.Context, fnName string) (*proto.ScheduleRun, error)
	// PauseSchedule keeps a schedule from calling its function.
	PauseSchedule(ctx context.Context, fnName string) (*proto.FunctionSchedule, error)
	// ResumeSchedule undoes PauseSchedule. What was paused is not made up for.
	ResumeSchedule(ctx context.Context, fnName string) (*proto.FunctionSchedule, error)
}

var _ Scheduler = (*Client)(nil)

// Schedules is as in Scheduler.
func (c *Client) Schedules(ctx context.Context, fnName string) ([]*proto.FunctionSchedule, error) {
	var rsp *proto.ScheduleList
	err := c.request(ctx, "list schedules", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Schedules(ctx, &proto.SchedulesRequest{Name: fnName})
		return err
	})
	return rsp.GetSchedules(), err
}

// RunSchedule is as in Scheduler.
func (c *Client) RunSchedule(ctx context.Context, fnName string) (rsp *proto.ScheduleRun, err error) {
	err = c.request(ctx, "run the schedule of "+fnName, wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.RunSchedule(ctx, &proto.ScheduleRef{Name: fnName})
		return err
	})
	return rsp, err
}

// PauseSchedule is as in Scheduler.
func (c *Client) PauseSchedule(ctx context.Context, fnName string) (rsp *proto.FunctionSchedule, err error) {
	err = c.request(ctx, "pause the schedule of "+fnName, wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.PauseSchedule(ctx, &proto.ScheduleRef{Name: fnName})
		return err
	})
	return rsp, err
}

// ResumeSchedule is as in Scheduler.
func (c *Client) ResumeSchedule(ctx context.Context, fnName string) (rsp *proto.FunctionSchedule, err error) {
	err = c.request(ctx, "resume the schedule of "+fnName, wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.ResumeSchedule(ctx, &proto.ScheduleRef{Name: fnName})
		return err
	})
	return rsp, err
}
