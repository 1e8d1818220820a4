package store

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

const (
	secretLength = 32 // bytes
	// engineName is whom a secret's certificates name. Names add nothing: who has the secret
	// can make any.
	engineName = "ryo-engine"
	// openToOthers are the permissions that a secret's file must not have.
	openToOthers fs.FileMode = 0o007
)

// Secret is what the nodes of an engine, and the proxies that use it, have in common. From it
// follow an authority and a certificate for each process, made in its memory: who does not
// have the secret is refused in the first bytes of TLS, by nodes and proxies alike, and the
// secret itself is never sent.
type Secret struct{ tls *tls.Config }

// NewSecret writes a new secret to a file, which must not be there.
func NewSecret(path string) error {
	secret := make([]byte, secretLength)
	_, _ = rand.Read(secret) // it never fails
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, hex.EncodeToString(secret))
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// ReadSecret reads a file that NewSecret has written. One that every user of the machine may
// read is an ErrForbidden.
func ReadSecret(path string) (*Secret, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&openToOthers != 0 {
		return nil, proto.Errorf(proto.ErrForbidden, "every user of this machine may read the secret %s", path).WithHint("chmod 600 " + path)
	}
	text, err := io.ReadAll(io.LimitReader(file, 2*secretLength+2))
	if err != nil {
		return nil, err
	}
	secret, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) != secretLength {
		return nil, proto.Errorf(proto.ErrInvalid, "%s is no secret of an engine", path).WithHint("proxy engine secret FILE makes one")
	}
	config, err := secretTLS(secret)
	if err != nil {
		return nil, err
	}
	return &Secret{config}, nil
}

// secretTLS is how processes that have a secret talk to each other, on either side.
func secretTLS(secret []byte) (*tls.Config, error) {
	seed, err := hkdf.Key(sha256.New, secret, nil, "ryo engine authority", ed25519.SeedSize)
	if err != nil {
		return nil, err
	}
	authority := ed25519.NewKeyFromSeed(seed)
	// Their time is that of the secret: it holds until somebody makes another one.
	always := x509.Certificate{
		NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC),
		BasicConstraintsValid: true,
	}
	root := always
	root.SerialNumber, root.Subject, root.IsCA, root.KeyUsage = big.NewInt(1), pkix.Name{CommonName: engineName + " authority"}, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(nil, &root, &root, authority.Public(), authority)
	if err != nil {
		return nil, err
	}
	trusted, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	public, own, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	leaf := always
	leaf.SerialNumber, leaf.Subject, leaf.DNSNames = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: engineName}, []string{engineName}
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if der, err = x509.CreateCertificate(nil, &leaf, trusted, public, authority); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(trusted)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: engineName, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: own}},
	}, nil
}
