package e2e

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// tree is files by path.
type tree = map[string]string

// inP is a file of package p whose line 3 is the first of body.
func inP(body string) string { return "package p; import \"net/http\"\n\n" + body + "\n" }

const (
	handlerF = "func F(w http.ResponseWriter, r *http.Request) {}"
	declare  = "declare it as func F(w http.ResponseWriter, r *http.Request)"
	goMod    = "module example.com/m\n\ngo 1.24\n"
)

// badSources are what cannot be deployed as function F: what is said of each,
// with its place, and the way out.
var badSources = []struct {
	name     string
	files    tree
	dir      string // of the package; "" for the root
	says, or string
	fix      string
	code     int // exit code of the command line
}{
	// The shape of the function.
	{name: "method", files: tree{"a.go": inP("type T int\nfunc (T) F(w http.ResponseWriter, r *http.Request) {}")}, says: "a.go:4:10: F is a method", fix: declare},
	{name: "generic", files: tree{"a.go": inP("func F[T any](w http.ResponseWriter, r *http.Request) {}")}, says: "a.go:3:7: F has type parameters", fix: declare},
	{name: "no body", files: tree{"a.go": inP("func F(w http.ResponseWriter, r *http.Request)")}, says: "a.go:3:6: F has no body", fix: declare},
	{name: "grouped", files: tree{"a.go": inP("func F(a, b http.ResponseWriter) {}")}, says: "a.go:3:13: parameter 2 of F is net/http.ResponseWriter, want *net/http.Request", fix: declare},
	{name: "no pointer", files: tree{"a.go": inP("func F(w http.ResponseWriter, r http.Request) {}")}, says: "a.go:3:33: parameter 2 of F is net/http.Request, want *net/http.Request (missing *)", fix: declare},
	{name: "a pointer", files: tree{"a.go": inP("func F(w *http.ResponseWriter, r *http.Request) {}")}, says: "a.go:3:10: parameter 1 of F is *net/http.ResponseWriter, want net/http.ResponseWriter (no *: it is an interface)", fix: declare},
	{name: "swapped", files: tree{"a.go": inP("func F(r *http.Request, w http.ResponseWriter) {}")}, says: "a.go:3:10: the parameters of F are swapped", fix: declare},
	{name: "returns error", files: tree{"a.go": inP("func F(w http.ResponseWriter, r *http.Request) error { return nil }")}, says: "a.go:3:48: F returns error, want no result", fix: declare},
	{name: "one parameter", files: tree{"a.go": inP("func F(w http.ResponseWriter) {}")}, says: "a.go:3:7: F has 1 parameter", fix: declare},
	{name: "three parameters", files: tree{"a.go": inP("func F(w http.ResponseWriter, r *http.Request, x int) {}")}, says: "a.go:3:7: F has 3 parameters, want 2", fix: declare},
	{name: "variadic", files: tree{"a.go": inP("func F(w http.ResponseWriter, r ...*http.Request) {}")}, says: "a.go:3:33: F is variadic", fix: declare},
	// Its name.
	{name: "unexported", files: tree{"a.go": inP("func f(w http.ResponseWriter, r *http.Request) {}")}, says: "a.go:3:6: package p has no function F", fix: "rename f to F"},
	{name: "missing", files: tree{"a.go": inP("func Other(w http.ResponseWriter, r *http.Request) {}")}, says: "package p has no function F", fix: declare},
	{name: "type", files: tree{"a.go": inP("type F func(http.ResponseWriter, *http.Request)")}, says: "a.go:3:6: F is a type, not a function", fix: declare},
	{name: "constant", files: tree{"a.go": inP("const F = http.StatusOK")}, says: "a.go:3:7: F is a constant, not a function", fix: declare},
	// Its files.
	{name: "only in a test", files: tree{"a.go": "package p\n", "a_test.go": inP(handlerF)}, says: "package p has no function F", or: "a_test.go:3:6: F is declared in a file that is a test", fix: "declare it"},
	{name: "only on Windows", files: tree{"a.go": "package p\n", "f_windows.go": inP(handlerF)}, says: "f_windows.go:3:6: F is declared in a file that is excluded on linux/" + runtime.GOARCH, fix: "//go:build"},
	{name: "ignored", files: tree{"a.go": "package p\n", "b.go": "//go:build ignore\n\n" + inP(handlerF)}, says: "b.go:5:6: F is declared in a file that is excluded on linux/" + runtime.GOARCH, fix: "//go:build"},
	{name: "two packages", files: tree{"a.go": inP(handlerF), "b.go": "// b\npackage q\n"}, says: "b.go:2:9: package q in a folder whose package is p", fix: "a folder holds one package"},
	{name: "syntax error", files: tree{"a.go": inP("func F(w http.ResponseWriter, r *http.Request) {\n\tif {\n}")}, says: "a.go:4:5: syntax error", fix: ""},
	{name: "empty file", files: tree{"a.go": ""}, says: "a.go:1:1: syntax error: expected 'package'", fix: ""},
	{name: "program", files: tree{"a.go": strings.Replace(inP(handlerF+"\nfunc main() {}"), "package p", "package main", 1)}, says: "a.go:4:6: the package is a program", fix: "of its own"},
	{name: "cgo", files: tree{"a.go": "package p\n\nimport \"C\"\n\n" + handlerF + "\n", "b.go": "package p\n"}, says: "a.go:5:6: F is declared in a file that is left out, since it needs cgo", fix: "in Go alone"},
	{name: "assembly", files: tree{"a.go": inP(handlerF), "a.s": "TEXT ·f(SB),0,$0\n"}, says: "a.s: assembly, Fortran and object files are not built", fix: "in Go alone"},
	{name: "object file", files: tree{"a.go": inP(handlerF), "x.syso": "x"}, says: "x.syso", fix: "Go", code: 2},
	{name: "reserved file", files: tree{"a.go": inP(handlerF), "zz_ryo_x.go": "package p\n"}, says: "zz_ryo_x.go", fix: "rename", code: 2},
	{name: "no Go files", files: tree{"README.md": "hello"}, says: "no Go files", fix: "folder", code: 2},
	{name: "only tests", files: tree{"a_test.go": inP(handlerF)}, says: "no Go files", fix: "tests", code: 2},
	// Its module.
	{name: "newer Go", files: tree{"go.mod": "module example.com/m\n\ngo 1.99\n", "a.go": inP(handlerF)}, says: "go.mod:3:1: the module requires go >= 1.99", fix: "lower the go line"},
	{name: "module main", files: tree{"go.mod": "module main\n", "a.go": inP(handlerF)}, says: "go.mod:1:1: a package of path main cannot be imported", fix: "another name"},
	{name: "module of the standard library", files: tree{"go.mod": "module time\n", "a.go": inP(handlerF)}, says: "go.mod:1:1: import path time is one of the standard library", fix: "another name"},
	{name: "broken go.mod", files: tree{"go.mod": "module example.com/m\n\nrequire nonsense\n", "a.go": inP(handlerF)}, says: "go.mod:3", fix: "", code: 2},
	{name: "no module line", files: tree{"go.mod": "go 1.24\n", "a.go": inP(handlerF)}, says: "no module line", fix: "module example.com/", code: 2},
	{name: "absolute replacement", files: tree{"go.mod": goMod + "\nreplace example.com/x => /elsewhere/x\n", "a.go": inP(handlerF)}, says: "/elsewhere/x", fix: "relative", code: 2},
	{name: "replacement that is not there", files: tree{"go.mod": goMod + "\nrequire example.com/x v0.0.0\n\nreplace example.com/x => ../nowhere\n", "a.go": "package p\n\nimport (\n\t\"net/http\"\n\n\t_ \"example.com/x\"\n)\n\n" + handlerF + "\n"}, says: "go.mod:7:1: replacement ../nowhere is not in the package that was sent", fix: "send the folder that holds both"},
	// What the compiler alone can tell.
	{name: "undefined", files: tree{"go.mod": goMod, "sub/a.go": inP("func F(w http.ResponseWriter, r *http.Request) { w.Wirte(nil) }")}, dir: "sub", says: "sub/a.go:3:52: w.Wirte undefined", fix: ""},
	{name: "unused import", files: tree{"a.go": "package p\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n\n" + handlerF + "\n"}, says: `a.go:4:2: "fmt" imported and not used`, fix: ""},
	{name: "variable of another type", files: tree{"a.go": inP("var F = func(w http.ResponseWriter) {}")}, says: "a.go:3:13: F has 1 parameter, want 2", fix: declare},
	{name: "alias of another type", files: tree{"a.go": inP("type R = http.Request\n\nfunc F(w http.ResponseWriter, r R) {}")}, says: "a.go:5:6: cannot use", fix: ""},
	{name: "a module that nothing requires", files: tree{"go.mod": goMod, "a.go": "package p\n\nimport (\n\t\"net/http\"\n\n\t_ \"example.com/missing\"\n)\n\n" + handlerF + "\n"}, says: "a.go:6:2: no module in go.mod has package example.com/missing", fix: "go get example.com/missing"},
	{name: "embedding nothing", files: tree{"a.go": "package p\n\nimport (\n\t_ \"embed\"\n\t\"net/http\"\n)\n\n//go:embed nothing.txt\nvar text string\n\n" + handlerF + "\n"}, says: "a.go:8:12: pattern nothing.txt: no matching files found", fix: ""},
}

