package transport

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
)

// Caller is who asks an implementer of Interface, as far as the server knows.
type Caller struct {
	Kind Kind   // how the call came
	Host string // the host, mostly with a port, that the caller addressed
	// Loopback is said of a caller on this machine. A caller behind a reverse proxy
	// on this machine is none.
	Loopback bool
}

type callerKey struct{}

// CallerFrom returns the caller of a call. It is the zero value for a call within
// the process.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

func callerOf(r *http.Request) Caller {
	c := Caller{Kind: HTTP, Host: r.Host, Loopback: peerIsLoopback(r) && forwardedBy(r) == ""}
	if isGRPC(r) {
		c.Kind = RPC
	}
	return c
}

func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

func peerIsLoopback(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback()
}

// forwardedBy returns the first header of r that a reverse proxy sets, "" for none.
func forwardedBy(r *http.Request) string {
	for name := range r.Header {
		if name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded-") {
			return name
		}
	}
	return ""
}
