package cli

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The stage is a proxy with two agents.

func (s *stage) Agents(context.Context) ([]*proto.AgentState, error) {
	return []*proto.AgentState{
		{Addr: "worker-1:9000", Id: "a1", Joined: true, Since: time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), Connected: true, Functions: 2, Platform: "linux/amd64", GoVersion: "go1.26", Memory: 8 << 30, Cpus: 4, Labels: map[string]string{"zone": "a", "gpu": "yes"}},
		{Addr: "worker-2:9000", Error: "agent worker-2:9000 does not answer", Draining: true, Functions: 1, Stays: []string{"Named: it was deployed to agents by name"}},
	}, nil
}

func (s *stage) RemoveAgent(_ context.Context, agent string) (*proto.AgentState, error) {
	if agent != "a1" && agent != "worker-2:9000" {
		return nil, proto.Errorf(proto.ErrNotFound, "agent %s is not known", agent)
	}
	return &proto.AgentState{Addr: agent, Functions: 2}, nil
}

func (s *stage) DrainAgent(_ context.Context, agent string) (*proto.AgentState, error) {
	functions := uint32(1)
	if agent == "empty:9000" {
		functions = 0
	}
	return &proto.AgentState{Addr: agent, Draining: true, Functions: functions}, nil
}

func (s *stage) ResumeAgent(_ context.Context, agent string) (*proto.AgentState, error) {
	return &proto.AgentState{Addr: agent}, nil
}

func (s *stage) Scale(_ context.Context, fnName, replicas string) ([]*proto.FunctionJsonRsp, error) {
	if fnName == "Away" { // its agent has not heard of the number
		return []*proto.FunctionJsonRsp{{Name: fnName, Status: string(proto.Deployed), AtAgent: "worker-2:9000", Replicas: "1"}}, nil
	}
	return []*proto.FunctionJsonRsp{{Name: fnName, Status: string(proto.Deployed), AtAgent: "worker-1:9000", Replicas: replicas}}, nil
}

func (s *stage) JoinToken(context.Context) (*proto.NewJoinToken, error) {
	return &proto.NewJoinToken{Token: "ryojoin_x", Expires: "2026-01-01T00:00:00Z"}, nil
}

func (s *stage) Join(context.Context, *proto.JoinRequest) (*proto.Membership, error) {
	return nil, proto.ErrUnsupported
}

func (s *stage) Renew(context.Context, *proto.JoinRequest) (*proto.Membership, error) {
	return nil, proto.ErrUnsupported
}

func TestNewAgentsReachTheProxyByItsName(t *testing.T) {
	for proxy, local := range map[string]bool{
		"localhost:9001": true, "127.0.0.1:9001": true, "[::1]:9001": true, "front:9001": false, "198.18.0.1:9001": false,
	} {
		got := (&app{proxy: proxy}).reachedBy()
		assert.Equal(t, !local, got == proxy, "%s: %s", proxy, got)
		assert.Regexp(t, `:9001$`, got)
	}
}