// survivor is a stack whose agent has room for two functions, of which one runs:
// whatever is sent to it must neither harm that one nor use up the other place.
type survivor struct {
	stack
	tmp string // where the agent's temporary files go
}

func startSurvivor(t *testing.T) survivor {
	t.Helper()
	s := survivor{tmp: t.TempDir()}
	cmd := command(context.Background(), "agent", "-port", "127.0.0.1:0", "-dir", t.TempDir(), "-cache", cache(t), "-ports", freePorts(t, 2))
	cmd.Env = append(cmd.Env, "TMPDIR="+s.tmp)
	server := launch(t, cmd)
	s.agent = agent{server, "localhost:" + server.said(`HTTP started on \S*:(\d+)`), cmd.Args[4]}
	s.proxy = startProxy(t, "", "-agents", s.agent.addr)
	mustDeploy(t, s.proxy.http, "Survivor", source(t, says("Survivor", "alive")), s.agent.addr)
	return s
}

// unharmed asserts that all is as before.
func (s survivor) unharmed(t *testing.T) {
	t.Helper()
	assert.True(t, alive(s.agent.cmd.Process.Pid) && alive(s.proxy.cmd.Process.Pid), "the programs run")
	status, answer := fetch(t, http.MethodGet, "http://"+s.proxy.http+"/functions/survivor", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, "alive", answer)
	for _, addr := range []string{s.agent.addr, s.proxy.http} {
		for _, r := range rows(t, http.MethodGet, "http://"+addr+"/details", "") {
			if r.Name == "Survivor" {
				assert.Equal(t, "Deployed", r.Status)
				assert.Empty(t, r.Error)
				continue
			}
			assert.Equal(t, "Failed", r.Status, r.Name)
			assert.Empty(t, r.Proxy, "a function that does not run has no port")
			assert.Zero(t, r.Instances)
		}
	}
	functions := filepath.Join(s.agent.dir, "agent", "functions")
	_ = filepath.WalkDir(functions, func(path string, e fs.DirEntry, err error) error {
		require.NoError(t, err)
		rel, err := filepath.Rel(functions, path)
		require.NoError(t, err)
		if rel == "survivor" {
			return fs.SkipDir
		}
		name := strings.SplitN(rel, string(filepath.Separator), 2)
		if len(name) == 2 {
			assert.Contains(t, []string{"record.json", "run.json", "crashes.json"}, name[1], "left behind: %s", path)
		}
		return nil
	})
	sockets, err := os.ReadDir(filepath.Join(s.agent.dir, "agent", "run"))
	require.NoError(t, err)
	assert.Len(t, sockets, 1)
	left, err := os.ReadDir(s.tmp)
	require.NoError(t, err)
	for _, e := range left {
		assert.True(t, strings.HasPrefix(e.Name(), "prewarm"), "left behind: %s", e.Name())
	}
}

