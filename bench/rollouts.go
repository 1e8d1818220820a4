package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/Ishan27g/ryo-faas/proto"
)

// rollouts deploys an edited hello through the proxy to three agents, one after the
// other. The first one builds it; the others, of which one cannot build, get its
// program.
func (s *stack) rollouts(ctx context.Context, e effort) (_ []*table, err error) {
	second, err := s.newAgent(ctx, "agent-second")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, second.close()) }()
	third, err := s.newAgent(ctx, "agent-third", "-build", "never")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, third.close()) }()
	addrs := []string{s.agent.addr, second.addr, third.addr}
	watch := watchStages(ctx, s.client)
	defer watch.close()
	took := make([][]float64, len(addrs))
	for round := range e.rollouts + 1 {
		if s.says, err = s.hello.edit(); err != nil {
			return nil, err
		}
		fn := &proto.FunctionJson{Name: function, Dir: s.hello.dir(), ToAgent: addrs}
		if _, err := settle(ctx, s.client, fn); err != nil {
			return nil, err
		}
		marks, err := watch.deployed(ctx, len(addrs))
		if err != nil {
			return nil, err
		}
		if round == 0 {
			continue // agents that have just started
		}
		marks = slices.DeleteFunc(marks, func(m mark) bool { return m.stage != "" })
		for i := 1; i < len(marks); i++ {
			took[i] = append(took[i], millis(marks[i].at.Sub(marks[i-1].at)))
		}
	}
	_, err = settle(ctx, s.client, &proto.FunctionJson{Name: function, Dir: s.hello.dir(), ToAgent: addrs[:1]})
	t := &table{head: timesHead(fmt.Sprintf("one more agent, with a program that another has built, n = %d", e.rollouts))}
	t.times("`Deployed` on the first agent → on a second", summarize(took[1]), "< 100 ms")
	t.times("`Deployed` there → on a third, `-build never`", summarize(took[2]), "< 100 ms")
	return []*table{t}, err
}
