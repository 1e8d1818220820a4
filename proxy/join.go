package proxy

import (
	"context"
	"net"
	"slices"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/server"
)

var _ transport.Registrar = (*Proxy)(nil)

// Agents implements transport.Registrar.
func (p *Proxy) Agents(ctx context.Context) ([]*proto.AgentState, error) {
	if err := p.fleet.Started(ctx); err != nil {
		return nil, err
	}
	list := p.fleet.Agents()
	p.places.mu.Lock()
	defer p.places.mu.Unlock()
	for _, a := range list {
		a.Stays = slices.Clone(p.places.stays[a.GetAddr()])
	}
	return list, nil
}

// RemoveAgent implements transport.Registrar.
func (p *Proxy) RemoveAgent(ctx context.Context, agent string) (*proto.AgentState, error) {
	unlock, err := p.agentsTurn.lock(ctx, "")
	if err != nil {
		return nil, err
	}
	defer unlock()
	k, err := p.fleet.Meant(agent)
	if err != nil {
		return nil, err
	}
	if err := p.forgetRecord(ctx, k.ID); err != nil {
		return nil, proto.Errorf(proto.ErrUnavailable, "agent %s is not removed, since the store does not note it: %w", k.Addr, err).
			WithHint("see the proxy's log, and try again").From("proxy", "store")
	}
	was, err := p.fleet.Remove(agent)
	if err != nil {
		return nil, err
	}
	if err := p.forgetAgent(ctx, was); err != nil {
		p.logger.Warn("functions are still wished on an agent that was removed", "agent", was.GetAddr(), "error", err)
	}
	return was, nil
}

// JoinToken implements transport.Registrar.
func (p *Proxy) JoinToken(context.Context) (*proto.NewJoinToken, error) {
	token, expires, err := p.authority.Token()
	if err != nil {
		return nil, err
	}
	return &proto.NewJoinToken{Token: token.String(), Expires: expires.UTC().Format(time.RFC3339)}, nil
}

// Join implements transport.Registrar.
func (p *Proxy) Join(ctx context.Context, req *proto.JoinRequest) (*proto.Membership, error) {
	if err := p.changes.Begin(ctx); err != nil {
		return nil, err
	}
	defer p.changes.End()
	addr, err := addrOf(ctx, req)
	if err != nil {
		return nil, err
	}
	if taken := p.fleet.Free(req.GetId(), addr); taken != nil {
		if err := p.authority.Valid(req.GetSecret()); err != nil { // a stranger does not learn where agents are
			return nil, err
		}
		return nil, taken
	}
	chain, err := p.authority.Admit(req.GetSecret(), req.GetId(), addr, req.GetRequest())
	if err != nil {
		return nil, err // the audit log has it; strangers must not fill the other
	}
	p.logger.Info("an agent has joined", "id", req.GetId(), "agent", addr)
	p.fleet.Join(req.GetId(), addr)
	return &proto.Membership{Chain: chain}, nil
}

// Renew implements transport.Registrar.
func (p *Proxy) Renew(ctx context.Context, req *proto.JoinRequest) (*proto.Membership, error) {
	addr, err := addrOf(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := p.fleet.Free(req.GetId(), addr); err != nil {
		return nil, err
	}
	chain, err := p.authority.Renew(req.GetId(), addr, req.GetRequest())
	if err != nil {
		return nil, err
	}
	p.fleet.Join(req.GetId(), addr)
	return &proto.Membership{Chain: chain}, nil
}

// addrOf returns where an agent that joins says that it is reached: without a host, at
// the address that it calls from.
func addrOf(ctx context.Context, req *proto.JoinRequest) (string, error) {
	if err := pki.CheckID(req.GetId()); err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(req.GetAddr())
	if err != nil {
		return "", proto.Errorf(proto.ErrInvalid, "agent %s says that it is at %.100q, which is no address", req.GetId(), req.GetAddr())
	}
	if host == "" {
		host, _, _ = net.SplitHostPort(server.CallerFrom(ctx).Peer)
	}
	return transport.NormalizeAddr(net.JoinHostPort(host, port))
}
