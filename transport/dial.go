package transport

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// dial opens the connections of both kinds of client. It takes an address literally:
// proxies of the environment are not used.
func dial(ctx context.Context, _, addr string) (net.Conn, error) {
	return wire.Dial(ctx, addr, wire.ConnectLimit)
}

// dialRPC returns a gRPC connection, which tries each request once, at once.
func dialRPC(addr, token string, cfg *tls.Config, dialed func(net.Conn)) (*grpc.ClientConn, error) {
	security := insecure.NewCredentials()
	if cfg != nil {
		security = named{credentials.NewTLS(cfg), cfg.ServerName}
	}
	// passthrough: the dialer resolves names. gRPC's own resolver would remember
	// that a name could not be resolved.
	return grpc.NewClient("passthrough:///"+addr,
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			conn, err := dial(ctx, "tcp", addr)
			if err == nil {
				dialed(conn)
			}
			return conn, err
		}),
		grpc.WithTransportCredentials(security),
		grpc.WithAuthority(addr),
		grpc.WithPerRPCCredentials(bearer(token)),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(wire.MaxAnswer)),
		grpc.WithConnectParams(grpc.ConnectParams{
			// Short waits: the next request is to learn whether the server is back.
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: wire.ConnectLimit,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: wire.PingAfter, Timeout: wire.PingAfter / 2}),
	)
}

// bearer is a token that goes with each request; "" is none. Whether it may be sent has
// been decided before.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if b == "" {
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearer) RequireTransportSecurity() bool { return false }

// named are credentials of which the name that a server must have may be another than
// the authority of requests, which has the port.
type named struct {
	credentials.TransportCredentials
	name string // "": the host of the authority
}

func (n named) Clone() credentials.TransportCredentials {
	return named{n.TransportCredentials.Clone(), n.name}
}

func (n named) Info() credentials.ProtocolInfo {
	info := n.TransportCredentials.Info()
	info.ServerName = "" //nolint:staticcheck // gRPC still compares it with the authority
	return info
}

func (n named) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return n.TransportCredentials.ClientHandshake(ctx, cmp.Or(n.name, authority), conn)
}

// newHTTPTransport returns the pool of connections of an HTTP client.
func newHTTPTransport(cfg *tls.Config) *http.Transport {
	return &http.Transport{
		TLSClientConfig:        cfg,
		TLSHandshakeTimeout:    wire.ConnectLimit,
		DialContext:            dial,
		DisableCompression:     true, // so that limits are of what travels
		ExpectContinueTimeout:  wire.ConnectLimit,
		IdleConnTimeout:        wire.IdleLimit / 2, // before the server's own
		MaxIdleConnsPerHost:    16,                 // as many as a proxy has requests in flight to one agent
		MaxResponseHeaderBytes: wire.MaxHeader,
	}
}
