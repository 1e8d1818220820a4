package server

import (
	"context"

	"github.com/Ishan27g/ryo-faas/transport"
)

// Caller is what the server knows of the caller of a transport.Interface.
type Caller struct {
	Kind transport.Kind // how the call came
	Host string         // the host, mostly with a port, that the caller addressed
	// Loopback says that the caller is on this machine. It is false for the callers of
	// a reverse proxy on this machine.
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
