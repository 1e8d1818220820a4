package pki

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Ishan27g/ryo-faas/proto"
)

// Store keeps small files that no other user may read. A file that is not there is an
// fs.ErrNotExist; WriteFile returns once the new content is safe. Where others share the
// files, one that they have written since it was read here is an ErrConflict of WriteFile.
type Store interface {
	ReadFile(name string) ([]byte, error)
	WriteFile(name string, data []byte) error
}

// The files of an authority.
const (
	authorityFile = "authority.pem"
	membersFile   = "members.json"
)

const (
	authorityLife = 20 * 365 * 24 * time.Hour
	life          = 24 * time.Hour   // of a certificate
	leeway        = 10 * time.Minute // by which clocks may differ
	tokenLife     = time.Hour
	tokenMemory   = 24 * time.Hour // how long the reason is known why a token is no longer good
	maxTokens     = 1000           // that are remembered
	maxMembers    = 1024           // as many agents as a proxy can hold
	maxConflicts  = 10             // times that a change is made anew since others made one
)

// Authority says which agents belong to a proxy. Its methods may be called concurrently.
type Authority struct {
	store Store
	key   *ecdsa.PrivateKey
	cert  *x509.Certificate
	life  time.Duration    // of the certificates that it issues
	now   func() time.Time // the clock

	mu    sync.Mutex // guards the fields below:
	known membersOnDisk
	own   *tls.Certificate // the proxy's
}

// Member is an agent that has joined.
type Member struct {
	ID     string    `json:"id"`
	Addr   string    `json:"addr"`
	Key    string    `json:"key"` // the SHA-256 of its public key, in hexadecimal digits
	Joined time.Time `json:"joined"`
}

type membersOnDisk struct {
	Tokens  []tokenOnDisk `json:"tokens"`
	Members []Member      `json:"members"`
}

// tokenOnDisk is a join token without its secret.
type tokenOnDisk struct {
	Hash    string    `json:"hash"` // of the secret
	Expires time.Time `json:"expires"`
	Used    bool      `json:"used,omitempty"`
}

// OpenAuthority returns the authority of a store, which it makes if there is none.
func OpenAuthority(store Store) (*Authority, error) {
	a := &Authority{store: store, life: life, now: time.Now}
	text, err := store.ReadFile(authorityFile)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = newAuthority(a.now())
		if err == nil {
			err = store.WriteFile(authorityFile, text)
		}
		if errors.Is(err, proto.ErrConflict) { // another proxy was first
			text, err = store.ReadFile(authorityFile)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the authority: %w", err)
	}
	key, certs, err := decode(text)
	if err != nil {
		return nil, proto.Errorf(proto.ErrInternal, "the authority in %s cannot be read: %w", authorityFile, err).
			WithHint("put the file back; without it, remove it and let all agents join again")
	}
	a.key, a.cert = key, certs[0]
	if err := a.reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// Reload reads again who has joined, which other proxies may have changed.
func (a *Authority) Reload() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reload()
}

// reload is Reload; a.mu is held, or nobody has a yet.
func (a *Authority) reload() error {
	var known membersOnDisk
	data, err := a.store.ReadFile(membersFile)
	if errors.Is(err, fs.ErrNotExist) {
		a.known = known
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil {
		return proto.Errorf(proto.ErrInternal, "the agents that have joined, in %s, cannot be read: %w", membersFile, err).
			WithHint("put the file back; without it, remove it and let all agents join again")
	}
	a.known = known
	return nil
}

func newAuthority(now time.Time) ([]byte, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	about := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "ryo authority"},
		NotBefore:             now.Add(-leeway),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return encode(key, cert)
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // it never fails
	return new(big.Int).SetBytes(b)
}