// The place that refused functions must not have taken.
func (s survivor) hasRoom(t *testing.T) {
	t.Helper()
	mustDeploy(t, s.proxy.http, "Second", source(t, says("Second", "two")), s.agent.addr)
	status, answer := fetch(t, http.MethodPost, "http://"+s.proxy.http+"/stop", `{"name": "Second"}`)
	assert.Equal(t, http.StatusOK, status, answer)
}

func TestBadSources(t *testing.T) {
	t.Parallel()
	s := startSurvivor(t)
	for _, c := range badSources {
		t.Run(c.name, func(t *testing.T) {
			root := folder(t, c.files)
			dir := filepath.Join(root, c.dir)
			if c.code == 0 {
				c.code = 3
			}
			said := func(text string) {
				t.Helper()
				if c.or == "" || !strings.Contains(text, c.or) {
					assert.Contains(t, text, c.says)
				}
				assert.Contains(t, text, c.fix, "the way out")
				assert.NotContains(t, text, "zz_ryo_main", "a generated file is none of the user's")
				assert.NotContains(t, text, s.agent.dir, "the agent's own folders are none of the user's")
			}
			r := proxyCli(t, root, "-proxy", s.proxy.rpc, "deploy", "-wait", "-agent", s.agent.addr, "-name", "F", dir)
			assert.Equal(t, c.code, r.code, "%+v", r)
			said(r.stderr)
			assert.NotContains(t, r.stdout, "Deployed")
			for _, addr := range []string{s.agent.addr, s.proxy.http} {
				body, err := json.Marshal([]map[string]string{{"name": "F", "dir": dir, "toAgent": s.agent.addr}})
				require.NoError(t, err)
				status, answer := fetch(t, http.MethodPost, "http://"+addr+"/deploy?wait=true", string(body))
				if status != http.StatusOK {
					e := errorOf(t, answer)
					assert.Equal(t, http.StatusBadRequest, status, answer)
					said(e.Message + "\n" + e.Hint)
					continue
				}
				var list []row
				require.NoError(t, json.Unmarshal([]byte(answer), &list), answer)
				require.Len(t, list, 1)
				assert.Equal(t, "Failed", list[0].Status)
				assert.Contains(t, []string{"check", "build"}, list[0].Reason)
				said(list[0].Error)
			}
			s.unharmed(t)
		})
	}
	s.hasRoom(t)
}

