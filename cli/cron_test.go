package cli

import (
	"context"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The stage is a proxy with two schedules.

func (s *stage) Schedules(_ context.Context, name string) ([]*proto.FunctionSchedule, error) {
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	report := &proto.FunctionSchedule{
		Name: "Report", Schedule: "30 2 * * *", Timezone: "Europe/Berlin", Next: at(6*time.Hour + time.Minute),
		Runs: []*proto.ScheduleRun{
			{Time: at(-18 * time.Hour), State: "done", Call: "c_2"},
			{Time: "2026-03-01T02:30:00Z", State: "refused", Error: "it is full"},
			{Time: "2026-02-28T12:00:01Z", State: "done", Call: "c_1", Asked: true},
		},
	}
	sweep := &proto.FunctionSchedule{Name: "Sweep", Schedule: "@every 10m", Timezone: "UTC", Paused: true, Error: "no agent that answers has the function"}
	switch name {
	case "":
		return []*proto.FunctionSchedule{report, sweep}, nil
	case "Report":
		return []*proto.FunctionSchedule{report}, nil
	case "Sweep":
		return []*proto.FunctionSchedule{sweep}, nil
	}
	return nil, proto.Errorf(proto.ErrNotFound, "function %q has no schedule", name)
}

func (s *stage) RunSchedule(ctx context.Context, name string) (*proto.ScheduleRun, error) {
	if _, err := s.Schedules(ctx, name); err != nil {
		return nil, err
	}
	return &proto.ScheduleRun{Time: "2026-03-01T10:00:00Z", State: "begun", Call: "c_3", Asked: true}, nil
}

func (s *stage) PauseSchedule(ctx context.Context, name string) (*proto.FunctionSchedule, error) {
	list, err := s.Schedules(ctx, name)
	if err != nil {
		return nil, err
	}
	list[0].Paused, list[0].Next = true, ""
	return list[0], nil
}

func (s *stage) ResumeSchedule(ctx context.Context, name string) (*proto.FunctionSchedule, error) {
	list, err := s.Schedules(ctx, name)
	if err != nil {
		return nil, err
	}
	list[0].Paused, list[0].Error, list[0].Next = false, "", time.Now().Add(30*time.Second).UTC().Format(time.RFC3339)
	return list[0], nil
}