// issue returns the certificate of a role for a key.
func (a *Authority) issue(role Role, key any) (*x509.Certificate, error) {
	now := a.now()
	about := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: string(role.Kind) + " " + role.ID},
		URIs:         []*url.URL{role.url()},
		DNSNames:     []string{ServerName},
		NotBefore:    now.Add(-leeway),
		NotAfter:     now.Add(a.life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, about, a.cert, key, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Token makes a token with which one agent may join, and says until when.
func (a *Authority) Token() (Token, time.Time, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t, expires := newToken(pinOf(a.cert)), a.now().Add(tokenLife)
	err := a.change(func(known *membersOnDisk) error {
		known.Tokens = slices.DeleteFunc(known.Tokens, func(t tokenOnDisk) bool { return a.now().After(t.Expires.Add(tokenMemory)) })
		if len(known.Tokens) >= maxTokens {
			return proto.Errorf(proto.ErrTooMany, "%d join tokens were made in a day", maxTokens).
				WithHint("use those, or try again tomorrow")
		}
		known.Tokens = append(known.Tokens, tokenOnDisk{Hash: hash(t.Secret), Expires: expires})
		return nil
	})
	if err != nil {
		return Token{}, time.Time{}, err
	}
	return t, expires, nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// change stores what edit makes of what is known, which may be changed, and takes it over
// once it is safe. If another proxy has changed it meanwhile, edit is called again. a.mu is
// held.
func (a *Authority) change(edit func(*membersOnDisk) error) error {
	for conflicts := 0; ; conflicts++ {
		known := membersOnDisk{Tokens: slices.Clone(a.known.Tokens), Members: slices.Clone(a.known.Members)}
		if err := edit(&known); err != nil {
			return err
		}
		data, err := json.MarshalIndent(known, "", "  ")
		if err == nil {
			err = a.store.WriteFile(membersFile, append(data, '\n'))
		}
		if errors.Is(err, proto.ErrConflict) && conflicts < maxConflicts {
			if err := a.reload(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("remember the agents that have joined: %w", err)
		}
		a.known = known
		return nil
	}
}

// Admit makes an agent a member if secret is that of a token, and uses the token up. It
// returns the certificate and the authority's, in DER. A member can join again only
// with its key.
func (a *Authority) Admit(secret []byte, id, addr string, csr []byte) ([][]byte, error) {
	key, err := keyOf(csr, id)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	err = a.change(func(known *membersOnDisk) error {
		i, err := a.find(known, secret)
		if err != nil {
			return err
		}
		known.Tokens[i].Used = true
		m := Member{ID: id, Addr: addr, Key: hash(key.RawSubjectPublicKeyInfo), Joined: a.now().UTC().Truncate(time.Second)}
		switch j := slices.IndexFunc(known.Members, func(m Member) bool { return m.ID == id }); {
		case j >= 0 && known.Members[j].Key != m.Key:
			return proto.Errorf(proto.ErrConflict, "agent %s has joined already, from %s and with another key", id, known.Members[j].Addr).
				WithHint("if that agent is lost, remove it first: proxyCli agents rm " + id)
		case j >= 0:
			known.Members[j] = m
		case len(known.Members) >= maxMembers:
			return proto.Errorf(proto.ErrExhausted, "%d agents have joined, which is all that a proxy can hold", maxMembers).
				WithHint("proxyCli agents rm removes one")
		default:
			known.Members = append(known.Members, m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return a.chain(Role{Agent, id}, key.PublicKey)
}

// Valid returns why secret is not that of a token that is still good, or nil.
func (a *Authority) Valid(secret []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.find(&a.known, secret)
	return err
}

// find returns the token of a secret.
func (a *Authority) find(known *membersOnDisk, secret []byte) (int, error) {
	want := hash(secret)
	i := slices.IndexFunc(known.Tokens, func(t tokenOnDisk) bool { return subtle.ConstantTimeCompare([]byte(t.Hash), []byte(want)) == 1 })
	refuse := func(why string) (int, error) {
		return 0, proto.Errorf(proto.ErrUnauthenticated, "the join token %s", why).WithHint("proxyCli agents token makes another one")
	}
	switch {
	case i < 0:
		return refuse("is not one of this proxy")
	case known.Tokens[i].Used:
		return refuse("has been used: each is good for one agent")
	case a.now().After(known.Tokens[i].Expires):
		return refuse("expired at " + known.Tokens[i].Expires.UTC().Format(time.RFC3339))
	}
	return i, nil
}

// Renew returns a new certificate for a member, which keeps its key, and notes where the
// agent is now.
func (a *Authority) Renew(id, addr string, csr []byte) ([][]byte, error) {
	key, err := keyOf(csr, id)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	i, err := a.known.member(id)
	if err != nil {
		return nil, err
	}
	if a.known.Members[i].Key != hash(key.RawSubjectPublicKeyInfo) {
		return nil, proto.Errorf(proto.ErrForbidden, "agent %s has joined with another key", id)
	}
	if a.known.Members[i].Addr != addr {
		err := a.change(func(known *membersOnDisk) error {
			i, err := known.member(id)
			if err == nil {
				known.Members[i].Addr = addr
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return a.chain(Role{Agent, id}, key.PublicKey)
}

// member returns the index of a member.
func (known *membersOnDisk) member(id string) (int, error) {
	if i := slices.IndexFunc(known.Members, func(m Member) bool { return m.ID == id }); i >= 0 {
		return i, nil
	}
	return 0, proto.Errorf(proto.ErrForbidden, "agent %s was removed from this proxy, or never joined it", id).
		WithHint("to let it join: proxyCli agents token prints the command")
}

// keyOf returns a certificate request, whose sender has proven to have its key.
func keyOf(csr []byte, id string) (*x509.CertificateRequest, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err == nil {
		err = req.CheckSignature()
	}
	if err != nil {
		return nil, proto.Errorf(proto.ErrInvalid, "the certificate request of agent %s cannot be used: %w", id, err)
	}
	if _, ok := req.PublicKey.(*ecdsa.PublicKey); !ok {
		return nil, proto.Errorf(proto.ErrInvalid, "the certificate request of agent %s has no ECDSA key", id)
	}
	return req, nil
}

func (a *Authority) chain(role Role, key any) ([][]byte, error) {
	cert, err := a.issue(role, key)
	if err != nil {
		return nil, err
	}
	return [][]byte{cert.Raw, a.cert.Raw}, nil
}

// Remove removes a member, and reports whether there was one. Its certificate is
// refused from now on.
func (a *Authority) Remove(id string) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := a.change(func(known *membersOnDisk) error {
		i, err := known.member(id)
		if err == nil {
			known.Members = slices.Delete(known.Members, i, i+1)
		}
		return err
	})
	if errors.Is(err, proto.ErrForbidden) { // it is none
		return false, nil
	}
	return err == nil, err
}

// Members returns the agents that have joined, ordered by address.
func (a *Authority) Members() []Member {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := slices.Clone(a.known.Members)
	slices.SortFunc(list, func(a, b Member) int { return strings.Compare(a.Addr, b.Addr) })
	return list
}

// ServerConfig returns how the proxy serves its agents.
func (a *Authority) ServerConfig() *tls.Config { return serverConfig(a.certificate) }

// certificate returns the proxy's own certificate, which is made anew when two thirds of
// its time have passed.
func (a *Authority) certificate() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.own != nil && a.now().Before(due(a.own.Leaf)) {
		return a.own, nil
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	pin := pinOf(a.cert)
	cert, err := a.issue(Role{Proxy, hex.EncodeToString(pin[:8])}, key.Public())
	if err != nil {
		return nil, err
	}
	a.own = &tls.Certificate{Certificate: [][]byte{cert.Raw, a.cert.Raw}, PrivateKey: key, Leaf: cert}
	return a.own, nil
}

// due returns when a certificate is to be renewed: after two thirds of its time.
func due(cert *x509.Certificate) time.Time {
	issued := cert.NotBefore.Add(leeway)
	return issued.Add(cert.NotAfter.Sub(issued) / 3 * 2)
}

// Verify returns the role of the client that has shown a chain of certificates. The
// certificate of an agent that is not a member is an error.
func (a *Authority) Verify(chain []*x509.Certificate) (Role, error) {
	role, err := verify(chain, a.cert, a.now())
	if err != nil || role.Kind != Agent {
		return role, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.known.member(role.ID); err != nil {
		return Role{}, err
	}
	return role, nil
}

// Dial returns how the proxy dials the agent of an id: no other server gets past the
// handshake.
func (a *Authority) Dial(id string) *tls.Config {
	cfg := dialConfig(func(chain []*x509.Certificate) error {
		role, err := a.Verify(chain)
		if want := (Role{Agent, id}); err == nil && role != want {
			return proto.Errorf(proto.ErrUnauthenticated, "%s %s answers there, not agent %s", role.Kind, role.ID, id).
				WithHint("if it is to be called there, let it join: proxyCli agents token prints the command")
		}
		return err
	})
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return a.certificate() }
	return cfg
}
