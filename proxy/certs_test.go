package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport"
)

// replaced writes a certificate and its key the way that tools do: beside the old files,
// then over them.
func replaced(t *testing.T, dir string, c testkit.Certificate) (cert, key string) {
	t.Helper()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, data := range map[string][]byte{cert: c.Cert, key: c.Key} {
		require.NoError(t, os.WriteFile(name+".new", data, 0o600))
		require.NoError(t, os.Rename(name+".new", name))
	}
	return cert, key
}

// serial is the number of the certificate that serves now.
func serial(t *testing.T, c *certFiles) string {
	t.Helper()
	c.due.Store(0) // a second has passed
	got, err := c.get(nil)
	require.NoError(t, err)
	return got.Leaf.SerialNumber.String()
}

func TestACertificateIsReadAgainWhenItsFilesChange(t *testing.T) {
	authority := testkit.NewAuthority(t)
	dir := t.TempDir()
	cert, key := replaced(t, dir, authority.Issue(t, "a.example"))
	c, err := openCert(cert, key, hclog.NewNullLogger())
	require.NoError(t, err)
	first := serial(t, c)
	assert.Equal(t, first, serial(t, c))

	replaced(t, dir, authority.Issue(t, "a.example"))
	second := serial(t, c)
	assert.NotEqual(t, first, second)

	next := authority.Issue(t, "a.example")
	require.NoError(t, os.WriteFile(cert, next.Cert, 0o600))
	assert.Equal(t, second, serial(t, c), "the key is not there yet")
	require.NoError(t, os.WriteFile(key, next.Key, 0o600))
	third := serial(t, c)
	assert.NotEqual(t, second, third)

	require.NoError(t, os.Remove(cert))
	assert.Equal(t, third, serial(t, c))
	require.NoError(t, os.WriteFile(cert, []byte("nothing"), 0o600))
	assert.Equal(t, third, serial(t, c))
}

func TestCallsGoOnWhileTheCertificateIsReplaced(t *testing.T) {
	authority := testkit.NewAuthority(t)
	dir := t.TempDir()
	cert, key := replaced(t, dir, authority.Issue(t, "localhost"))
	n := newNode(t)
	p := spawn(t, "-dir", t.TempDir(), "-agents", n.addr, "-tls-cert", cert, "-tls-key", key)
	trust := &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost"}
	cli := transport.NewAgent(transport.HTTP, p.http, transport.WithTLS(trust))
	defer cli.Close()
	rows, err := cli.Deploy(t.Context(), &proto.FunctionJson{Name: "Hello", Dir: source(t, "Hello").GetDir(), Wait: true})
	require.NoError(t, err)
	require.Len(t, rows, 1)
	assert.Equal(t, "https://"+p.http+"/functions/hello", rows[0].GetUrl())

	var callers sync.WaitGroup
	var calls atomic.Int64
	var mu sync.Mutex
	serials, stop := map[string]bool{}, make(chan struct{})
	for i := range 4 {
		tr := &http.Transport{TLSClientConfig: trust.Clone(), DisableKeepAlives: i%2 == 0, ForceAttemptHTTP2: i%2 == 1}
		tr.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
			mu.Lock()
			defer mu.Unlock()
			serials[serialOf(s.PeerCertificates)] = true
			return nil
		}
		callers.Go(func() {
			defer tr.CloseIdleConnections()
			client := http.Client{Transport: tr, Timeout: patience}
			for {
				select {
				case <-stop:
					return
				default:
				}
				rsp, err := client.Get("https://" + p.http + "/functions/hello")
				if !assert.NoError(t, err) {
					return
				}
				assert.Equal(t, http.StatusOK, rsp.StatusCode)
				_ = rsp.Body.Close()
				calls.Add(1)
			}
		})
	}
	seen := func(n int) func() bool {
		return func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(serials) >= n
		}
	}
	require.Eventually(t, seen(1), patience, 10*time.Millisecond)
	for i := range 2 {
		replaced(t, dir, authority.Issue(t, "localhost"))
		require.Eventually(t, seen(i+2), patience, 10*time.Millisecond, "new connections get the new one")
	}
	close(stop)
	callers.Wait()
	assert.Positive(t, calls.Load())
	t.Logf("%d calls", calls.Load())
}

func serialOf(chain []*x509.Certificate) string { return fmt.Sprint(chain[0].SerialNumber) }
