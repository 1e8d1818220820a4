package acme

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/hashicorp/go-hclog"
	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// patience bounds every wait of a test.
const patience = testkit.Patience

// Lasting is how long, in seconds, certificates are valid that are not to be renewed within
// a test. pebble suggests (RFC 9773) to renew within the two days about the end of the
// second third: one that is valid for less is due at any time.
const Lasting = 90 * 24 * 3600

// Authority is pebble, the authority that Let's Encrypt has for tests.
type Authority struct {
	*httptest.Server
	Root    *x509.CertPool // of the certificates that it issues
	front   atomic.Pointer[front]
	limits  atomic.Bool // it refuses new orders
	refused atomic.Int64
	orders  atomic.Int64
	holds   atomic.Pointer[Held] // new orders; nil: it does not
}

// front is what the authority knows, and answers with it.
type front struct {
	http.Handler
	store *db.MemoryStore
}

// Held is an order that is not answered, or not yet.
type Held struct{ begun, left, release chan struct{} }

// Hold makes it answer the next order only once that is released.
func (a *Authority) Hold() *Held {
	h := &Held{begun: make(chan struct{}), left: make(chan struct{}), release: make(chan struct{})}
	a.holds.Store(h)
	return h
}

// Begun is closed when the order has come.
func (h *Held) Begun() <-chan struct{} { return h.begun }

// Release lets the order be answered.
func (h *Held) Release() { close(h.release) }

// Orders is how many orders were answered.
func (a *Authority) Orders() int64 { return a.orders.Load() }

// NewAuthority starts one that checks names at a port and issues certificates for some
// seconds.
func NewAuthority(t *testing.T, port int, valid uint64) *Authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	a := &Authority{Root: x509.NewCertPool()}
	a.begin(port, valid)
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/order-plz") {
			if h := a.holds.Swap(nil); h != nil {
				body, _ := io.ReadAll(r.Body) // else the server would not notice that the client leaves
				close(h.begun)
				select {
				case <-r.Context().Done():
					close(h.left)
					return
				case <-h.release:
					r.Body = io.NopCloser(bytes.NewReader(body))
				}
			}
			if a.limits.Load() {
				a.refused.Add(1)
				w.Header().Set("Content-Type", "application/problem+json")
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(http.StatusTooManyRequests)
				fmt.Fprint(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates","status":429}`)
				return
			}
			a.orders.Add(1)
		}
		a.front.Load().ServeHTTP(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

// begin makes it an authority that knows nobody yet.
func (a *Authority) begin(port int, valid uint64) {
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {Description: "for tests", ValidityPeriod: valid}})
	a.Root.AddCert(issuer.GetRootCert(0).Cert)
	web := wfe.New(quiet, store, va.New(quiet, port, port, false, "", store), issuer, nil, false, false, 1, 1)
	a.front.Store(&front{web.Handler(), store})
}

// revoke revokes the account of a folder.
func (a *Authority) revoke(t *testing.T, dir string) {
	t.Helper()
	key, err := certmagic.PEMDecodePrivateKey(accountKey(t, dir))
	require.NoError(t, err)
	store := a.front.Load().store
	account, err := store.GetAccountByKey(key.Public())
	require.NoError(t, err)
	revoked := *account
	revoked.Status = "deactivated" // as pebble calls it, whoever does it
	require.NoError(t, store.UpdateAccountByID(account.ID, &revoked))
}

// accountKey returns the key of the one account of a folder.
func accountKey(t *testing.T, dir string) []byte {
	t.Helper()
	keys, err := filepath.Glob(filepath.Join(dir, "acme", "*", "users", "*", "*.key"))
	require.NoError(t, err)
	require.Len(t, keys, 1)
	key, err := os.ReadFile(keys[0])
	require.NoError(t, err)
	return key
}

// Directory is where clients begin.
func (a *Authority) Directory() string { return a.URL + wfe.DirectoryPath }

// trust are the roots of the authority's own web server.
func (a *Authority) trust() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	return pool
}

// served is a Manager behind a listener.
type served struct {
	*Manager
	addr string
}

// listen opens the port at which names are checked.
func listen(t *testing.T) (l net.Listener, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l, l.Addr().(*net.TCPAddr).Port
}

// serve serves TLS with what a Manager gets.
func serve(t *testing.T, l net.Listener, a *Authority, dir string) *served {
	t.Helper()
	return serveFrom(t, l, a, dir, nil)
}

// serveFrom is serve with files that others share.
func serveFrom(t *testing.T, l net.Listener, a *Authority, dir string, files Files) *served {
	t.Helper()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	var number int
	_, err := fmt.Sscan(port, &number)
	require.NoError(t, err)
	m := New(Config{
		Dir: dir, Files: files, Names: []string{"localhost"}, URL: a.Directory(), Host: "127.0.0.1", Port: number, Roots: a.trust(),
		Logger: hclog.NewNullLogger(), check: 200 * time.Millisecond,
	})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") }), ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: patience}
	go func() { _ = srv.Serve(tls.NewListener(l, m.TLS())) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(t.Context())
	}()
	t.Cleanup(func() { // after the test's context
		<-done
		assert.NoError(t, srv.Close())
	})
	return &served{Manager: m, addr: l.Addr().String()}
}