// A folder that is wrong, or holds what cannot be shipped.
func TestBadFolders(t *testing.T) {
	t.Parallel()
	s := startSurvivor(t)
	dir := folder(t, tree{"ok/a.go": inP(handlerF), "link/a.go": "package p\n", "secret.txt": "canary", "other/b.go": inP(handlerF)})
	require.NoError(t, os.Symlink(filepath.Join(dir, "secret.txt"), filepath.Join(dir, "link", "b.go")))
	for name, c := range map[string]struct{ dir, file, says string }{
		"missing":                  {"no", "", "no"},
		"a file":                   {"ok/a.go", "", "is a file"},
		"a symbolic link in it":    {"link", "", "b.go is a symbolic link"},
		"a missing file":           {"ok", "ok/b.go", "b.go"},
		"a file of another folder": {"ok", "other/b.go", "b.go"},
		"a device":                 {"/dev", "", ""},
		"a file of the system":     {"/etc/passwd", "", "is a file"},
	} {
		t.Run(name, func(t *testing.T) {
			in := func(path string) string {
				if path == "" || filepath.IsAbs(path) {
					return path
				}
				return filepath.Join(dir, path)
			}
			entry := map[string]string{"name": "F", "packageDir": in(c.dir), "agentAddr": s.agent.addr}
			if c.file != "" {
				entry["filePath"] = in(c.file)
			}
			definition, err := json.Marshal(map[string]any{"deploy": []any{entry}})
			require.NoError(t, err)
			write(t, dir, tree{"deploy.json": string(definition)})
			r := proxyCli(t, dir, "-proxy", s.proxy.http, "-transport", "http", "def", "deploy.json")
			assert.Equal(t, 2, r.code, r.stderr)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, c.says)
			assert.NotContains(t, r.stderr, "canary")
			body, err := json.Marshal([]any{entry})
			require.NoError(t, err)
			for _, addr := range []string{s.agent.addr, s.proxy.http} {
				status, answer := fetch(t, http.MethodPost, "http://"+addr+"/deploy?wait=true", string(body))
				assert.Equal(t, http.StatusBadRequest, status, answer)
				e := errorOf(t, answer)
				assert.Contains(t, e.Message, c.says)
				assert.NotEmpty(t, e.Hint, answer)
				assert.NotContains(t, answer, "canary")
			}
		})
	}
	s.unharmed(t)
	s.hasRoom(t)
	assert.Len(t, rows(t, http.MethodGet, "http://"+s.proxy.http+"/details", ""), 1, "what was refused as a whole is not listed")
}

