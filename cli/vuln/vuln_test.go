package vuln

import (
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
	"github.com/Ishan27g/ryo-faas/remote/funcfw"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(testkit.Guarded(m)) }

// parser is a module with four faults, of which one is not mended.
const parser = `package parser

import "os"

func A() string { return os.Args[0] + "a" }
func B() string { return os.Args[0] + "b" }
func C() string { return os.Args[0] + "c" }
func D() string { return os.Args[0] + "d" }
`

// page calls A from an exported function, B where only reflection leads, and C by a
// router. It has D's module, but never calls it.
const page = `package page

import (
	"context"
	"net/http"

	"corp.example/parser"
	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
	cloudevents "github.com/cloudevents/sdk-go/v2"
)

func Page(w http.ResponseWriter, r *http.Request) { show(w) }

func show(w http.ResponseWriter) { _, _ = w.Write([]byte(parser.A())) }

var API = http.NewServeMux()

func init() {
	functions.CloudEvent("stored", func(context.Context, cloudevents.Event) error { print(parser.B()); return nil })
	API.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(parser.C())) })
}
`

// lab is where programs are looked at: with modules of its own, a database of its own,
// and nothing of either left behind.
func lab(t *testing.T) (database string) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs")
	}
	cache, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE", "GOPROXY").Output()
	require.NoError(t, err)
	where := strings.Fields(string(cache))
	tool, err := findTool(t.Context(), Config{Say: func(string) {}}, t.TempDir())
	require.NoError(t, err)
	t.Setenv("PATH", filepath.Dir(tool)+string(filepath.ListSeparator)+os.Getenv("PATH"))

	modules := testkit.NewModuleProxy(t)
	modules.Publish(t, "corp.example/parser", "v1.0.0", "", parser)
	server := httptest.NewServer(modules)
	t.Cleanup(server.Close)
	t.Setenv("GOPROXY", server.URL+",file://"+filepath.Join(where[0], "cache", "download")+","+where[1])
	t.Setenv("GOMODCACHE", filepath.Join(t.TempDir(), "modules"))
	t.Setenv("GOSUMDB", "off")
	t.Cleanup(func() {
		out, err := exec.Command("go", "clean", "-modcache").CombinedOutput()
		assert.NoError(t, err, "%s", out)
	})
	t.Setenv("TMPDIR", t.TempDir())

	database = t.TempDir()
	for i, symbol := range []string{"A", "B", "C", "D"} {
		fixed := `, {"fixed": "1.1.0"}`
		if symbol == "B" {
			fixed = ""
		}
		id := fmt.Sprintf("GO-2026-900%d", i)
		require.NoError(t, os.WriteFile(filepath.Join(database, id+".json"), fmt.Appendf(nil, `{
			"schema_version": "1.3.1", "id": %q, "modified": "2026-01-02T00:00:00Z", "published": "2026-01-02T00:00:00Z", "summary": "%s is faulty",
			"affected": [{
				"package": {"name": "corp.example/parser", "ecosystem": "Go"},
				"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}%s]}],
				"ecosystem_specific": {"imports": [{"path": "corp.example/parser", "symbols": [%q]}]}
			}]}`, id, symbol, fixed, symbol), 0o600))
	}
	return database
}

// config lays a package out and says how to look at one of its functions.
func config(t *testing.T, database, name string, files map[string]string) Config {
	t.Helper()
	cfg := Config{Root: t.TempDir(), Dir: "page", Database: database, Say: func(string) {}}
	for name, text := range files {
		file := filepath.Join(cfg.Root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		cfg.Files = append(cfg.Files, name)
	}
	p := funcfw.Platform{GOOS: "linux", GOARCH: runtime.GOARCH, GoVersion: runtime.Version()}
	target, err := funcfw.Check(os.DirFS(cfg.Root), funcfw.Spec{Dir: cfg.Dir, Name: name}, p)
	require.NoError(t, err)
	cfg.Generated, err = funcfw.Generate(os.DirFS(cfg.Root), target, p)
	require.NoError(t, err)
	return cfg
}

const gomod = "module corp.example/site\n\ngo 1.24\n\nrequire corp.example/parser v1.0.0\n"

func TestFaultsAreFoundWithTheirCalls(t *testing.T) {
	cfg := config(t, lab(t), "Page", map[string]string{"go.mod": gomod, "page/page.go": page})
	report, err := Scan(t.Context(), cfg)
	require.NoError(t, err)

	fault := func(n int, letter, fixed string, path ...Frame) Fault {
		return Fault{ID: fmt.Sprintf("GO-2026-900%d", n), Summary: letter + " is faulty", Module: "corp.example/parser", Version: "v1.0.0", Fixed: fixed, Path: path}
	}
	require.Len(t, report.Faults, 3, "D is not called")
	assert.Equal(t, fault(0, "A", "v1.1.0",
		Frame{Function: "page.Page", File: "page/page.go", Line: 12, Column: 57},
		Frame{Function: "page.show", File: "page/page.go", Line: 14, Column: 66},
		Frame{Function: "parser.A"}), report.Faults[0])
	assert.Equal(t, fault(1, "B", ""), report.Faults[1], "reflection leads there, and no call that can be found")
	assert.Equal(t, "GO-2026-9002", report.Faults[2].ID, "a router leads there")
	assert.Nil(t, report.Library)

	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestSourceThatDoesNotBuildIsRefused(t *testing.T) {
	cfg := config(t, lab(t), "Page", map[string]string{
		"go.mod":       "module corp.example/site\n\ngo 1.24\n",
		"page/page.go": "package page\n\nimport \"net/http\"\n\nfunc Page(w http.ResponseWriter, r *http.Request) { none() }\n",
	})
	_, err := Scan(t.Context(), cfg)
	require.ErrorAs(t, err, new(*funcfw.Refusal))
	assert.Equal(t, "page/page.go:5:53: undefined: none", err.Error())
}

func TestDatabasesAreURLsOrFolders(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "copy", "data", "osv"), 0o700))
	for name, want := range map[string]string{
		"https://faults.example":   "https://faults.example",
		"file:///srv/faults":       "file:///srv/faults",
		dir:                        "file://" + dir,
		filepath.Join(dir, "copy"): "file://" + filepath.Join(dir, "copy", "data", "osv"),
	} {
		got, err := given(name)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	_, err := given(filepath.Join(dir, "none"))
	assert.ErrorContains(t, err, "is neither a URL nor a folder")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"config":{"db_last_modified":"2026-01-02T00:00:00Z"}} {"osv":{"id":"GO-1","summary":"s"}}
		{"finding":{"osv":"GO-1","fixed_version":"v1.2.0","trace":[{"module":"stdlib","version":"v1.26.8","package":"net/http","function":"Get"}]}}
		{"finding":{"osv":"GO-1","trace":[{"module":"m","package":"m/p","function":"F","receiver":"*T"},{"module":"own","package":"own","function":"G","position":{"filename":"a.go","line":1}}]}}`))
	f.Add([]byte(`{"finding":{"trace":[]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse(data)
		if err != nil {
			return
		}
		r := s.report()
		s.explain(r, "own", func(file string) string { return file })
		for _, fault := range r.Faults {
			if fault.Module == library {
				t.Errorf("%s is of the library", fault.ID)
			}
		}
	})
}
