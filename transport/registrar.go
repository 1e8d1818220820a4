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
	// DrainAgent makes the agent of an address or an id get no further functions, and moves
	// those that it has to others, in the background: Agents says what is left.
	DrainAgent(ctx context.Context, agent string) (*proto.AgentState, error)
	// ResumeAgent undoes DrainAgent. What was moved does not come back.
	ResumeAgent(ctx context.Context, agent string) (*proto.AgentState, error)
	// Scale changes on how many agents a function is: a number from 1 on, two such as "1-4", or "all". It
	// returns when it is ready on those that are new, with a row for each agent that has it.
	Scale(ctx context.Context, fnName, replicas string) ([]*proto.FunctionJsonRsp, error)
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

// DrainAgent is as in Registrar.
func (c *Client) DrainAgent(ctx context.Context, agent string) (rsp *proto.AgentState, err error) {
	err = c.request(ctx, "drain an agent", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.DrainAgent(ctx, &proto.AgentRef{Agent: agent})
		return err
	})
	return rsp, err
}

// ResumeAgent is as in Registrar.
func (c *Client) ResumeAgent(ctx context.Context, agent string) (rsp *proto.AgentState, err error) {
	err = c.request(ctx, "resume an agent", wire.RequestLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.ResumeAgent(ctx, &proto.AgentRef{Agent: agent})
		return err
	})
	return rsp, err
}

// Scale is as in Registrar.
func (c *Client) Scale(ctx context.Context, fnName, replicas string) ([]*proto.FunctionJsonRsp, error) {
	var rsp *proto.FunctionList
	err := c.request(ctx, "scale", wire.DeployLimit, func(ctx context.Context) (err error) {
		rsp, err = c.rpc.Scale(ctx, &proto.ScaleRequest{Name: fnName, Replicas: replicas})
		return err
	})
	return rsp.GetFunctions(), err
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
