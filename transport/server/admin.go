package server

import (
	"context"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The calls of transport.Admin.

var (
	errNoTokens = proto.Errorf(proto.ErrUnsupported, "this server keeps no tokens")
	errNoRecord = proto.Errorf(proto.ErrUnsupported, "this server keeps no audit log")
)

func (s *service) WhoAmI(ctx context.Context, _ *proto.WhoAmIRequest) (*proto.Caller, error) {
	caller := CallerFrom(ctx)
	answer := &proto.Caller{Who: caller.Who}
	if caller.sent != nil {
		answer.Token = caller.sent.Describe()
	}
	return answer, nil
}

func (s *service) CreateToken(ctx context.Context, req *proto.TokenRequest) (*proto.NewToken, error) {
	if s.tokens == nil {
		return nil, errNoTokens
	}
	return s.tokens.CreateToken(ctx, req)
}

func (s *service) Tokens(ctx context.Context, _ *proto.TokensRequest) (*proto.TokenList, error) {
	if s.tokens == nil {
		return nil, errNoTokens
	}
	tokens, err := s.tokens.Tokens(ctx)
	return &proto.TokenList{Tokens: tokens}, err
}

func (s *service) RevokeToken(ctx context.Context, req *proto.TokenRef) (*proto.Token, error) {
	if s.tokens == nil {
		return nil, errNoTokens
	}
	return s.tokens.RevokeToken(ctx, req.GetId())
}

func (s *service) RotateToken(ctx context.Context, req *proto.RotateRequest) (*proto.NewToken, error) {
	if s.tokens == nil {
		return nil, errNoTokens
	}
	return s.tokens.RotateToken(ctx, req)
}

func (s *service) ShareTokens(ctx context.Context, req *proto.TokenShare) (*proto.TokenList, error) {
	if s.worker == nil {
		return nil, errNoWorker
	}
	if s.tokens == nil {
		return nil, errNoTokens
	}
	return &proto.TokenList{}, s.tokens.ShareTokens(ctx, req)
}

func (s *service) Audit(_ context.Context, req *proto.AuditRequest) (*proto.AuditList, error) {
	if s.record == nil {
		return nil, errNoRecord
	}
	entries, err := s.record.Last(req.GetLast())
	return &proto.AuditList{Entries: entries}, err
}
