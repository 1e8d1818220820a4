package remote

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/server"
)

// How long the agent waits after its proxy could not be reached, doubled each time.
const (
	renewSoon = time.Second
	renewLate = time.Minute
)

// join makes the agent belong to its proxy, unless it does already.
func (a *Agent) join(ctx context.Context) error {
	if a.proxy == "" {
		return nil
	}
	var token pki.Token
	var err error
	if a.token != "" {
		if token, err = pki.ParseToken(a.token); err != nil {
			return err
		}
	}
	pin, joined := a.identity.Joined()
	switch err := a.identity.Valid(); {
	case joined && err == nil && (a.token == "" || pin == token.Pin && !a.removed(ctx, pin)):
		return nil
	case a.token == "" && joined:
		return err
	case a.token == "":
		return proto.Errorf(proto.ErrUnauthenticated, "this agent has not joined %s", a.proxy).
			WithHint("on the proxy's machine, proxyCli agents token prints the command with a token")
	}
	req, err := a.membershipRequest()
	if err != nil {
		return err
	}
	req.Secret = token.Secret
	// The handshake verifies the pin before anything is sent.
	if err := a.admit(ctx, token.Dial(), token.Pin, req, (*transport.Client).Join); err != nil {
		return explainJoin(a.proxy, err)
	}
	_, expires := a.identity.Due()
	a.logger.Info("joined", "proxy", a.proxy, "id", a.id, "certificate until", expires)
	return nil
}

// removed reports whether the proxy has forgotten this agent, so that it takes a token to
// belong to it again. Where the proxy does not answer, renew goes on asking.
func (a *Agent) removed(ctx context.Context, pin pki.Pin) bool {
	req, err := a.membershipRequest()
	if err == nil {
		err = a.admit(ctx, a.identity.Dial(), pin, req, (*transport.Client).Renew)
	}
	return errors.Is(err, proto.ErrForbidden)
}

// explainJoin says more of why an agent could not join.
func explainJoin(proxy string, err error) error {
	e := proto.AsError(err)
	hint := e.Hint
	if e.Reason == "tls" { // the client speaks of files of authorities, which no agent needs
		hint = "check the address after -join, which is the proxy's -rpc; a token is of one proxy: proxyCli agents token, on its machine, prints another"
	}
	return proto.Errorf(e.Kind, "join %s: %w", proxy, err).WithHint(hint)
}

// membershipRequest is what a proxy needs to know of the agent.
func (a *Agent) membershipRequest() (*proto.JoinRequest, error) {
	csr, err := a.identity.Request()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(a.addr)
	if host == "localhost" { // the proxy sees where this machine is
		host = ""
	}
	return &proto.JoinRequest{Id: a.id, Addr: net.JoinHostPort(host, port), Request: csr}, err
}

// admit asks the proxy for a certificate and keeps it.
func (a *Agent) admit(
	ctx context.Context, dial *tls.Config, pin pki.Pin, req *proto.JoinRequest,
	ask func(*transport.Client, context.Context, *proto.JoinRequest) (*proto.Membership, error),
) error {
	client := transport.NewAgent(transport.RPC, a.proxy, transport.WithTLS(dial))
	defer client.Close()
	membership, err := ask(client, ctx, req)
	if err != nil {
		return err
	}
	return a.identity.Keep(membership.GetChain(), pin)
}

// renew keeps the agent's certificate valid until ctx is done. At its start it tells the
// proxy where the agent is now.
func (a *Agent) renew(ctx context.Context) {
	pin, joined := a.identity.Joined()
	if a.proxy == "" || !joined {
		return
	}
	var due time.Time
	pause := renewSoon
	for {
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return
		}
		req, err := a.membershipRequest()
		if err == nil {
			err = a.admit(ctx, a.identity.Dial(), pin, req, (*transport.Client).Renew)
		}
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			due, _ = a.identity.Due()
			pause = renewSoon
			continue
		}
		_, expires := a.identity.Due()
		level := a.logger.Warn
		if errors.Is(err, proto.ErrForbidden) || errors.Is(err, proto.ErrUnauthenticated) {
			level = a.logger.Error
		}
		level("the agent's certificate is not renewed", "proxy", a.proxy, "until", expires, "error", err, "hint", proto.AsError(err).Hint)
		// Agents that were cut off together must not all come back at once.
		due = time.Now().Add(pause/2 + rand.N(pause))
		pause = min(2*pause, renewLate)
	}
}

// certificates returns those by which the agent and its proxy know each other, nil for an
// agent that belongs to none.
func (a *Agent) certificates() server.Certificates {
	if a.proxy == "" {
		return nil
	}
	return a.identity
}

// membership is what /readyz says of the proxy that an agent belongs to, when the answer
// is made.
type membership struct{ *Agent }

// MarshalJSON implements json.Marshaler.
func (m membership) MarshalJSON() ([]byte, error) {
	said := struct {
		Proxy   string    `json:"proxy"`
		Until   time.Time `json:"until,omitzero"`
		Problem string    `json:"problem,omitempty"` // why it does not belong to it any longer
	}{Proxy: m.proxy}
	if m.proxy != "" {
		_, said.Until = m.identity.Due()
		if err := m.identity.Valid(); err != nil {
			said.Problem = err.Error()
		}
	}
	return json.Marshal(said)
}

// lapsed logs that the tokens of a proxy do not hold any longer.
func (a *Agent) lapsed(issuer string, heard time.Time) {
	a.logger.Warn("the tokens of a proxy do not hold any longer, since it is silent; they do again when it reaches this agent", "issuer", issuer, "heard", heard.Format(time.RFC3339))
}

// silences is what /readyz says of proxies whose tokens do not hold, since they are silent:
// when each was heard last.
type silences struct{ *Agent }

// MarshalJSON implements json.Marshaler.
func (s silences) MarshalJSON() ([]byte, error) { return json.Marshal(s.tokens.Silent()) }
