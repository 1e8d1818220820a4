package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
)

// LetsEncrypt is the directory of the default authority.
const LetsEncrypt = certmagic.LetsEncryptProductionCA

// challengeProtocol is what an authority asks for in its handshake (RFC 8737).
const challengeProtocol = "acme-tls/1"

// Config is what a Manager needs.
type Config struct {
	Dir    string         // for the account, keys and certificates; created if missing
	Names  []string       // of hosts, at least one; the first serves callers that ask for none
	URL    string         // of the authority's directory; default: LetsEncrypt
	Email  string         // for the authority to reach the owner; default: none
	Host   string         // on which the challenges arrive; "": on all addresses
	Port   int            // at which the challenges arrive, of both kinds
	Roots  *x509.CertPool // that the authority's own certificate is checked by; default: the system's
	Logger hclog.Logger

	check time.Duration // how often to look what is due; 0: as certmagic does
}

// Manager gets certificates and renews them.
type Manager struct {
	cfg    Config
	cache  *certmagic.Cache
	magic  *certmagic.Config
	issuer *certmagic.ACMEIssuer

	more    chan struct{} // there are wanted names; has room for one
	mu      sync.Mutex    // guards the fields below:
	managed []string      // names, also those that are wanted
	wanted  []string      // names for which nothing was done yet
}

// New returns a Manager. Run gets the certificates.
func New(cfg Config) *Manager {
	m := &Manager{cfg: cfg, more: make(chan struct{}, 1)}
	m.Add(cfg.Names...)
	quiet := zap.NewNop() // events say what our log needs
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return m.magic, nil },
		RenewCheckInterval: cfg.check,
		Logger:             quiet,
	})
	m.magic = certmagic.New(m.cache, certmagic.Config{
		Storage:           &certmagic.FileStorage{Path: cfg.Dir},
		DefaultServerName: cfg.Names[0],
		OCSP:              certmagic.OCSPConfig{DisableStapling: true}, // authorities have given it up
		OnEvent:           m.event,
		Logger:            quiet,
	})
	m.issuer = certmagic.NewACMEIssuer(m.magic, certmagic.ACMEIssuer{
		CA: cfg.URL, Email: cfg.Email, Agreed: true, TrustedRoots: cfg.Roots,
		// certmagic would listen itself, if nobody did.
		ListenHost: cfg.Host, AltHTTPPort: cfg.Port, AltTLSALPNPort: cfg.Port,
		Logger: quiet,
	})
	m.magic.Issuers = []certmagic.Issuer{m.issuer}
	return m
}

// Run gets certificates and renews them until ctx is done. It is called once.
func (m *Manager) Run(ctx context.Context) {
	defer m.cache.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.more:
		}
		m.mu.Lock()
		names := m.wanted
		m.wanted = nil
		m.mu.Unlock()
		if err := m.magic.ManageAsync(ctx, names); err != nil {
			m.cfg.Logger.Warn("no certificates are asked for", "names", names, "error", err)
		}
	}
}

// Add makes the Manager get certificates for further names. It does not wait for them.
func (m *Manager) Add(names ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if !slices.Contains(m.managed, name) {
			m.managed, m.wanted = append(m.managed, name), append(m.wanted, name)
		}
	}
	if len(m.wanted) == 0 {
		return
	}
	select {
	case m.more <- struct{}{}:
	default:
	}
}

// TLS returns what serves with the certificates, and answers the authority's challenges.
func (m *Manager) TLS() *tls.Config {
	return &tls.Config{GetCertificate: m.magic.GetCertificate, NextProtos: []string{challengeProtocol}, MinVersion: tls.VersionTLS12}
}

// Challenge answers a request of the authority that comes without TLS, and reports
// whether r is one.
func (m *Manager) Challenge(w http.ResponseWriter, r *http.Request) bool {
	return m.issuer.HandleHTTPChallenge(w, r)
}

// event logs what has become of a certificate.
func (m *Manager) event(_ context.Context, event string, data map[string]any) error {
	switch event {
	case "cert_obtained":
		m.cfg.Logger.Info("there is a new certificate", "name", data["identifier"], "renewed", data["renewal"])
	case "cert_failed":
		m.cfg.Logger.Warn("there is no new certificate; it is tried again", "name", data["identifier"], "renewed", data["renewal"], "error", data["error"])
	}
	return nil
}
