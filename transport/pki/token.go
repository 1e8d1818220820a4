package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// TokenPrefix begins every join token, so that scanners for secrets find it.
const TokenPrefix = "ryojoin_"

// secretSize is that of a token's secret, in bytes.
const secretSize = 16

// Token lets one agent join.
type Token struct {
	Pin    Pin
	Secret []byte
}

func newToken(pin Pin) Token {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // it never fails
	return Token{pin, secret}
}

// String is the token as it is given to an agent.
func (t Token) String() string {
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(append(t.Pin[:], t.Secret...))
}

// ParseToken reads a token. Its text is never part of an error.
func ParseToken(text string) (Token, error) {
	data, isToken := strings.CutPrefix(strings.TrimSpace(text), TokenPrefix)
	raw, err := base64.RawURLEncoding.Strict().DecodeString(data)
	if !isToken || err != nil || len(raw) != sha256.Size+secretSize {
		return Token{}, proto.Errorf(proto.ErrInvalid, "this is no join token").
			WithHint("proxyCli agents token prints one, whole and in one line")
	}
	return Token{Pin(raw[:sha256.Size]), raw[sha256.Size:]}, nil
}

// Dial returns how an agent dials the proxy that made the token, before it has a
// certificate: no other server gets past the handshake.
func (t Token) Dial() *tls.Config {
	return dialConfig(func(chain []*x509.Certificate) error {
		for _, c := range chain {
			if pinOf(c) != t.Pin {
				continue
			}
			role, err := verify(chain, c, time.Now())
			if err == nil && role.Kind != Proxy {
				err = proto.Errorf(proto.ErrUnauthenticated, "the certificate is that of an %s, not of a proxy", role.Kind)
			}
			return err
		}
		return proto.Errorf(proto.ErrUnauthenticated, "the proxy is not the one that made the token: its authority is another").
			WithHint("check the address after -join, and that no other program answers there")
	})
}

// ServerName is what our programs ask each other for in TLS handshakes. A proxy has
// other certificates for other names.
const ServerName = "ryo.internal"

// dialConfig returns how our programs dial each other. verify decides about the server.
func dialConfig(verify func(chain []*x509.Certificate) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: ServerName,
		// The system's authorities and names in certificates have no say here.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies the chain
		VerifyConnection:   func(cs tls.ConnectionState) error { return verify(cs.PeerCertificates) },
	}
}

// serverConfig returns how our programs serve each other. The certificate of a client is
// verified with its first request.
func serverConfig(certificate func() (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		ClientAuth:     tls.RequestClientCert,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate() },
		// Nothing but answers is sent unasked, so that clients can see whether an idle
		// connection is still open.
		SessionTicketsDisabled: true,
	}
}
