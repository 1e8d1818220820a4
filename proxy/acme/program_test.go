package acme_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

func TestAProxyGetsTheCertificateOfItsDomain(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	require.NoError(t, free.Close())
	_, text, _ := net.SplitHostPort(addr)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	a := acme.NewAuthority(t, port, 3600)
	dir := t.TempDir()
	roots := filepath.Join(dir, "roots.pem")
	require.NoError(t, os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw}), 0o600))

	cmd := exec.CommandContext(context.Background(), os.Args[0], "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-functions", addr,
		"-domain", "localhost", "-acme", a.Directory(), "-dir", dir)
	cmd.Env = append(os.Environ(), "ACME_TEST_PROXY=1", "SSL_CERT_FILE="+roots)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		assert.NoError(t, cmd.Wait(), stderr.String())
	})

	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Root, ServerName: "localhost"}, DisableKeepAlives: true}
	get := func(scheme string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+addr+"/functions/hello", http.NoBody)
		require.NoError(t, err)
		rsp, err := tr.RoundTrip(req)
		if err == nil {
			_ = rsp.Body.Close()
		}
		return rsp, err
	}
	var rsp *http.Response
	require.Eventually(t, func() bool { rsp, err = get("https://"); return err == nil }, 30*time.Second, 50*time.Millisecond)
	assert.Equal(t, http.StatusNotFound, rsp.StatusCode)
	assert.NotEmpty(t, rsp.Header.Get("Strict-Transport-Security"))
	rsp, err = get("http://")
	require.NoError(t, err)
	assert.Equal(t, http.StatusPermanentRedirect, rsp.StatusCode)
}
