package server

import (
	"context"
	"net/http"
	"strconv"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
	"github.com/Ishan27g/ryo-faas/transport/auth"
	"github.com/Ishan27g/ryo-faas/transport/pki"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Caller is what the server knows of the caller of a transport.Interface.
type Caller struct {
	Kind transport.Kind // how the call came
	Host string         // the host, mostly with a port, that the caller addressed
	// Own says that the caller is a process of this program's own user, and is let in for
	// that alone.
	Own bool
	// Who names the caller to people: a token, or where it is.
	Who string
	// Token is the token for which the caller was let in, and which limits what it may
	// do; nil for a caller that needs none.
	Token *auth.Identity
	sent  *auth.Identity // the token that it sent, whether or not it needed one
	// Secure says that the caller speaks TLS.
	Secure bool
	// Peer is the other end of the connection, host:port.
	Peer string
	// Agent is the id of the agent that the caller's certificate proves it to be; "": none.
	Agent       string
	uncertified error // why a certificate that it has shown proves nothing
	// invoke says why the caller may not call a function, nil when it may; nil where that
	// was not asked.
	invoke func(function string) error
	// RequestID is the call's id. Errors carry it to the caller.
	RequestID string
}

type callerKey struct{}

// CallerFrom returns the caller of a call. It is the zero value for a call within
// the process.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// callerOf returns who makes a request, given the token for which it is let in, or nil.
func callerOf(r *http.Request, asked request, token *auth.Identity) Caller {
	c := Caller{
		Kind: transport.HTTP, Host: r.Host, Peer: r.RemoteAddr, Secure: r.TLS != nil,
		Own: asked.local == own && asked.forwarded == "" && token == nil,
		Who: asked.caller(), Token: token, sent: asked.who,
		uncertified: asked.uncertified,
		RequestID:   proto.RequestID(r.Header.Get(proto.RequestIDHeader)),
	}
	if wire.IsGRPC(r) {
		c.Kind = transport.RPC
	}
	if asked.role.Kind == pki.Agent {
		c.Agent = asked.role.ID
	}
	return c
}

// caller names who made a request.
func (r request) caller() string {
	switch {
	case r.who != nil:
		return r.who.String()
	case r.role.Kind != "":
		return string(r.role.Kind) + " " + r.role.ID
	case r.local == own && r.forwarded == "":
		return "local"
	case r.local > elsewhere:
		return "user " + strconv.Itoa(r.uid)
	}
	return hostOnly(r.peer)
}