// Names and settings, refused before anything is read or written.
func TestBadNamesAndSettings(t *testing.T) {
	t.Parallel()
	s := startSurvivor(t)
	dir := source(t, says("F", ""))
	long := strings.Repeat("F", 129)
	for name, c := range map[string]struct{ entry, says string }{
		"shell":              {`"name": "Hello;rm"`, "Hello;rm"},
		"path":               {`"name": "../../x"`, "../../x"},
		"absolute path":      {`"name": "/etc/passwd"`, "/etc/passwd"},
		"line break":         {`"name": "F\nG"`, `F\nG`},
		"NUL":                {`"name": "F\u0000"`, `F\x00`},
		"format":             {`"name": "F%s%n"`, "F%s%n"},
		"number first":       {`"name": "9F"`, "9F"},
		"space":              {`"name": "F G"`, "F G"},
		"keyword":            {`"name": "func"`, "func"},
		"unexported":         {`"name": "helloWorld"`, "HelloWorld"},
		"underscore":         {`"name": "_"`, "_"},
		"empty":              {`"name": ""`, "name is missing"},
		"long":               {`"name": "` + long + `"`, "longer than 128 bytes"},
		"kind":               {`"name": "F", "kind": "table"`, "table"},
		"env name":           {`"name": "F", "env": {"A B": "x"}`, "A B"},
		"env of ours":        {`"name": "F", "env": {"RYO_LISTEN": "x"}`, "RYO_LISTEN"},
		"env of the library": {`"name": "F", "env": {"FUNCTION_TARGET": "x"}`, "FUNCTION_TARGET"},
		"env type":           {`"name": "F", "env": ["A=B"]`, "env"},
		"include above":      {`"name": "F", "include": ["../*"]`, "../*"},
		"include absolute":   {`"name": "F", "include": ["/etc/*"]`, "/etc/*"},
		"include nothing":    {`"name": "F", "include": ["no/*.txt"]`, "no/*.txt"},
		"include bad glob":   {`"name": "F", "include": ["[a"]`, "[a"},
		"tags":               {`"name": "F", "tags": ["a b"]`, "a b"},
		"ldflags":            {`"name": "F", "ldflags": "-extld=/bin/sh"`, "-extld=/bin/sh"},
		"ldflags value":      {`"name": "F", "ldflags": "-X x"`, "importpath.name=value"},
		"timeout":            {`"name": "F", "timeout": "soon"`, "soon"},
		"negative timeout":   {`"name": "F", "timeout": "-1s"`, "-1s"},
		"memory":             {`"name": "F", "memory": "lots"`, "lots"},
		"too little memory":  {`"name": "F", "memory": "1KiB"`, "16MiB"},
		"memory type":        {`"name": "F", "memory": 128`, "memory"},
		"agent":              {`"name": "F", "toAgent": ["a b:9000"]`, "a b:9000"},
		"unknown key":        {`"name": "F", "memroy": "64MiB"`, "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, addr := range []string{s.agent.addr, s.proxy.http} {
				status, answer := fetch(t, http.MethodPost, "http://"+addr+"/deploy", fmt.Sprintf(`[{"dir": %q, %s}]`, dir, c.entry))
				assert.Equal(t, http.StatusBadRequest, status, answer)
				e := errorOf(t, answer)
				assert.Equal(t, "invalid", e.Code)
				assert.Contains(t, e.Message+" "+e.Hint, c.says)
			}
			definition := fmt.Sprintf(`{"deploy": [{"packageDir": %q, %s}]}`, dir, strings.Replace(c.entry, "toAgent", "agentAddr", 1))
			file := folder(t, tree{"deploy.json": definition})
			r := proxyCli(t, file, "-proxy", s.proxy.rpc, "def", "deploy.json")
			assert.Equal(t, 2, r.code, "%+v", r)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, "deploy.json:1:")
			assert.Contains(t, r.stderr, c.says)
		})
	}
	s.unharmed(t)
	s.hasRoom(t)
	assert.Len(t, rows(t, http.MethodGet, "http://"+s.agent.addr+"/details", ""), 1)
}

