package testkit

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/module"
	"golang.org/x/mod/sumdb"
	"golang.org/x/mod/sumdb/dirhash"
	"golang.org/x/mod/sumdb/note"
)

// ModuleProxy is a module proxy with modules of its own, and, below /sumdb, the
// checksum database of these. It remembers what it was asked for.
type ModuleProxy struct {
	key      string
	modules  map[module.Version]*published
	database *sumdb.Server

	mu    sync.Mutex // guards the fields below
	hosts map[string]bool
	paths map[string]bool
}

// published is a version of a module, in the files in which a proxy serves it.
type published struct {
	mod  string
	zip  []byte
	sums string // its lines of a go.sum
}

// NewModuleProxy returns a proxy that has no module yet.
func NewModuleProxy(t testing.TB) *ModuleProxy {
	t.Helper()
	signer, key, err := note.GenerateKey(rand.Reader, "sum.example")
	require.NoError(t, err)
	p := &ModuleProxy{key: key, modules: make(map[module.Version]*published), hosts: make(map[string]bool), paths: make(map[string]bool)}
	p.database = sumdb.NewServer(sumdb.NewTestServer(signer, func(path, version string) ([]byte, error) {
		if m := p.modules[module.Version{Path: path, Version: version}]; m != nil {
			return []byte(m.sums), nil
		}
		return nil, fs.ErrNotExist
	}))
	return p
}

// Publish adds a version of a module of one source file. Its go.mod ends with requires.
// It is not called while the proxy serves.
func (p *ModuleProxy) Publish(t testing.TB, path, version, requires, code string) {
	t.Helper()
	mod := "module " + path + "\n\ngo 1.24\n" + requires
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	for name, content := range map[string]string{"go.mod": mod, "x.go": code} {
		w, err := archive.Create(path + "@" + version + "/" + name)
		require.NoError(t, err)
		_, err = io.WriteString(w, content)
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	file := filepath.Join(t.TempDir(), "x.zip")
	require.NoError(t, os.WriteFile(file, out.Bytes(), 0o600))
	whole, err := dirhash.HashZip(file, dirhash.Hash1)
	require.NoError(t, err)
	alone, err := dirhash.Hash1([]string{"go.mod"}, func(string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(mod)), nil })
	require.NoError(t, err)
	p.modules[module.Version{Path: path, Version: version}] = &published{
		mod: mod, zip: out.Bytes(), sums: fmt.Sprintf("%s %s %s\n%[1]s %[2]s/go.mod %[4]s\n", path, version, whole, alone),
	}
}

// Key is the key of the checksum database, as GOSUMDB takes it.
func (p *ModuleProxy) Key() string { return p.key }

// Sums are the lines of a go.sum for a version of a module.
func (p *ModuleProxy) Sums(path, version string) string {
	return p.modules[module.Version{Path: path, Version: version}].sums
}

// Asked returns the hosts and the paths that the proxy was asked for since the last
// call.
func (p *ModuleProxy) Asked() (hosts, paths []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for host := range p.hosts {
		hosts = append(hosts, host)
	}
	for path := range p.paths {
		paths = append(paths, path)
	}
	clear(p.hosts)
	clear(p.paths)
	return hosts, paths
}

// ServeHTTP implements http.Handler.
func (p *ModuleProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.hosts[r.Host], p.paths[r.URL.Path] = true, true
	p.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/sumdb/") {
		http.StripPrefix("/sumdb", p.database).ServeHTTP(w, r)
		return
	}
	path, file, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/@v/")
	ext := filepath.Ext(file)
	version := strings.TrimSuffix(file, ext)
	m := p.modules[module.Version{Path: path, Version: version}]
	switch {
	case m == nil:
		http.NotFound(w, r)
	case ext == ".info":
		fmt.Fprintf(w, `{"Version": %q, "Time": "2024-01-01T00:00:00Z"}`, version)
	case ext == ".mod":
		fmt.Fprint(w, m.mod)
	default:
		_, _ = w.Write(m.zip)
	}
}
