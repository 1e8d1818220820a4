package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"path"
	"strings"

	"github.com/caddyserver/certmagic"
	"github.com/hashicorp/go-hclog"
	"github.com/mholt/acmez/v3/acme"
)

// issuer asks the authority for certificates, with an account that the authority knows.
//
// certmagic would go on for ever with one that was revoked. Nor does it name the
// certificate that a new one replaces (RFC 9773) when it is not an ACMEIssuer itself that
// it asks, which is right here: authorities refuse that from another account.
type issuer struct {
	*certmagic.ACMEIssuer
	storage certmagic.Storage
	client  *acme.Client
	logger  hclog.Logger
}

func newIssuer(magic *certmagic.Config, template certmagic.ACMEIssuer, logger hclog.Logger) *issuer {
	web := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: template.TrustedRoots, MinVersion: tls.VersionTLS12}}
	i := &issuer{ACMEIssuer: certmagic.NewACMEIssuer(magic, template), storage: magic.Storage, logger: logger}
	i.client = &acme.Client{Directory: i.CA, HTTPClient: &http.Client{Transport: web, Timeout: certmagic.HTTPTimeout}}
	return i
}

// Issue implements certmagic.Issuer. An account that the authority does not know, or has
// revoked, is replaced.
func (i *issuer) Issue(ctx context.Context, csr *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	accounts := path.Join("acme", certmagic.StorageKeys.Safe(i.IssuerKey()), "users")
	if i.refused(ctx, accounts) {
		i.logger.Warn("the authority serves this proxy's account no longer; another is registered", "authority", i.CA)
		if err := i.storage.Delete(ctx, accounts); err != nil {
			return nil, err
		}
	}
	return i.ACMEIssuer.Issue(ctx, csr)
}

// refused reports whether the authority says that it serves an account no longer. What
// it says of other matters, and whether it answers at all, the order itself will show.
func (i *issuer) refused(ctx context.Context, accounts string) bool {
	files, _ := i.storage.List(ctx, accounts, true) // none: there is no account yet
	for _, file := range files {
		if !strings.HasSuffix(file, ".key") {
			continue
		}
		text, err := i.storage.Load(ctx, file)
		if err != nil {
			continue
		}
		key, err := certmagic.PEMDecodePrivateKey(text)
		if err != nil {
			return true
		}
		_, err = i.client.GetAccount(ctx, acme.Account{PrivateKey: key})
		problem := acme.Problem{}
		if errors.As(err, &problem) && (problem.Type == acme.ProblemTypeAccountDoesNotExist || problem.Type == acme.ProblemTypeUnauthorized) {
			return true
		}
	}
	return false
}