// Definition files that say nothing, or nonsense: the place is named, and
// nothing is sent.
func TestBadDefinitionFiles(t *testing.T) {
	t.Parallel()
	nobody := testkit.Address(t) // nothing must be sent
	dir := folder(t, tree{"hello/a.go": hello, "folder/x": ""})
	for name, c := range map[string]struct{ text, says string }{
		"empty":            {"", "bad.json:1:1"},
		"no JSON":          {"deploy: hello", "bad.json:1:1"},
		"cut off":          {"{\"deploy\": [\n  {\"name\"", "bad.json:2:"},
		"two values":       {"{\"list\": {}}\n{\"list\": {}}", "bad.json:2:1"},
		"a list":           {"[]", "bad.json:1:1"},
		"no section":       {"{}", "deploy, list, log, stop"},
		"unknown section":  {"{\n  \"depoly\": []\n}", `bad.json:2:3: unknown key "depoly"`},
		"near section":     {"{\"depoly\": []}", `"deploy"`},
		"unknown key":      {"{\"deploy\": [\n  {\"packagedir\": \"hello\", \"name\": \"HelloWorld\"}]}", `bad.json:2:4: unknown key "packagedir"`},
		"near key":         {"{\"deploy\": [{\"packagedir\": \"hello\"}]}", `"packageDir"`},
		"nothing":          {`{"deploy": []}`, "no function"},
		"no list":          {`{"deploy": {"name": "HelloWorld"}}`, "list"},
		"null":             {`{"deploy": [null]}`, "bad.json:1:13"},
		"no folder":        {`{"deploy": [{"name": "HelloWorld"}]}`, "packageDir"},
		"wrong type":       {`{"deploy": [{"name": 7, "packageDir": "hello"}]}`, "bad.json:1:22"},
		"key twice":        {`{"deploy": [{"name": "A", "name": "B", "packageDir": "hello"}]}`, "bad.json:1:27"},
		"section twice":    {`{"list": {}, "list": {}}`, "bad.json:1:14"},
		"function twice":   {`{"deploy": [{"name": "HelloWorld", "packageDir": "hello"}, {"name": "HELLOWORLD", "packageDir": "hello"}]}`, "HELLOWORLD"},
		"stop of nobody":   {`{"stop": {"name": []}}`, "stop"},
		"log without name": {`{"log": {}}`, "log"},
		"bad address":      {`{"list": {"agentAddr": ["nowhere"]}}`, "nowhere"},
		"much":             {`{"list": {}` + strings.Repeat(" ", 1<<20) + `}`, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := folder(t, tree{"bad.json": c.text, "hello/a.go": hello})
			r := proxyCli(t, own, "-proxy", nobody, "def", "bad.json")
			assert.Equal(t, 2, r.code, "%+v", r)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, c.says)
		})
	}
	for _, name := range []string{"missing.json", "folder", "hello/a.go"} {
		r := proxyCli(t, dir, "-proxy", nobody, "def", name)
		assert.Equal(t, 2, r.code, "%+v", r)
		assert.Contains(t, r.stderr, name)
	}
}

