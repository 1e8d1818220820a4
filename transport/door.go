package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// Door is the way to the functions of an agent on another machine: through the agent's
// own port.
type Door struct {
	addr string
	tls  *tls.Config
}

// NewDoor returns the door of the agent at an address, host:port. Connections are TLS as
// cfg says, or plain for nil.
func NewDoor(addr string, cfg *tls.Config) *Door { return &Door{addr, cfg} }

// Dial returns a connection to the service of a port: what is written is read by the
// function. It is a *tls.Conn or a *net.TCPConn.
func (d *Door) Dial(ctx context.Context, port int) (net.Conn, error) {
	conn, err := dial(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	way, err := d.open(ctx, conn, port)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		// Nothing of a call was sent: for callers the service could not be dialed.
		return nil, &net.OpError{Op: "dial", Net: "door", Err: err}
	}
	return way, nil
}

// open asks for a service over a connection.
func (d *Door) open(ctx context.Context, conn net.Conn, port int) (net.Conn, error) {
	_ = conn.SetDeadline(time.Now().Add(wire.ConnectLimit))
	if d.tls != nil {
		secure := tls.Client(conn, d.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = secure
	}
	if _, err := fmt.Fprintf(conn, "GET %s%d HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", wire.DoorPrefix, port, d.addr, wire.DoorProtocol); err != nil {
		return nil, err
	}
	in := bufio.NewReader(io.LimitReader(conn, wire.MaxHeader))
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(res.Body)
		if detail, ok := wire.DecodeError(body); ok {
			return nil, detail.Err()
		}
		return nil, proto.Errorf(proto.ErrBadGateway, "it answers %s", res.Status)
	}
	if in.Buffered() > 0 {
		return nil, proto.Errorf(proto.ErrBadGateway, "the function spoke before it was asked")
	}
	return conn, conn.SetDeadline(time.Time{})
}
