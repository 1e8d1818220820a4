package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// fromPeer returns the error of a request to addr with its kind: the server's own error
// where it sent one, else what happened to the connection.
func fromPeer(addr string, err error) error {
	var known *proto.Error
	if errors.As(err, &known) {
		return known
	}
	st, isStatus := status.FromError(err)
	if !isStatus {
		if errors.Is(err, io.EOF) {
			return disconnected(addr, "the server closed the stream")
		}
		return unreachable(addr, err.Error())
	}
	for _, d := range st.Details() {
		if d, ok := d.(*proto.ErrorDetail); ok {
			return d.Err()
		}
	}
	switch text := st.Message(); {
	case strings.Contains(text, "server preface"), strings.Contains(text, "unexpected HTTP status"), strings.Contains(text, "content-type"):
		return stranger(addr, "it does not speak gRPC")
	case strings.Contains(text, handshakeFailed):
		_, cause, _ := strings.Cut(text, handshakeFailed)
		return noTLS(addr, strings.TrimSuffix(cause, `"`))
	case st.Code() != codes.Unavailable:
		return proto.Errorf(wire.KindOf(st.Code()), "%s: %s", addr, text)
	case strings.Contains(text, "dialing"):
		return unreachable(addr, strings.TrimSuffix(text[strings.Index(text, "dialing")+len("dialing"):], `"`))
	default:
		return disconnected(addr, text)
	}
}

// unreachable is the error for an address where nobody answers.
func unreachable(addr, cause string) error {
	return proto.Errorf(proto.ErrUnavailable, "cannot reach %s: %s", addr, strings.Trim(cause, ": ")).
		From("client", "dial").
		WithHint("is the proxy or agent running there? " + portsHint)
}

const portsHint = "a proxy speaks gRPC on port 9001 and HTTP on 9002, an agent both on 9000"

// disconnected is the error for a connection that broke.
func disconnected(addr, cause string) error {
	return proto.Errorf(proto.ErrUnavailable, "lost the connection to %s: %s", addr, cause).From("client", "lost")
}

// stranger is the error for a server that is neither a proxy nor an agent.
func stranger(addr, cause string) error {
	return proto.Errorf(proto.ErrUnavailable, "%s is neither a proxy nor an agent: %s", addr, cause).
		From("client", "stranger").
		WithHint("something else listens there; " + portsHint)
}

// handshakeFailed is how gRPC says that TLS did not come about.
const handshakeFailed = "authentication handshake failed: "

// noTLS is the error for a server with which TLS did not come about.
func noTLS(addr, cause string) error {
	return proto.Errorf(proto.ErrUnavailable, "no TLS with %s: %s", addr, strings.TrimPrefix(cause, "tls: ")).
		From("client", "tls").
		WithHint("-ca names the file of the authority, where it is not one of this machine's; a server without TLS is addressed without https://")
}

// isHandshake reports whether err is of a TLS handshake.
func isHandshake(err error) bool {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, plain := errors.AsType[tls.RecordHeaderError](err)
	_, alert := errors.AsType[tls.AlertError](err)
	return untrusted || plain || alert || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// isDial reports whether err is of connecting, so that nothing was sent.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
