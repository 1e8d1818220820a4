package server

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"

	"github.com/Ishan27g/ryo-faas/transport/pki"
)

// Certificates are those by which proxies and agents know each other.
type Certificates interface {
	// ServerConfig returns how this program serves those who ask for pki.ServerName.
	ServerConfig() *tls.Config
	// Verify returns what a chain of certificates proves. An error says why it proves
	// nothing; the caller is told.
	Verify(chain []*x509.Certificate) (pki.Role, error)
}

// withCertificates returns how TLS is served: as certs say to those who ask for
// pki.ServerName, to others as cfg says, nil for not at all.
func withCertificates(cfg *tls.Config, certs Certificates) *tls.Config {
	if certs == nil {
		return cfg
	}
	own := certs.ServerConfig()
	if cfg == nil {
		return own
	}
	cfg = cfg.Clone()
	others := cfg.GetConfigForClient
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		switch {
		case hello.ServerName == pki.ServerName:
			return own, nil
		case others != nil:
			return others(hello)
		}
		return nil, nil //nolint:nilnil // it means cfg
	}
	return cfg
}

// verifiedFor is how long the role of a connection holds. Verifying takes longer than
// most requests.
const verifiedFor = 5 * time.Second

// certified is what the certificate of a connection's client said last.
type certified struct {
	role  pki.Role
	wrong error // with the certificate; nil: there is none, or it is good
	until time.Time
}

// roleOf returns what the certificate of r's caller says, and why one that it has shown
// says nothing.
func (a access) roleOf(r *http.Request) (pki.Role, error) {
	if a.certificates == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return pki.Role{}, nil
	}
	conn := connOf(r)
	if c := conn.certified.Load(); c != nil && time.Now().Before(c.until) {
		return c.role, c.wrong
	}
	c := &certified{until: time.Now().Add(verifiedFor)}
	c.role, c.wrong = a.certificates.Verify(r.TLS.PeerCertificates)
	conn.certified.Store(c)
	return c.role, c.wrong
}
