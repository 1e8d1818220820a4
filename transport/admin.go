package transport

import (
	"context"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Admin is what proxies and agents do for those who decide who may call them. A server
// without tokens answers ErrUnsupported.
type Admin interface {
	// CreateToken makes a token. Its secret is in this answer and nowhere else.
	CreateToken(ctx context.Context, req *proto.TokenRequest) (*proto.NewToken, error)
	// Tokens returns the tokens that hold, and for a week those that have expired, in the
	// order in which they were created.
	Tokens(ctx context.Context) ([]*proto.Token, error)
	// RevokeToken ends a token. One that a proxy created is an ErrConflict at an agent.
	RevokeToken(ctx context.Context, id string) (*proto.Token, error)
	// RotateToken makes another token like one that is there, which expires after a while.
	RotateToken(ctx context.Context, req *proto.RotateRequest) (*proto.NewToken, error)
	// ShareTokens replaces the tokens of a proxy that hold at an agent.
	ShareTokens(ctx context.Context, share *proto.TokenShare) error
	// Audit returns the last entries of the audit log, at most so many, newest first.
	Audit(ctx context.Context, last uint32) ([]*proto.AuditEntry, error)
	// WhoAmI returns who the caller is.
	WhoAmI(ctx context.Context) (*proto.Caller, error)
}

var _ Admin = (*Client)(nil)

// CreateToken is as in Admin.
func (c *Client) CreateToken(ctx context.Context, req *proto.TokenRequest) (rsp *proto.NewToken, err error) {
	err = c.request(ctx, "create a token", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.CreateToken(ctx, req)
		return err
	})
	return rsp, err
}

// Tokens is as in Admin.
func (c *Client) Tokens(ctx context.Context) ([]*proto.Token, error) {
	var rsp *proto.TokenList
	err := c.request(ctx, "list tokens", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Tokens(ctx, &proto.TokensRequest{})
		return err
	})
	return rsp.GetTokens(), err
}

// RevokeToken is as in Admin.
func (c *Client) RevokeToken(ctx context.Context, id string) (rsp *proto.Token, err error) {
	err = c.request(ctx, "revoke a token", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.RevokeToken(ctx, &proto.TokenRef{Id: id})
		return err
	})
	return rsp, err
}

// RotateToken is as in Admin.
func (c *Client) RotateToken(ctx context.Context, req *proto.RotateRequest) (rsp *proto.NewToken, err error) {
	err = c.request(ctx, "rotate a token", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.RotateToken(ctx, req)
		return err
	})
	return rsp, err
}

// ShareTokens is as in Admin.
func (c *Client) ShareTokens(ctx context.Context, share *proto.TokenShare) error {
	return c.request(ctx, "share tokens", wire.RequestLimit, func(ctx context.Context) error {
		_, err := c.rpc.ShareTokens(ctx, share)
		return err
	})
}

// Audit is as in Admin.
func (c *Client) Audit(ctx context.Context, last uint32) ([]*proto.AuditEntry, error) {
	var rsp *proto.AuditList
	err := c.request(ctx, "audit", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Audit(ctx, &proto.AuditRequest{Last: last})
		return err
	})
	return rsp.GetEntries(), err
}

// WhoAmI is as in Admin.
func (c *Client) WhoAmI(ctx context.Context) (rsp *proto.Caller, err error) {
	err = c.request(ctx, "ask who you are", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.WhoAmI(ctx, &proto.WhoAmIRequest{})
		return err
	})
	return rsp, err
}
