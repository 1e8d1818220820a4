package conformance_test

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/proxy/gateway/conformance"
)

var h2spec = flag.String("h2spec", "", "the `path` of h2spec, which tests how HTTP/2 is spoken")

// TestHTTP2 runs h2spec against our listener, with a function behind it, and against
// Go's own server, which speaks HTTP/2 for us: we fail nothing that it passes.
func TestHTTP2(t *testing.T) {
	if *h2spec == "" {
		t.Skip("see make h2spec")
	}
	// A connection that ended with an error of HTTP/2 is kept for a second by Go's server.
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		assert.Eventually(t, func() bool { return goleak.Find(before) == nil }, patience, 100*time.Millisecond)
	})
	serves, _ := certified(t)
	function := httptest.NewServer(http.HandlerFunc(says))
	t.Cleanup(function.Close)
	routes := []conformance.Route{{Name: "hello", Address: function.Listener.Addr().String()}}
	for name, config := range map[string]*tls.Config{"h2c": nil, "TLS": serves} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours := make(chan map[string]string, 1)
			addr := serveTLS(t, routes, config)
			go func() { ours <- failuresOf(t, addr, config != nil) }()
			theirs := failuresOf(t, plainGo(t, config), config != nil)
			for what, how := range <-ours {
				assert.Contains(t, theirs, what, "only ours fails: %s", how)
			}
		})
	}
}

// says is a function that reads all and answers.
func says(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, "hello")
}

// plainGo serves the same without a gateway.
func plainGo(t *testing.T, config *tls.Config) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(says), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: config, Protocols: new(http.Protocols)}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 1)
	go func() {
		if config == nil {
			served <- srv.Serve(l)
		} else {
			served <- srv.ServeTLS(l, "", "")
		}
	}()
	t.Cleanup(func() {
		assert.NoError(t, srv.Close())
		assert.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return l.Addr().String()
}

// failuresOf returns which cases of h2spec a server fails, and how.
func failuresOf(t *testing.T, addr string, secure bool) map[string]string {
	host, port, err := net.SplitHostPort(addr)
	if !assert.NoError(t, err) {
		return nil
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	args := []string{"--strict", "--host", host, "--port", port, "--path", "/functions/hello", "--junit-report", report}
	if secure {
		args = append(args, "--tls", "--insecure")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, *h2spec, args...).CombinedOutput()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		assert.NoError(t, err)
		return nil
	}
	text, err := os.ReadFile(report)
	if !assert.NoError(t, err, "%s", out) {
		return nil
	}
	var suites struct {
		Suites []struct {
			Cases []struct {
				Section string `xml:"package,attr"`
				Name    string `xml:"classname,attr"`
				Failure string `xml:"failure"`
				Error   string `xml:"error"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if !assert.NoError(t, xml.Unmarshal(text, &suites)) {
		return nil
	}
	failures, all := map[string]string{}, 0
	for _, s := range suites.Suites {
		for _, c := range s.Cases {
			all++
			if how := c.Failure + c.Error; how != "" {
				failures[c.Section+": "+c.Name] = how
			}
		}
	}
	assert.Greater(t, all, 140, "cases")
	t.Logf("%s fails %d of %d cases", addr, len(failures), all)
	return failures
}
