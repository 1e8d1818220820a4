package transport

import (
	"context"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Registrar is what a proxy does for its agents and for those who look after them. An
// agent answers ErrUnsupported.
type Registrar interface {
	// Agents returns the agents that the proxy knows, ordered by address.
	Agents(ctx context.Context) ([]*proto.AgentState, error)
	// RemoveAgent removes the agent of an address or an id from the proxy.
	RemoveAgent(ctx context.Context, agent string) (*proto.AgentState, error)
	// JoinToken makes a token with which one agent may join.
	JoinToken(ctx context.Context) (*proto.NewJoinToken, error)
	// Join lets an agent join. What is wrong with its secret is an ErrUnauthenticated; an
	// id that is another agent's is an ErrConflict.
	Join(ctx context.Context, req *proto.JoinRequest) (*proto.Membership, error)
	// Renew gives an agent its next certificate. The caller must have shown the one before.
	Renew(ctx context.Context, req *proto.JoinRequest) (*proto.Membership, error)
}

var _ Registrar = (*Client)(nil)

// Agents is as in Registrar.
func (c *Client) Agents(ctx context.Context) ([]*proto.AgentState, error) {
	var rsp *proto.AgentList
	err := c.request(ctx, "list agents", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Agents(ctx, &proto.AgentsRequest{})
		return err
	})
	return rsp.GetAgents(), err
}

// RemoveAgent is as in Registrar.
func (c *Client) RemoveAgent(ctx context.Context, agent string) (rsp *proto.AgentState, err error) {
	err = c.request(ctx, "remove an agent", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.RemoveAgent(ctx, &proto.AgentRef{Agent: agent})
		return err
	})
	return rsp, err
}

// JoinToken is as in Registrar.
func (c *Client) JoinToken(ctx context.Context) (rsp *proto.NewJoinToken, err error) {
	err = c.request(ctx, "make a join token", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.JoinToken(ctx, &proto.JoinTokenRequest{})
		return err
	})
	return rsp, err
}

// Join is as in Registrar.
func (c *Client) Join(ctx context.Context, req *proto.JoinRequest) (rsp *proto.Membership, err error) {
	err = c.request(ctx, "join", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Join(ctx, req)
		return err
	})
	return rsp, err
}

// Renew is as in Registrar.
func (c *Client) Renew(ctx context.Context, req *proto.JoinRequest) (rsp *proto.Membership, err error) {
	err = c.request(ctx, "renew a certificate", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Renew(ctx, req)
		return err
	})
	return rsp, err
}
