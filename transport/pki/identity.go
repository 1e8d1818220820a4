package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// identityFile has an agent's key and certificate, and its authority's.
const identityFile = "identity.pem"

// Identity is an agent's key, and its certificate once it has joined. Its methods may be
// called concurrently.
type Identity struct {
	id    string
	store Store
	key   *ecdsa.PrivateKey
	now   func() time.Time

	mu   sync.Mutex        // guards the fields below:
	cert *x509.Certificate // nil: it has not joined
	root *x509.Certificate
}

// OpenIdentity returns the identity that a store keeps for the agent of an id. A
// damaged one, or another agent's, is ignored.
func OpenIdentity(store Store, id string) (*Identity, error) {
	i := &Identity{id: id, store: store, now: time.Now}
	text, err := store.ReadFile(identityFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the agent's certificate: %w", err)
	}
	key, certs, bad := decode(text)
	if bad == nil && len(certs) == 2 {
		if role, err := roleOf(certs[0]); err == nil && role == (Role{Agent, id}) {
			i.key, i.cert, i.root = key, certs[0], certs[1]
			return i, nil
		}
	}
	i.key, err = newKey()
	return i, err
}

// Joined returns the pin of the authority that the agent has joined; false: it has not
// joined.
func (i *Identity) Joined() (Pin, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.root == nil {
		return Pin{}, false
	}
	return pinOf(i.root), true
}

// Valid returns nil while the certificate is valid, or why it is not.
func (i *Identity) Valid() error {
	cert, root := i.both()
	if cert == nil {
		return proto.Errorf(proto.ErrUnauthenticated, "this agent has not joined a proxy")
	}
	_, err := verify([]*x509.Certificate{cert}, root, i.now())
	return err
}

// Due returns when the certificate is to be renewed, and when it expires.
func (i *Identity) Due() (renew, expires time.Time) {
	cert, _ := i.both()
	if cert == nil {
		return time.Time{}, time.Time{}
	}
	return due(cert), cert.NotAfter
}

func (i *Identity) both() (cert, root *x509.Certificate) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.cert, i.root
}

// Request returns a request for a certificate.
func (i *Identity) Request() ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, i.key)
}

// Keep takes the answer to Request, the agent's certificate and its authority's in DER,
// and stores them. They must be of the authority of a pin.
func (i *Identity) Keep(chain [][]byte, pin Pin) error {
	wrong := proto.Errorf(proto.ErrBadGateway, "the proxy answered with a certificate that this agent cannot use")
	if len(chain) != 2 {
		return wrong
	}
	cert, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return wrong
	}
	root, err := x509.ParseCertificate(chain[1])
	if err != nil || pinOf(root) != pin {
		return wrong
	}
	role, err := verify([]*x509.Certificate{cert}, root, i.now())
	if err != nil {
		return err
	}
	if role != (Role{Agent, i.id}) || !i.key.PublicKey.Equal(cert.PublicKey) {
		return wrong
	}
	text, err := encode(i.key, cert, root)
	if err == nil {
		err = i.store.WriteFile(identityFile, text)
	}
	if err != nil {
		return fmt.Errorf("store the agent's certificate: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.cert, i.root = cert, root
	return nil
}

// ServerConfig returns how the agent serves its proxy.
func (i *Identity) ServerConfig() *tls.Config { return serverConfig(i.certificate) }

func (i *Identity) certificate() (*tls.Certificate, error) {
	cert, root := i.both()
	if cert == nil {
		return nil, i.Valid()
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw, root.Raw}, PrivateKey: i.key, Leaf: cert}, nil
}

// Verify returns the role of the client that has shown a chain of certificates.
func (i *Identity) Verify(chain []*x509.Certificate) (Role, error) {
	_, root := i.both()
	if root == nil {
		return Role{}, i.Valid()
	}
	return verify(chain, root, i.now())
}

// Dial returns how the agent dials its proxy: no other server gets past the handshake.
func (i *Identity) Dial() *tls.Config {
	cfg := dialConfig(func(chain []*x509.Certificate) error {
		role, err := i.Verify(chain)
		if err == nil && role.Kind != Proxy {
			err = proto.Errorf(proto.ErrUnauthenticated, "an %s answers there, not the proxy", role.Kind)
		}
		return err
	})
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return i.certificate() }
	return cfg
}
