package acme_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proxy"
	"github.com/Ishan27g/ryo-faas/proxy/acme"
)

// TestMain lets the test binary be the program, so that a test runs a real process.
func TestMain(m *testing.M) {
	guarded := testkit.Guarded(m)
	if os.Getenv("ACME_TEST_PROXY") != "" {
		os.Exit(proxy.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(guarded.Run())
}

// program is a proxy that gets a certificate for localhost.
type program struct {
	*exec.Cmd
	addr   string // of its port for functions
	root   *x509.CertPool
	starts atomic.Int32 // how often it has said that it has started

	mu   sync.Mutex // guards the field below
	says bytes.Buffer
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.says.Write(b)
}

func (p *program) said(text string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Contains(p.says.String(), text)
}

// started counts what a proxy says once it has started.
type started struct{ *program }

func (s started) Write(b []byte) (int, error) {
	s.starts.Add(int32(bytes.Count(b, []byte("GRPC server started"))))
	return len(b), nil
}

// freePort is an address at which nobody listens.
func freePort(t *testing.T) (addr string, port int) {
	t.Helper()
	addr = testkit.Address(t)
	at, err := netip.ParseAddrPort(addr)
	require.NoError(t, err)
	return addr, int(at.Port())
}

// startProgram starts a proxy, which is stopped with the test.
func startProgram(t *testing.T, a *acme.Authority, addr string) *program {
	t.Helper()
	dir := t.TempDir()
	roots := filepath.Join(dir, "roots.pem")
	require.NoError(t, os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), 0o600))
	p := &program{addr: addr, root: a.Root}
	p.Cmd = exec.CommandContext(context.Background(), os.Args[0], "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-functions", addr,
		"-domain", "localhost", "-acme", a.Directory(), "-dir", dir)
	p.Env = append(os.Environ(), "ACME_TEST_PROXY=1", "SSL_CERT_FILE="+roots, "GORACE=atexit_sleep_ms=0")
	p.Stdout, p.Stderr = started{p}, p
	require.NoError(t, p.Start())
	t.Cleanup(func() {
		_ = p.Process.Signal(syscall.SIGTERM)
		assert.NoError(t, p.Wait(), p.says.String())
	})
	return p
}

// get calls a function that is not there.
func (p *program) get(t *testing.T, scheme string) (*http.Response, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.root, ServerName: "localhost"}, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+p.addr+"/functions/hello", http.NoBody)
	require.NoError(t, err)
	rsp, err := tr.RoundTrip(req)
	if err == nil {
		_ = rsp.Body.Close()
	}
	return rsp, err
}

// serial returns the number of the certificate that a caller is shown, "" for none that it
// trusts.
func (p *program) serial(t *testing.T) string {
	t.Helper()
	rsp, err := p.get(t, "https://")
	if err != nil {
		return ""
	}
	return rsp.TLS.PeerCertificates[0].SerialNumber.String()
}

func (p *program) certified(t *testing.T) (serial string) {
	t.Helper()
	require.Eventually(t, func() bool { serial = p.serial(t); return serial != "" }, testkit.Patience, 50*time.Millisecond, "there is no certificate")
	return serial
}

// upgrade asks the proxy to become its program anew, and returns when it begins to.
func (p *program) upgrade(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return p.starts.Load() == 1 }, testkit.Patience, 10*time.Millisecond)
	require.NoError(t, p.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool { return p.said("another process serves") }, testkit.Patience, 10*time.Millisecond)
}

// upgraded waits until it has become it.
func (p *program) upgraded(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return p.starts.Load() == 2 }, testkit.Patience, 10*time.Millisecond)
}

func TestAProxyGetsTheCertificateOfItsDomain(t *testing.T) {
	addr, port := freePort(t)
	p := startProgram(t, acme.NewAuthority(t, port, acme.Lasting), addr)
	p.certified(t)
	rsp, err := p.get(t, "https://")
	require.NoError(t, err)
	assert.Equal(t, http.StatusNotFound, rsp.StatusCode)
	assert.NotEmpty(t, rsp.Header.Get("Strict-Transport-Security"))
	rsp, err = p.get(t, "http://")
	require.NoError(t, err)
	assert.Equal(t, http.StatusPermanentRedirect, rsp.StatusCode)
}

// What was there serves all the time, and the authority is not asked again.
func TestACertificateServesOnThroughAnUpgrade(t *testing.T) {
	addr, port := freePort(t)
	a := acme.NewAuthority(t, port, acme.Lasting)
	p := startProgram(t, a, addr)
	serial := p.certified(t)
	orders := a.Orders()
	over, callers := make(chan struct{}), sync.WaitGroup{}
	for range 2 {
		callers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					assert.Equal(t, serial, p.serial(t))
				}
			}
		})
	}
	p.upgrade(t)
	p.upgraded(t)
	assert.Equal(t, serial, p.serial(t))
	close(over)
	callers.Wait()
	assert.Equal(t, orders, a.Orders())
}

// The order that a proxy has begun is finished by it, though another process answers the
// authority's challenge by then.
func TestACertificateThatIsOrderedBeforeAnUpgradeIsNotLost(t *testing.T) {
	addr, port := freePort(t)
	a := acme.NewAuthority(t, port, acme.Lasting)
	order := a.Hold()
	p := startProgram(t, a, addr)
	<-order.Begun()
	idle := p.stays(t)
	p.upgrade(t)
	order.Release()
	serial := p.certified(t)
	require.NoError(t, idle.Close())
	p.upgraded(t)
	assert.Equal(t, serial, p.serial(t))
	assert.EqualValues(t, 1, a.Orders())
}

// An order that takes longer than the old program lives is made anew.
func TestAnOrderThatAnUpgradeEndsIsMadeAnew(t *testing.T) {
	addr, port := freePort(t)
	a := acme.NewAuthority(t, port, acme.Lasting)
	order := a.Hold()
	p := startProgram(t, a, addr)
	<-order.Begun()
	p.upgrade(t)
	p.upgraded(t)
	serial := p.certified(t)
	assert.Equal(t, serial, p.serial(t))
	assert.False(t, p.said("is stale"), "a lock was left behind")
}

// stays opens a connection that is between two requests, for which a program that is
// replaced waits for a while.
func (p *program) stays(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "GET /functions/hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	rsp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.False(t, rsp.Close)
	return conn
}
