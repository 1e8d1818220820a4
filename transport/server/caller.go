package server

import (
	"context"

	"github.com/Ishan27g/ryo-faas/transport"
)

// Caller is who asks an implementer of transport.Interface, as far as the server
// knows.
type Caller struct {
	Kind transport.Kind // how the call came
	Host string         // the host, mostly with a port, that the caller addressed
	// Loopback is said of a caller on this machine. A caller behind a reverse proxy
	// on this machine is none.
	Loopback bool
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
