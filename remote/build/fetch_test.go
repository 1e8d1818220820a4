package build

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"

	"github.com/Ishan27g/ryo-faas/proto"
)

// private is a module that only a company's own module proxy has.
const private = "corp.example/x"

// company is a module proxy with private modules.
type company struct{ *testkit.ModuleProxy }

// newCompany publishes the module private, twice. The module y requires the later one.
func newCompany(t *testing.T) company {
	t.Helper()
	c := company{testkit.NewModuleProxy(t)}
	for _, version := range []string{"v1.0.0", "v1.1.0"} {
		c.Publish(t, private, version, "", "package x\n\nfunc X() string { return \"private\" }\n")
	}
	c.Publish(t, "corp.example/y", "v1.0.0", "\nrequire "+private+" v1.1.0\n", "package y\n\nimport \"corp.example/x\"\n\nvar Y = x.X()\n")
	return c
}

// spec is a function that needs the private module.
func (c company) spec(t *testing.T) Spec {
	t.Helper()
	return files{
		"go.mod": gomod + "\nrequire " + private + " v1.0.0\n",
		"go.sum": c.Sums(private, "v1.0.0"),
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
			for _, text := range said.text { // nothing of what the build mends itself
				assert.Regexp(t, `^modules fetched \d+ of 10\n$`, text)
			}
			if c.asked == "" {
				c.asked = server.Listener.Addr().String()
			}
			hosts, _ := own.Asked()
			assert.Equal(t, []string{c.asked}, hosts)
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
		cmd := &command{Args: []string{"mod", "download", "-modcacherw", private + "@v1.0.0"}, Dir: t.TempDir(), Env: append(b.env, b.sandbox.online...)}
		output, err := b.runGroup(t.Context(), cmd, with(b.sandbox.fetch, spec), new(pace), io.Discard)
		assert.Equal(t, asked, err != nil, output)
		assert.Equal(t, asked, len(database.paths) > 0, output)
	}
}

// One module requires a later version of another than go.mod does, and go.sum does
// not know that version: the database does.
func TestModulesAreCheckedByADatabase(t *testing.T) {
	own := newCompany(t)
	server := httptest.NewServer(own)
	defer server.Close()
	config := Config{Proxy: server.URL, SumDB: own.Key() + " " + server.URL + "/sumdb"}
	var raised []string
	build := func(b *Builder) error {
		raised = nil
		spec := files{
			"go.mod": gomod + "\nrequire (\n\t" + private + " v1.0.0\n\tcorp.example/y v1.0.0\n)\n",
			"go.sum": own.Sums(private, "v1.0.0") + own.Sums("corp.example/y", "v1.0.0"),
			"p.go":   head1 + "\t\"" + private + "\"\n\t\"corp.example/y\"\n)\n\n" + fn + " w.Write([]byte(x.X()+y.Y)) }\n",
		}.spec(t, ".", "F")
		spec.Warn = func(line string) { raised = append(raised, line) }
		return b.Build(t.Context(), spec)
	}
	b := fresh(t, config)
	require.NoError(t, build(b))
	assert.Equal(t, []string{"corp.example/x v1.0.0 → v1.1.0 (another module requires it)"}, raised)
	require.NoError(t, os.RemoveAll(b.modCache))
	require.NoError(t, os.Mkdir(b.modCache, 0o700))
	require.NoError(t, build(b), "what it signed is known by now")

	mallory := newCompany(t)
	forged := httptest.NewServer(mallory)
	defer forged.Close()
	config.SumDB = own.Key() + " " + forged.URL + "/sumdb"
	err := build(fresh(t, config))
	require.ErrorIs(t, err, proto.ErrConflict)
	require.ErrorContains(t, err, "no verifiable signatures", "of another key")

	own.Publish(t, private, "v1.1.0", "", "package x\n\nfunc X() string { return \"other\" }\n")
	config.SumDB = own.Key() + " " + server.URL + "/sumdb"
	err = build(fresh(t, config))
	require.ErrorIs(t, err, proto.ErrConflict)
	require.ErrorContains(t, err, "checksum mismatch", "other bytes than were signed")

	for name, proxy := range map[string]http.HandlerFunc{
		"is broken": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
		"hangs up":  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"refuses":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
	} {
		faulty := httptest.NewServer(proxy)
		defer faulty.Close()
		config.Proxy = faulty.URL
		require.ErrorIs(t, build(fresh(t, config)), proto.ErrUnavailable, "a module proxy that %s", name)
	}
}
