package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Kind is what a program is.
type Kind string

// The kinds of programs that have certificates.
const (
	Proxy Kind = "proxy"
	Agent Kind = "agent"
)

// Role is what a verified certificate says of its program. The zero value is no role.
type Role struct {
	Kind Kind
	ID   string
}

// The names in certificates.
const (
	scheme = "spiffe"
	domain = "ryo"
)

// maxID bounds an id, in bytes.
const maxID = 64

func (r Role) url() *url.URL {
	return &url.URL{Scheme: scheme, Host: domain, Path: "/" + string(r.Kind) + "/" + r.ID}
}

// roleOf returns the role in a certificate.
func roleOf(cert *x509.Certificate) (Role, error) {
	none := proto.Errorf(proto.ErrUnauthenticated, "the certificate does not say whose it is")
	if len(cert.URIs) != 1 {
		return Role{}, none
	}
	u := cert.URIs[0]
	kind, id, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	r := Role{Kind: Kind(kind), ID: id}
	if r.Kind != Proxy && r.Kind != Agent || CheckID(id) != nil || u.String() != r.url().String() {
		return Role{}, none
	}
	return r, nil
}

// CheckID refuses what cannot be an agent's id.
func CheckID(id string) error {
	ok := id != "" && len(id) <= maxID && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && r != '-'
	})
	if !ok {
		return proto.Errorf(proto.ErrInvalid, "%.*q is not an agent's id", maxID, id)
	}
	return nil
}

// verify returns the role that a chain proves at a time: a certificate, then those that
// lead to root.
func verify(chain []*x509.Certificate, root *x509.Certificate, now time.Time) (Role, error) {
	if len(chain) == 0 {
		return Role{}, proto.Errorf(proto.ErrUnauthenticated, "there is no certificate")
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Role{}, outOfTime(invalid.Cert, now)
	case err != nil:
		return Role{}, proto.Errorf(proto.ErrUnauthenticated, "the certificate is not of this cluster's authority").
			WithHint("join this proxy: proxyCli agents token prints the command")
	}
	return roleOf(chain[0])
}

// outOfTime says that a certificate is not valid at a time, and why that may be.
func outOfTime(cert *x509.Certificate, now time.Time) error {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	if now.Before(cert.NotBefore) {
		return proto.Errorf(proto.ErrUnauthenticated, "the certificate is valid from %s, and the clock says %s", stamp(cert.NotBefore), stamp(now)).
			WithHint("set the clocks of both machines")
	}
	return proto.Errorf(proto.ErrUnauthenticated, "the certificate expired at %s, and the clock says %s", stamp(cert.NotAfter), stamp(now)).
		WithHint("set the clocks of both machines; if they are right, join again: proxyCli agents token prints the command")
}

// Pin is the SHA-256 of an authority's public key.
type Pin [sha256.Size]byte

func pinOf(cert *x509.Certificate) Pin { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// The types of what is written as PEM.
const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

// encode returns a key and certificates as PEM.
func encode(key *ecdsa.PrivateKey, certs ...*x509.Certificate) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der})
	for _, c := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: c.Raw})...)
	}
	return text, nil
}

// decode reads what encode has written.
func decode(text []byte) (key *ecdsa.PrivateKey, certs []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case pemKey:
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, nil, err
			}
			key, _ = parsed.(*ecdsa.PrivateKey)
		case pemCertificate:
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, err
			}
			certs = append(certs, c)
		}
	}
	if key == nil || len(certs) == 0 {
		return nil, nil, errors.New("it has no key and certificate")
	}
	return key, certs, nil
}