// serial returns the number of the certificate that a caller is shown, "" for none that
// it trusts.
func (s *served) serial(a *Authority) string {
	conn, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: a.Root, ServerName: "localhost"})
	if err != nil {
		return ""
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func (s *served) eventually(t *testing.T, a *Authority, is func(serial string) bool, what string) (serial string) {
	t.Helper()
	require.Eventually(t, func() bool { serial = s.serial(a); return is(serial) }, patience, 50*time.Millisecond, what)
	return serial
}

func some(serial string) bool { return serial != "" }

// A certificate is renewed before it ends, though the account was revoked, and callers are
// served all the time.
func TestACertificateIsIssuedKeptAndRenewedUnderLoad(t *testing.T) {
	l, port := listen(t)
	a, dir := NewAuthority(t, port, 12), t.TempDir()
	s := serve(t, l, a, dir)
	first := s.eventually(t, a, some, "a certificate is issued")
	revoked := accountKey(t, dir)
	a.revoke(t, dir)

	var callers sync.WaitGroup
	var renewed atomic.Bool
	var calls atomic.Int64
	for i := range 4 {
		web := &http.Transport{DisableKeepAlives: i > 0, TLSClientConfig: &tls.Config{RootCAs: a.Root, ServerName: "localhost"}}
		callers.Go(func() {
			defer web.CloseIdleConnections()
			for !renewed.Load() {
				rsp, err := (&http.Client{Transport: web, Timeout: patience}).Get("https://" + s.addr)
				if !assert.NoError(t, err, "a caller was not served") {
					return
				}
				_ = rsp.Body.Close()
				calls.Add(1)
			}
		})
	}
	s.eventually(t, a, func(serial string) bool {
		return assert.NotEmpty(t, serial, "a caller was not served") && serial != first
	}, "it is renewed")
	renewed.Store(true)
	callers.Wait()
	t.Logf("%d calls", calls.Load())
	assert.NotEqual(t, revoked, accountKey(t, dir))

	again, _ := listen(t)
	next := serve(t, again, a, dir)
	next.eventually(t, a, some, "what was kept serves after a restart")
}

// An authority that has begun anew knows no account.
func TestAnAccountThatTheAuthorityHasForgottenIsReplaced(t *testing.T) {
	l, port := listen(t)
	a, dir := NewAuthority(t, port, Lasting), t.TempDir()
	s := serve(t, l, a, dir)
	s.eventually(t, a, some, "a certificate is issued")
	known := accountKey(t, dir)
	renew := func() error { return s.magic.RenewCertSync(t.Context(), "localhost", true) }
	require.NoError(t, renew())
	assert.Equal(t, known, accountKey(t, dir), "the authority knows it")
	a.begin(port, Lasting)
	require.NoError(t, renew())
	assert.NotEqual(t, known, accountKey(t, dir))
}

func TestManagersThatShareFilesServeOneCertificate(t *testing.T) {
	l, port := listen(t)
	a, files := NewAuthority(t, port, Lasting), newInMemory()
	first := serveFrom(t, l, a, t.TempDir(), files)
	serial := first.eventually(t, a, some, "a certificate is issued")
	a.limits.Store(true)
	other, _ := listen(t)
	second := serveFrom(t, other, a, t.TempDir(), files)
	assert.Equal(t, serial, second.eventually(t, a, some, "the other serves with it"))
	assert.Zero(t, a.refused.Load(), "and does not ask")
}

func TestTheCertificateServesOnWhileTheAuthorityRefuses(t *testing.T) {
	l, port := listen(t)
	a := NewAuthority(t, port, Lasting)
	s := serve(t, l, a, t.TempDir())
	s.eventually(t, a, some, "a certificate is issued")
	a.limits.Store(true)
	serial := s.serial(a)
	s.Want("other.localhost")
	require.Eventually(t, func() bool { return a.refused.Load() > 0 }, patience, 10*time.Millisecond)
	assert.Equal(t, serial, s.serial(a))
}

func TestANameThatNobodyWantsAnyLongerIsNotAskedFor(t *testing.T) {
	l, port := listen(t)
	a := NewAuthority(t, port, Lasting)
	s := serve(t, l, a, t.TempDir())
	s.eventually(t, a, some, "a certificate is issued")
	cert := certmagic.Certificate{Names: []string{"other.localhost"}}

	order := a.Hold()
	s.Want("other.localhost")
	within(t, order.begun, "the certificate is not asked for")
	_, err := s.renewal(cert)
	require.NoError(t, err)

	s.Want()
	within(t, order.left, "the order goes on")
	_, err = s.renewal(cert)
	require.ErrorIs(t, err, errUnwanted)
	cert.Names = []string{"localhost"}
	_, err = s.renewal(cert)
	require.NoError(t, err)
}

func within(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal(what)
	}
}
