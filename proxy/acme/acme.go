package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"maps"
	"net/http"
	"path/filepath"
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

// loadLimit is how long Loaded waits. A certificate is read within milliseconds; one that is
// damaged never serves.
const loadLimit = 5 * time.Second

// againAfter is when a name is looked for again whose certificate could not be read.
const againAfter = 2 * time.Second

// copiesFolder is where copies of Config.Files are in Config.Dir.
const copiesFolder = "shared"

var errUnwanted = errors.New("nobody wants a certificate for this name")

// Config is what a Manager needs.
type Config struct {
	Dir    string         // for the account, keys and certificates; created if missing
	Files  Files          // for the same, shared with other managers; default: those of Dir, which has copies otherwise
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
	issuer *issuer
	locks  *locks

	changed chan struct{}   // holds a value when wanted has changed; has room for one
	loaded  chan struct{}   // holds a value when a certificate has been loaded; has room for one
	mu      sync.Mutex      // guards the field below:
	wanted  map[string]bool // names; never changed, only replaced
}

// New returns a Manager. Run gets the certificates.
func New(cfg Config) *Manager {
	m := &Manager{cfg: cfg, changed: make(chan struct{}, 1), loaded: make(chan struct{}, 1)}
	m.Want()
	quiet := zap.NewNop() // events say what our log needs
	var files certmagic.Storage = &certmagic.FileStorage{Path: cfg.Dir}
	if cfg.Files != nil {
		folder := &certmagic.FileStorage{Path: filepath.Join(cfg.Dir, copiesFolder)}
		files = newStorage(&copies{Files: cfg.Files, folder: folder, logger: cfg.Logger})
	}
	m.locks = newLocks(files)
	m.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   m.renewal,
		RenewCheckInterval: cfg.check,
		Logger:             quiet,
	})
	m.magic = certmagic.New(m.cache, certmagic.Config{
		Storage:           m.locks,
		DefaultServerName: cfg.Names[0],
		OCSP:              certmagic.OCSPConfig{DisableStapling: true}, // authorities have given it up
		OnEvent:           m.event,
		Logger:            quiet,
	})
	m.issuer = newIssuer(m.magic, certmagic.ACMEIssuer{
		CA: cfg.URL, Email: cfg.Email, Agreed: true, TrustedRoots: cfg.Roots,
		// certmagic would listen itself, if nobody did.
		ListenHost: cfg.Host, AltHTTPPort: cfg.Port, AltTLSALPNPort: cfg.Port,
		Logger: quiet,
	}, cfg.Logger)
	m.magic.Issuers = []certmagic.Issuer{m.issuer}
	return m
}

// Run gets certificates and renews them until ctx is done. It is called once.
func (m *Manager) Run(ctx context.Context) {
	defer m.locks.end(context.WithoutCancel(ctx))
	defer m.cache.Stop()
	asked := map[string]context.CancelFunc{} // by name
	var asking sync.WaitGroup
	defer asking.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.changed:
		}
		wanted := m.names()
		for name, cancel := range asked {
			if !wanted[name] {
				cancel()
				delete(asked, name)
			}
		}
		for name := range wanted {
			if asked[name] != nil {
				continue
			}
			one, cancel := context.WithCancel(ctx)
			asked[name] = cancel
			asking.Go(func() { m.ask(one, name) })
		}
	}
}

// ask begins to look after the certificate of a name, once it can be read whether there is one:
// certmagic would look once.
func (m *Manager) ask(ctx context.Context, name string) {
	for said := false; ; said = true {
		_, err := m.locks.Load(ctx, certmagic.StorageKeys.SiteCert(m.issuer.IssuerKey(), name))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			if err := m.magic.ManageAsync(ctx, []string{name}); err != nil {
				m.cfg.Logger.Warn("no certificate is asked for", "name", name, "error", err)
			}
			return
		}
		if !said && ctx.Err() == nil {
			m.cfg.Logger.Warn("whether there is a certificate cannot be read, and none is asked for until it can", "name", name, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(againAfter):
		}
	}
}

// Want says for which names there are to be certificates, besides Config.Names. It does
// not wait for them. A name that is not wanted any longer is not asked for again; what
// there is for it serves on.
func (m *Manager) Want(names ...string) {
	wanted := map[string]bool{}
	for _, name := range slices.Concat(m.cfg.Names, names) {
		wanted[name] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if maps.Equal(wanted, m.wanted) {
		return
	}
	m.wanted = wanted
	hint(m.changed)
}

// hint makes a channel that has room for one value hold it.
func hint(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (m *Manager) names() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wanted
}

// Loaded waits until those certificates serve that are stored for the names that are wanted
// now, so that the first callers find them, but no longer than five seconds, or until ctx is
// done. Run loads them. One goroutine at a time may call it.
func (m *Manager) Loaded(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, loadLimit)
	defer cancel()
	for name := range m.names() {
		if !m.locks.Exists(ctx, certmagic.StorageKeys.SiteCert(m.issuer.IssuerKey(), name)) {
			continue
		}
		for len(m.cache.AllMatchingCertificates(name)) == 0 {
			select {
			case <-m.loaded:
			case <-ctx.Done():
				return
			}
		}
	}
}

// renewal tells certmagic how to renew a certificate: not at all when nobody wants it.
func (m *Manager) renewal(cert certmagic.Certificate) (*certmagic.Config, error) {
	wanted := m.names()
	if !slices.ContainsFunc(cert.Names, func(name string) bool { return wanted[name] }) {
		return nil, errUnwanted
	}
	return m.magic, nil
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

// event logs what has become of a certificate, and holds nothing up.
func (m *Manager) event(ctx context.Context, event string, data map[string]any) error {
	if ctx.Err() == nil { // else nobody wants it any longer
		m.report(event, data)
	}
	return nil
}

func (m *Manager) report(event string, data map[string]any) {
	switch event {
	case "cached_managed_cert":
		hint(m.loaded)
	case "cert_obtained":
		m.cfg.Logger.Info("there is a new certificate", "name", data["identifier"], "renewed", data["renewal"])
	case "cert_failed":
		m.cfg.Logger.Warn("there is no new certificate; it is tried again", "name", data["identifier"], "renewed", data["renewal"], "error", data["error"])
	}
}
