package server

import (
	"context"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The calls of transport.Registrar.

var errNoRegistrar = proto.Errorf(proto.ErrUnsupported, "proxies alone have agents and choose among them; this is not a proxy").
	WithHint(askProxy)

// askProxy is the way out for a caller who asks an agent what proxies alone do.
const askProxy = "ask the proxy that the agent belongs to: proxyCli -proxy ADDR"

func (s *service) Agents(ctx context.Context, _ *proto.AgentsRequest) (*proto.AgentList, error) {
	if s.registrar == nil {
		return nil, errNoRegistrar
	}
	agents, err := s.registrar.Agents(ctx)
	return &proto.AgentList{Agents: agents}, err
}

func (s *service) RemoveAgent(ctx context.Context, req *proto.AgentRef) (*proto.AgentState, error) {
	if s.registrar == nil {
		return nil, errNoRegistrar
	}
	return s.registrar.RemoveAgent(ctx, req.GetAgent())
}

func (s *service) DrainAgent(ctx context.Context, req *proto.AgentRef) (*proto.AgentState, error) {
	if s.registrar == nil {
		return nil, errNoRegistrar
	}
	return s.registrar.DrainAgent(ctx, req.GetAgent())
}

func (s *service) ResumeAgent(ctx context.Context, req *proto.AgentRef) (*proto.AgentState, error) {
	if s.registrar == nil {
		return nil, errNoRegistrar
	}
	return s.registrar.ResumeAgent(ctx, req.GetAgent())
}

func (s *service) Scale(ctx context.Context, req *proto.ScaleRequest) (*proto.FunctionList, error) {
	if s.registrar == nil {
		return nil, errNoRegistrar
	}
	if req.GetName() == "" {
		return nil, proto.CheckName("")
	}
	if _, err := proto.ParseReplicas(req.GetReplicas()); err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "scale %s: %w", req.GetName(), err).
			WithHint("a function that is not to run is stopped: proxyCli stop " + req.GetName())
	}
	if err := may(ctx, req.GetName()); err != nil {
		return nil, err
	}
	rows, err := s.registrar.Scale(ctx, req.GetName(), req.GetReplicas())
	return &proto.FunctionList{Functions: rows}, err
}

func (s *service) JoinToken(ctx context.Context, _ *proto.JoinTokenRequest) (*proto.NewJoinToken, error) {
	if s.registrar == nil {
		return nil, errNoRegistrar
	}
	return s.registrar.JoinToken(ctx)
}

func (s *service) Join(ctx context.Context, req *proto.JoinRequest) (*proto.Membership, error) {
	if s.registrar == nil {
		return nil, errNoRegistrar
	}
	if !CallerFrom(ctx).Secure {
		return nil, proto.Errorf(proto.ErrForbidden, "agents join over TLS alone; the token came in the clear").
			WithHint("make another token, since others may have read this one: proxyCli agents token")
	}
	return s.registrar.Join(ctx, req)
}

func (s *service) Renew(ctx context.Context, req *proto.JoinRequest) (*proto.Membership, error) {
	if s.registrar == nil {
		return nil, errNoRegistrar
	}
	caller := CallerFrom(ctx)
	switch {
	case caller.uncertified != nil:
		return nil, caller.uncertified
	case caller.Agent == "" || caller.Agent != req.GetId():
		return nil, proto.Errorf(proto.ErrUnauthenticated, "an agent renews its own certificate alone, and shows it")
	}
	return s.registrar.Renew(ctx, req)
}