// Packages that come with a call, from hands that may mean harm.
func TestBadPackages(t *testing.T) {
	t.Parallel()
	s := startSurvivor(t)
	good := zipped(t, tree{"a.go": inP(handlerF)})
	archive := func(files ...zip.FileHeader) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		f, err := z.Create("a.go")
		require.NoError(t, err)
		_, err = io.WriteString(f, inP(handlerF))
		require.NoError(t, err)
		for _, h := range files {
			text := h.Comment
			h.Comment, h.Method = "", zip.Deflate
			f, err := z.CreateHeader(&h)
			require.NoError(t, err)
			_, err = io.WriteString(f, text)
			require.NoError(t, err)
		}
		require.NoError(t, z.Close())
		return b.Bytes()
	}
	special := func(name, text string, mode fs.FileMode) []byte {
		h := zip.FileHeader{Name: name, Comment: text}
		h.SetMode(mode)
		return archive(h)
	}
	const definition = `[{"name": "F"}]`
	for name, c := range map[string]struct {
		definition string
		packages   [][]byte
		says       string
	}{
		"above":            {definition, [][]byte{special("../x.go", "", 0o644)}, "../x.go"},
		"far above":        {definition, [][]byte{special("a/../../../etc/x", "", 0o644)}, "etc/x"},
		"absolute":         {definition, [][]byte{special("/etc/x", "", 0o644)}, "/etc/x"},
		"backslash":        {definition, [][]byte{special(`..\x.go`, "", 0o644)}, `x.go`},
		"NUL":              {definition, [][]byte{special("x\x00.go", "", 0o644)}, "x"},
		"symlink":          {definition, [][]byte{special("link", "/etc/passwd", fs.ModeSymlink|0o777)}, "link"},
		"device":           {definition, [][]byte{special("dev", "", fs.ModeDevice|0o666)}, "dev"},
		"twice":            {definition, [][]byte{special("a.go", "", 0o644)}, "a.go"},
		"case":             {definition, [][]byte{special("A.go", "", 0o644)}, "A.go"},
		"version control":  {definition, [][]byte{special(".git/config", "[core]", 0o644)}, ".git/config"},
		"reserved":         {definition, [][]byte{special("zz_ryo_main/main.go", "", 0o644)}, "zz_ryo_main"},
		"object":           {definition, [][]byte{special("x.syso", "", 0o644)}, "x.syso"},
		"bomb":             {definition, [][]byte{special("zeros", strings.Repeat("\x00", 32<<20), 0o644)}, "zeros"},
		"no zip":           {definition, [][]byte{[]byte("hello")}, "zip"},
		"half a zip":       {definition, [][]byte{good[:len(good)/2]}, "zip"},
		"empty":            {definition, [][]byte{nil}, "zip"},
		"no package":       {definition, nil, "package"},
		"too many":         {definition, [][]byte{good, good}, "2 packages"},
		"no definition":    {"", [][]byte{good}, "definition"},
		"with a folder":    {`[{"name": "F", "dir": "/etc"}]`, [][]byte{good}, "dir"},
		"outside its root": {`[{"name": "F", "packagePath": "../.."}]`, [][]byte{good}, "../.."},
		"no such folder":   {`[{"name": "F", "packagePath": "no"}]`, [][]byte{good}, "no"},
		"no such function": {`[{"name": "G"}]`, [][]byte{good}, "no function G"},
		"replaced outside": {definition, [][]byte{zipped(t, tree{
			"go.mod": goMod + "\nrequire example.com/x v0.0.0\n\nreplace example.com/x => ../x\n",
			"a.go":   "package p\n\nimport (\n\t\"net/http\"\n\n\t_ \"example.com/x\"\n)\n\n" + handlerF + "\n",
		})}, "go.mod:7:1: replacement ../x is not in the package that was sent"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, addr := range []string{s.agent.addr, s.proxy.http} {
				contentType, body := upload(t, c.definition, c.packages...)
				status, answer, _ := send(t, http.MethodPost, "http://"+addr+"/deploy?wait=true", contentType, body)
				switch status {
				case http.StatusOK:
					var list []row
					require.NoError(t, json.Unmarshal([]byte(answer), &list), answer)
					require.Len(t, list, 1)
					assert.Equal(t, "Failed", list[0].Status)
					assert.Equal(t, "check", list[0].Reason, answer)
					assert.Contains(t, list[0].Error, c.says)
				case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
					e := errorOf(t, answer)
					assert.Contains(t, e.Message+" "+e.Hint, c.says)
				default:
					t.Errorf("answered %d %s", status, answer)
				}
			}
		})
	}
	t.Run("a digest that does not match", func(t *testing.T) {
		for _, addr := range []string{s.agent.addr, s.proxy.http} {
			digest := "sha256:" + strings.Repeat("0", 64)
			status, answer, _ := send(t, http.MethodPut, "http://"+addr+"/packages/"+digest, "application/zip", good)
			assert.Equal(t, http.StatusBadRequest, status, answer)
			status, _, _ = send(t, http.MethodHead, "http://"+addr+"/packages/"+digest, "", nil)
			assert.Equal(t, http.StatusNotFound, status)
		}
	})
	s.unharmed(t)
	s.hasRoom(t)
}

