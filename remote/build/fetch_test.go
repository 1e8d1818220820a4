package build

import (
	"archive/zip"
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/dirhash"
)

// private is a module that only a company's own module proxy has.
const (
	private    = "corp.example/x"
	privateMod = "module " + private + "\n\ngo 1.24\n"
)

// company is a module proxy with the module private, and remembers for which
// hosts it was asked.
type company struct {
	zip []byte

	mu    sync.Mutex
	hosts map[string]bool
}

func newCompany(t *testing.T) *company {
	t.Helper()
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for name, content := range map[string]string{"go.mod": privateMod, "x.go": "package x\n\nfunc X() string { return \"private\" }\n"} {
		w, err := archive.Create(private + "@v1.0.0/" + name)
		require.NoError(t, err)
		_, err = io.WriteString(w, content)
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	return &company{zip: out.Bytes(), hosts: make(map[string]bool)}
}

func (c *company) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.hosts[r.Host] = true
	c.mu.Unlock()
	switch r.URL.Path {
	case "/" + private + "/@v/v1.0.0.info":
		fmt.Fprint(w, `{"Version": "v1.0.0", "Time": "2024-01-01T00:00:00Z"}`)
	case "/" + private + "/@v/v1.0.0.mod":
		fmt.Fprint(w, privateMod)
	case "/" + private + "/@v/v1.0.0.zip":
		_, _ = w.Write(c.zip)
	default:
		http.NotFound(w, r)
	}
}

// spec is a function that needs the private module.
func (c *company) spec(t *testing.T) Spec {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.zip")
	require.NoError(t, os.WriteFile(file, c.zip, 0o600))
	whole, err := dirhash.HashZip(file, dirhash.Hash1)
	require.NoError(t, err)
	mod, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(privateMod)), nil })
	require.NoError(t, err)
	return files{
		"go.mod": gomod + "\nrequire " + private + " v1.0.0\n",
		"go.sum": fmt.Sprintf("%s v1.0.0 %s\n%[1]s v1.0.0/go.mod %[3]s\n", private, whole, mod),
		"p.go":   head1 + "\t\"" + private + "\"\n)\n\n" + fn + " w.Write([]byte(x.X())) }\n",
	}.spec(t, ".", "F")
}

// emptyProxy is a module proxy that has nothing, and remembers what it was asked for.
type emptyProxy struct {
	*httptest.Server
	mu    sync.Mutex
	paths []string
}

func newProxy(t *testing.T) *emptyProxy {
	t.Helper()
	a := new(emptyProxy)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.paths = append(a.paths, r.URL.Path)
		http.NotFound(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

// fresh returns a builder with an empty module cache, which it fills from proxy;
// all but private modules come from the cache of all tests.
func fresh(t *testing.T, cfg Config) *Builder {
	t.Helper()
	common := filepath.Dir(builder.modCache)
	cfg.Dir = t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(common, "gocache"), filepath.Join(cfg.Dir, "gocache")))
	cfg.Proxy += ",file://" + filepath.Join(common, "gomod", "cache", "download") + ",file://" + filepath.Join(common, "modules")
	b, err := New(cfg)
	require.NoError(t, err)
	close(b.tried)
	return b
}

func TestPrivateModulesComeFromACompanysProxy(t *testing.T) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		t.Setenv(name, "")
	}
	for name, c := range map[string]struct {
		start func(http.Handler) *httptest.Server
		set   func(t *testing.T, s *httptest.Server) (proxy string)
		asked string // for which host; "" the server's own
	}{
		"directly": {httptest.NewServer, func(_ *testing.T, s *httptest.Server) string { return s.URL }, ""},
		"through a HTTP proxy": {httptest.NewServer, func(t *testing.T, s *httptest.Server) string {
			t.Setenv("HTTP_PROXY", s.URL)
			return "http://modules.example"
		}, "modules.example"},
		"with a certificate of its own": {httptest.NewTLSServer, func(t *testing.T, s *httptest.Server) string {
			file := filepath.Join(t.TempDir(), "own.pem")
			text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
			require.NoError(t, os.WriteFile(file, text, 0o600))
			t.Setenv("SSL_CERT_FILE", file)
			return s.URL
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			own := newCompany(t)
			server := c.start(own)
			defer server.Close()
			b := fresh(t, Config{Proxy: c.set(t, server), SumDB: "off"})
			spec := own.spec(t)
			var said parts
			spec.Output = &said
			require.NoError(t, b.Build(t.Context(), spec))
			assert.Contains(t, strings.Join(said.text, ""), "go: downloading "+private+" v1.0.0\n")
			assert.Contains(t, strings.Join(said.text, ""), "\n"+private+"\n")
			assert.NotContains(t, strings.Join(said.text, ""), "GOPROXY")
			if c.asked == "" {
				c.asked = server.Listener.Addr().String()
			}
			assert.Equal(t, map[string]bool{c.asked: true}, own.hosts)
		})
	}
}

// A database is asked about a module that go.sum does not name.
func TestPrivateModulesAreNotAskedAbout(t *testing.T) {
	for patterns, asked := range map[string]bool{"other.example": true, "other.example,corp.example": false} {
		own, database := newCompany(t), newProxy(t)
		server := httptest.NewServer(own)
		defer server.Close()
		b := fresh(t, Config{Proxy: server.URL, SumDB: "sum.golang.org " + database.URL, Private: patterns})
		spec := files{"go.mod": gomod, "p.go": head1 + ")\n\n" + fn + "}\n"}.spec(t, ".", "F")
		cmd := exec.CommandContext(t.Context(), b.goCommand, "mod", "download", "-modcacherw", private+"@v1.0.0")
		cmd.Dir, cmd.Env = t.TempDir(), append(b.env, b.sandbox.online...)
		output, err := b.runGroup(cmd, with(b.sandbox.fetch, spec), new(pace), io.Discard)
		assert.Equal(t, asked, err != nil, output)
		assert.Equal(t, asked, len(database.paths) > 0, output)
	}
}
