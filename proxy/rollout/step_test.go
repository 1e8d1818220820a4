package rollout

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/Ishan27g/ryo-faas/proto"
)

// What an agent has refused changes nothing: its function is called on.
func TestOnlyErrorsThatLeaveItOpenMakeAnAgentUnsure(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false,
		proto.Errorf(proto.ErrInvalid, "there is no secret X"):                          false,
		proto.Errorf(proto.ErrConflict, "it is being removed"):                          false,
		proto.Errorf(proto.ErrExhausted, "all ports are in use"):                        false,
		proto.Errorf(proto.ErrUnavailable, "agent a: connect").From("agent", "dial"):    false,
		proto.Errorf(proto.ErrUnavailable, "agent a: EOF").From("agent", "unavailable"): true,
		proto.Errorf(proto.ErrTimeout, "agent a: no answer").From("agent", "timeout"):   true,
		errors.New("the connection broke"):                                              true,
	} {
		assert.Equal(t, want, unsure(err), "%v", err)
	}
}

func TestStepsEndAtTheVersionOfTheOnesBefore(t *testing.T) {
	old := &proto.FunctionJsonRsp{Version: 2, LastVersion: 4}
	for name, tt := range map[string]struct {
		step Step
		at   uint32
		want uint32
	}{
		"the agent before had nothing to change":   {Step{Action: Deploy, Version: 6, Before: old}, 5, 5},
		"its number is taken here":                 {Step{Action: Deploy, Version: 6, Before: old}, 4, 6},
		"the agent before made the new version":    {Step{Action: Deploy, Version: 6}, 6, 6},
		"a canary is a version of its own":         {Step{Action: Deploy, Version: 6, Canary: 5}, 2, 6},
		"a single agent counts":                    {Step{Action: Deploy}, 3, 0},
		"a rollback goes where the first one went": {Step{Action: Rollback}, 3, 3},
		"a rollback to a version that was named":   {Step{Action: Rollback, Version: 1}, 3, 1},
		"a shift has no version":                   {Step{Action: Shift, Canary: 5}, 3, 0},
	} {
		tt.step.align(tt.at)
		assert.Equal(t, tt.want, tt.step.Version, name)
	}
}

func TestCanaryIsWhatServesBesideTheVersion(t *testing.T) {
	row := &proto.FunctionJsonRsp{Version: 2, Serving: []*proto.Serving{{Version: 1}, {Version: 2, Weight: 90}, {Version: 3, Weight: 10}}}
	assert.Equal(t, uint32(10), canaryOf(row))
	assert.Zero(t, canaryOf(nil))
}
