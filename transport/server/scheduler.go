package server

import (
	"context"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The calls of transport.Scheduler.

var errNoScheduler = proto.Errorf(proto.ErrUnsupported, "proxies alone call functions by their schedules; this is not a proxy").
	WithHint(askProxy)

func (s *service) Schedules(ctx context.Context, req *proto.SchedulesRequest) (*proto.ScheduleList, error) {
	if s.scheduler == nil {
		return nil, errNoScheduler
	}
	if req.GetName() != "" {
		if err := may(ctx, req.GetName()); err != nil {
			return nil, err
		}
	}
	list, err := s.scheduler.Schedules(ctx, req.GetName())
	list = slices.DeleteFunc(list, func(f *proto.FunctionSchedule) bool { return may(ctx, f.GetName()) != nil })
	return &proto.ScheduleList{Schedules: list}, err
}

func (s *service) RunSchedule(ctx context.Context, req *proto.ScheduleRef) (*proto.ScheduleRun, error) {
	if err := s.maySchedule(ctx, req); err != nil {
		return nil, err
	}
	return s.scheduler.RunSchedule(ctx, req.GetName())
}

func (s *service) PauseSchedule(ctx context.Context, req *proto.ScheduleRef) (*proto.FunctionSchedule, error) {
	if err := s.maySchedule(ctx, req); err != nil {
		return nil, err
	}
	return s.scheduler.PauseSchedule(ctx, req.GetName())
}

func (s *service) ResumeSchedule(ctx context.Context, req *proto.ScheduleRef) (*proto.FunctionSchedule, error) {
	if err := s.maySchedule(ctx, req); err != nil {
		return nil, err
	}
	return s.scheduler.ResumeSchedule(ctx, req.GetName())
}

// maySchedule refuses what is about no function, or about one that the caller may not
// change.
func (s *service) maySchedule(ctx context.Context, req *proto.ScheduleRef) error {
	if s.scheduler == nil {
		return errNoScheduler
	}
	if req.GetName() == "" {
		return proto.CheckName("")
	}
	return may(ctx, req.GetName())
}
