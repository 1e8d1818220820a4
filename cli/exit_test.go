package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

func TestExitCodeOfErrors(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("disk full"), 1},
		{proto.ErrInternal, 1},
		{proto.ErrConflict, 1},
		{proto.ErrIncapable, 1}, // the command is right, and would work elsewhere
		{proto.ErrCanceled, 1},  // canceled by the server, not by a key
		{proto.ErrInvalid, 2},
		{faults{proto.ErrInvalid, proto.ErrInvalid}, 2},
		{fmt.Errorf("check: %w", &funcfw.Refusal{Reason: "no"}), 3},
		{proto.Errorf(proto.ErrUnavailable, "no answer"), 4},
		{proto.Errorf(proto.ErrNotFound, "no function"), 5},
		{proto.ErrUnauthenticated, 7},
		{fmt.Errorf("deploy: %w", proto.ErrForbidden), 7},
		{proto.ErrTimeout, 8},
		{reported(6), 6},
	}
	for _, tt := range tests {
		assert.Equal(t, tt.want, exitCode(t.Context(), tt.err), "%v", tt.err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Equal(t, 130, exitCode(ctx, proto.ErrCanceled))
	assert.Equal(t, 0, exitCode(ctx, nil))
}

func TestExitCodeOfRows(t *testing.T) {
	ok := &proto.FunctionJsonRsp{Status: string(proto.Deployed)}
	begun := &proto.FunctionJsonRsp{Status: string(proto.Deploying)}
	failed := func(reason string) *proto.FunctionJsonRsp {
		return &proto.FunctionJsonRsp{Status: string(proto.Failed), Reason: reason}
	}
	tests := map[string]struct {
		rows []*proto.FunctionJsonRsp
		want int
	}{
		"none":            {nil, 0},
		"all well":        {[]*proto.FunctionJsonRsp{ok, begun}, 0},
		"refused":         {[]*proto.FunctionJsonRsp{failed(proto.ReasonCheck)}, 3},
		"does not build":  {[]*proto.FunctionJsonRsp{failed(proto.ReasonBuild), failed(proto.ReasonBuild)}, 3},
		"does not start":  {[]*proto.FunctionJsonRsp{failed(proto.ReasonStart)}, 8},
		"keeps crashing":  {[]*proto.FunctionJsonRsp{failed(proto.ReasonCrash)}, 8},
		"the platform's":  {[]*proto.FunctionJsonRsp{failed(proto.ReasonAgent)}, 1},
		"a reason to be":  {[]*proto.FunctionJsonRsp{failed("moon")}, 1},
		"the first tells": {[]*proto.FunctionJsonRsp{failed(proto.ReasonStart), failed(proto.ReasonBuild)}, 8},
		"others go back":  {[]*proto.FunctionJsonRsp{failed(proto.ReasonRollout), failed(proto.ReasonBuild)}, 3},
		"no agent":        {[]*proto.FunctionJsonRsp{failed(proto.ReasonUnreachable), failed(proto.ReasonUnreachable)}, 4},
		"not each agent":  {[]*proto.FunctionJsonRsp{failed(proto.ReasonRollout), failed(proto.ReasonUnreachable)}, 6},
		"nor the source":  {[]*proto.FunctionJsonRsp{failed(proto.ReasonUnreachable), failed(proto.ReasonCheck)}, 3},
		"some":            {[]*proto.FunctionJsonRsp{ok, failed(proto.ReasonBuild)}, 6},
	}
	for name, tt := range tests {
		assert.Equal(t, tt.want, rowsCode(tt.rows), name)
	}
}