// What may look strange and is right: the layouts of modules that must work.
func TestGoodSources(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	answer := func(name, text string) string {
		return "package p\n\nimport (\n\t\"io\"\n\t\"net/http\"\n)\n\nfunc " + name + "(w http.ResponseWriter, r *http.Request) { io.WriteString(w, " + text + ") }\n"
	}
	dir := folder(t, tree{
		"root/go.mod": "module hello\n\ngo 1.18\n", "root/a.go": answer("Root", `"ok"`),
		"nested/go.mod": "module example.com/n\n", "nested/x/internal/fn/a.go": answer("Nested", `lib.Text`) + "",
		"nested/x/internal/fn/b.go": "package p\n\nimport lib \"example.com/n/x/internal/lib\"\n\nvar _ = lib.Text\n", "nested/x/internal/lib/lib.go": "package lib\n\nconst Text = \"ok\"\n",
		"work/go.work": "go 1.24\n\nuse (\n\t./fn\n\t./lib\n)\n", "work/fn/go.mod": "module example.com/fn\n\ngo 1.24\n\nrequire example.com/lib v0.0.0\n\nreplace example.com/lib => ../lib\n",
		"work/fn/a.go": answer("Work", "lib.Text"), "work/lib/go.mod": "module example.com/lib\n", "work/lib/lib.go": "package lib\n\nconst Text = \"ok\"\n",
		"bare/a.go": answer("Bare", "text"), "bare/b.go": "package p\n\nimport _ \"embed\"\n\n//go:embed text.txt\nvar text string\n", "bare/text.txt": "ok",
		"main/a.go":       strings.Replace(answer("Main", `"ok"`), "package p", "package main", 1),
		"vendored/go.mod": "module example.com/v\n\ngo 1.24\n\ntoolchain go1.99.0\n", "vendored/vendor/modules.txt": "## nonsense\n", "vendored/a.go": answer("Vendored", `"ok"`),
		"variable/a.go":      "package p\n\nimport \"net/http\"\n\ntype W = http.ResponseWriter\n\nvar Variable http.HandlerFunc = func(w W, _ *http.Request) { w.Write([]byte(\"ok\")) }\n",
		"systems/a_linux.go": strings.Replace(answer("Systems", `"ok"`), "package p", "package p // linux", 1), "systems/a_windows.go": "package p\n\nfunc Systems() {}\n",
		"systems/a_test.go": "package p_test\n\nfunc {", "systems/unnamed.go": "package p\n\nimport h \"net/http\"\n\nfunc Unnamed(h.ResponseWriter, *h.Request) {}\n",
	})
	// The helper above imports nothing of the libraries; these files do.
	for file, path := range map[string]string{"nested/x/internal/fn/a.go": "example.com/n/x/internal/lib", "work/fn/a.go": "example.com/lib"} {
		at := filepath.Join(dir, file)
		text, err := os.ReadFile(at)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(at, bytes.Replace(text, []byte("\"io\"\n"), []byte("\"io\"\n\t\""+path+"\"\n"), 1), 0o600))
	}
	functions := map[string]string{
		"Root": "root", "Nested": "nested/x/internal/fn", "Work": "work/fn", "Bare": "bare", "Main": "main",
		"Vendored": "vendored", "Variable": "variable", "Systems": "systems",
	}
	var entries []map[string]string
	for name, at := range functions {
		entries = append(entries, map[string]string{"name": name, "packageDir": at, "agentAddr": s.agent.addr})
	}
	definition, err := json.Marshal(map[string]any{"deploy": entries})
	require.NoError(t, err)
	write(t, dir, tree{"deploy.json": string(definition)})
	r := proxyCli(t, dir, "-proxy", s.proxy.rpc, "def", "-wait", "deploy.json")
	assert.Zero(t, r.code, r.stderr)
	assert.Equal(t, len(functions), strings.Count(r.stdout, `status:"Deployed"`), r.stdout)
	for name := range functions {
		status, answer := fetch(t, http.MethodGet, "http://"+s.proxy.http+"/functions/"+name, "")
		assert.Equal(t, http.StatusOK, status, "%s: %s", name, answer)
		assert.Equal(t, "ok", answer, name)
	}
}
