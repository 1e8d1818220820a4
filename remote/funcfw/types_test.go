package funcfw

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"go/types"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// said is what Types says of the function F of some files.
func said(t *testing.T, src map[string]string, dir, kind string) []byte {
	t.Helper()
	return saidOf(t, src, Spec{Dir: dir, Name: "F", Kind: kind})
}

func saidOf(t *testing.T, src map[string]string, spec Spec) []byte {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range src {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	p := Platform{GOOS: "linux", GOARCH: "amd64", GoVersion: "go1.26.8"}
	target, err := Check(fsys, spec, p)
	require.NoError(t, err)
	return Types(fsys, target, p)
}

func TestTypesAreAsJSONWritesThem(t *testing.T) {
	const src = `package p

import (
	"encoding/json"
	"time"

	"example.com/m/parts"
	elsewhere "example.com/other"
)

type base struct {
	ID   string
	Name string
}

type Shade int

func (s Shade) MarshalText() ([]byte, error) { return nil, nil }

type Own struct{}

func (*Own) UnmarshalJSON([]byte) error { return nil }

type Tree struct {
	base
	Name     string  ` + "`json:\"name\"`" + `
	Children []*Tree ` + "`json:\"children,omitempty\"`" + `
	hidden   int
	Skipped  int ` + "`json:\"-\"`" + `
	Count    uint32 ` + "`json:\"count,string\"`" + `
	Data     []byte
	At       time.Time
	Took     time.Duration
	Pair     [2]float64
	More     map[string]any
	Raw      json.RawMessage
	Shade    Shade
	Own      Own
	Part     parts.Part
	Other    elsewhere.Thing
	Maybe    *bool
}

func helper() { var x undefined; _ = x }

func F(in []Tree) (*Tree, error) { return nil, nil }
`
	got := said(t, map[string]string{
		"go.mod": "module example.com/m\n\ngo 1.25\n", "f.go": src,
		"parts/parts.go": "package parts\n\ntype Part struct{ Kind Kind `json:\"kind\"` }\n\ntype Kind string\n",
	}, ".", "")
	assert.JSONEq(t, `{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
		"properties": {
			"request": {"type": ["array", "null"], "items": {"$ref": "#/$defs/Tree"}},
			"answer": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]}
		},
		"$defs": {
			"Part": {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]},
			"Tree": {"type": "object", "properties": {
				"ID": {"type": "string"}, "Name": {"type": "string"}, "name": {"type": "string"},
				"children": {"type": ["array", "null"], "items": {"anyOf": [{"$ref": "#/$defs/Tree"}, {"type": "null"}]}},
				"count": {"type": "string"}, "Data": {"type": ["string", "null"], "contentEncoding": "base64"},
				"At": {"type": "string", "format": "date-time"}, "Took": {"type": "integer"},
				"Pair": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
				"More": {"type": ["object", "null"], "additionalProperties": {}}, "Raw": {}, "Shade": {"type": "string"}, "Own": {"description": "example.com/m.Own says itself what it is in JSON"},
				"Part": {"$ref": "#/$defs/Part"}, "Other": {"description": "example.com/other.Thing is declared elsewhere than in what was sent"}, "Maybe": {"type": ["boolean", "null"]}
			}, "required": ["At", "Data", "ID", "Maybe", "More", "Name", "Other", "Own", "Pair", "Part", "Raw", "Shade", "Took", "count", "name"]}
		}
	}`, string(got))

	// What encoding/json writes of a zero value is what the schema says.
	type tree struct {
		ID, Name string
		Lower    string  `json:"name"`
		Children []*tree `json:"children,omitempty"`
		Count    uint32  `json:"count,string"`
		Data     []byte
		At       string
		Took     int
		Pair     [2]float64
		More     map[string]any
		Raw      json.RawMessage
		Shade    string
		Own      struct{}
		Part     struct {
			Kind string `json:"kind"`
		}
		Other struct{}
		Maybe *bool
	}
	written, err := json.Marshal(map[string]any{"request": nil, "answer": tree{At: "2026-01-01T00:00:00Z"}})
	require.NoError(t, err)
	schema, err := jsonschema.UnmarshalJSON(strings.NewReader(string(got)))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("types.json", schema))
	compiled, err := compiler.Compile("types.json")
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(written)))
	require.NoError(t, err)
	require.NoError(t, compiled.Validate(value))
	value.(map[string]any)["answer"].(map[string]any)["Took"] = "soon"
	require.Error(t, compiled.Validate(value))
}

func TestTypesThatAreNotKnown(t *testing.T) {
	long := "const a = \"aaaaaaaaaaaaaaaa\"\n" // 4 MiB at the end
	for name := 'b'; name <= 'g'; name++ {
		long += fmt.Sprintf("const %c = %s\n", name, strings.Repeat(string(name-1)+"+", 7)+string(name-1))
	}
	for name, c := range map[string]struct{ src, kind, want string }{
		"http":      {"import \"net/http\"\n\nfunc F(w http.ResponseWriter, r *http.Request) {}", "", ""},
		"no answer": {"func F(in string) error { return nil }", "", `{"request": {"type": "string"}}`},
		"event":     {"import \"context\"\n\nfunc F(ctx context.Context, in struct{ A int }) error { return nil }", "", `{"request": {"type": "object", "properties": {"A": {"type": "integer"}}, "required": ["A"]}}`},
		"length":    {"const n, m = 1 << 2, iota\n\nfunc F(in [n]int) error { return nil }", "typed", `{"request": {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}}`},
		"texts":     {long + "\nfunc F(in [len(g)]int) error { return nil }", "typed", `{"request": {"description": "the type is declared elsewhere than in what was sent"}}`},
		"generic":   {"type G[T any] struct{ V T; Next *G[[]T] }\n\nfunc F(in G[int]) (int, error) { return 0, nil }", "", "any"},
		"itself":    {"type L []L\n\nfunc F(in L) (int, error) { return 0, nil }", "", "any"},
		"broken":    {"type T = T\n\ntype U struct { U }\n\nfunc F(in U) (map[string]T, error) { return nil, nil }", "", "any"},
		"constant":  {"const n = 1 << 100 << 100\n\nfunc F(in [n]int) (int, error) { return 0, nil }", "", "any"},
		"many":      {"type M map[string]struct{ A, B, C M }\n\nfunc F(in M) (int, error) { return 0, nil }", "", "any"},
		"embedded":  {"type A struct { *A; *B }\n\ntype B struct { *A; *B; N int }\n\nfunc F(in A) (int, error) { return 0, nil }", "", "any"},
		"import":    {"import . \"fn\"\n\nfunc F(in X) (int, error) { return 0, nil }", "", "any"},
	} {
		got := said(t, map[string]string{"f.go": "package fn\n\n" + c.src + "\n"}, ".", c.kind)
		switch c.want {
		case "":
			assert.Nil(t, got, name)
		case "any": // whatever it is, it is JSON within the limit
			assert.True(t, got == nil || json.Valid(got), name)
			assert.LessOrEqual(t, len(got), maxTypes, name)
		default:
			var doc struct{ Properties json.RawMessage }
			require.NoError(t, json.Unmarshal(got, &doc), name)
			assert.JSONEq(t, c.want, string(doc.Properties), name)
		}
	}
}

// Functions that a call declares have types, too, as far as their declarations are at hand.
func TestTypesOfDeclaredFunctions(t *testing.T) {
	const number, text = `{"request": {"type": "integer"}, "answer": {"type": "string"}}`, `{"request": {"type": "string"}}`
	for name, c := range map[string]struct{ body, want string }{
		"a function":            {`functions.Typed("f", sum)`, number},
		"a literal":             {`functions.Typed("f", func(in string) error { type T int; return nil })`, text},
		"of another package":    {`functions.Typed("f", ops.Sum)`, `{"request": {"$ref": "#/$defs/In"}, "answer": {"anyOf": [{"$ref": "#/$defs/In"}, {"type": "null"}]}}`},
		"an instance":           {`functions.Typed("f", same[int])`, `{"request": {"type": "integer"}, "answer": {"type": "integer"}}`},
		"of a tagged struct":    {"functions.Typed(\"f\", func(in struct{ A int `json:\"a\"` }) error { return nil })", `{"request": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}`},
		"one of two":            {`functions.Typed("g", func(in bool) {}); functions.Typed("f", sum)`, number},
		"a local type":          {`type string struct{}; functions.Typed("f", func(in string) error { return nil })`, ""},
		"a local function":      {`sum := func(in bool) error { return nil }; functions.Typed("f", sum)`, ""},
		"a method of a value":   {`functions.Typed("f", value.Sum)`, ""},
		"what a call returns":   {`functions.Typed("f", wrap(sum))`, ""},
		"of a package not sent": {`functions.Typed("f", away.Sum)`, ""},
		"no function":           {`functions.Typed("f", 1)`, ""},
	} {
		got := saidOf(t, map[string]string{
			"go.mod": "module example.com/m\n\ngo 1.25\n",
			"f.go": "package p\n\nimport (\n\t\"github.com/GoogleCloudPlatform/functions-framework-go/functions\"\n\tops \"example.com/m/operations\"\n\t\"example.com/away\"\n)\n\n" +
				"func init() {\n\t" + c.body + "\n}\n\nvar value T\n",
			"g.go": "package p\n\nfunc sum(in int) (string, error) { return \"\", nil }\n\nfunc same[T any](in T) (T, error) { return in, nil }\n\n" +
				"func wrap(f func(int) (string, error)) func(int) (string, error) { return f }\n\ntype T struct{}\n\nfunc (T) Sum(in int) error { return nil }\n",
			"operations/ops.go": "package operations\n\ntype In struct{ N int }\n\nfunc Sum(in In) (*In, error) { return &in, nil }\n",
		}, Spec{Name: "F", Target: "f", Kind: ""})
		if c.want == "" {
			assert.Nil(t, got, name)
			continue
		}
		var doc struct{ Properties json.RawMessage }
		require.NoError(t, json.Unmarshal(got, &doc), name)
		assert.JSONEq(t, c.want, string(doc.Properties), name)
	}
}

// Types of other modules are known where these were sent: vendored, beside the module in a
// workspace, or in the place of one that is required.
func TestTypesOfOtherModules(t *testing.T) {
	src := map[string]string{
		"go.work": "go 1.25\n\nuse (\n\t./fn\n\t./beside\n)\n", "fn/go.mod": "module example.com/m\n\ngo 1.25\n\nreplace example.com/local/v2 => ../local\n",
		"beside/go.mod": "module example.com/m/beside\n\ngo 1.25\n", "beside/b.go": "package beside\n\ntype B struct{ N int }\n",
		"local/go.mod": "module example.com/local/v2\n\ngo 1.25\n", "local/deep/l.go": "package deep\n\nimport \"example.com/vendored\"\n\ntype L []vendored.V\n",
		"vendor/modules.txt": "## workspace\n# example.com/vendored v1.0.0\n## explicit\nexample.com/vendored\n", "vendor/example.com/vendored/v.go": "package vendored\n\ntype V map[string]bool\n",
		"fn/f.go": `package fn

import (
	"example.com/away/go-things/v3"
	"example.com/local/v2/deep"
	"example.com/m/beside"
	"net/url"
)

type In struct {
	things.Embedded
	B beside.B
	L deep.L
	U *url.URL
	E url.Error
	T []*things.Thing
	G things.Generic[int]
}

func F(in In) error { return nil }
`,
	}
	var doc struct {
		Defs map[string]any `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(said(t, src, "fn", ""), &doc))
	in, err := json.Marshal(doc.Defs["In"])
	require.NoError(t, err)
	assert.JSONEq(t, `{"type": "object", "required": ["B", "E", "G", "L", "T", "U"], "properties": {
		"B": {"$ref": "#/$defs/B"}, "U": {"anyOf": [{"$ref": "#/$defs/URL"}, {"type": "null"}]},
		"L": {"type": ["array", "null"], "items": {"type": ["object", "null"], "additionalProperties": {"type": "boolean"}}},
		"E": {"description": "net/url.Error is declared elsewhere than in what was sent"},
		"G": {"description": "the type is declared elsewhere than in what was sent"},
		"T": {"type": ["array", "null"], "items": {"description": "example.com/away/go-things/v3.Thing is declared elsewhere than in what was sent"}}
	}, "description": "it may have further fields: example.com/away/go-things/v3.Embedded, declared elsewhere than in what was sent"}`, string(in))
	assert.Contains(t, doc.Defs, "URL")
}

// What is known of the standard library is what its own source says, and what encoding/json
// writes of its values.
func TestTypesOfTheStandardLibrary(t *testing.T) {
	goroot, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	require.NoError(t, err)
	p := Platform{GOOS: "linux", GOARCH: "amd64", GoVersion: runtime.Version()}
	schemas := func(standard bool) map[string]any {
		src := fstest.MapFS{"go.mod": &fstest.MapFile{Data: []byte("module m\n")}}
		r := newReader(src, &Target{Dir: ".", PackageName: "m"}, p)
		if standard {
			r.fsys = os.DirFS(filepath.Join(strings.TrimSpace(string(goroot)), "src"))
		}
		all := map[string]any{}
		for importPath := range known {
			var pkg *types.Package
			if standard {
				pkg = r.read(importPath, importPath)
			} else {
				pkg, _ = r.Import(importPath)
			}
			require.NotNil(t, pkg, importPath)
			for _, name := range pkg.Scope().Names() {
				s := &jsonTypes{defs: map[string]any{}, names: map[*types.TypeName]string{}}
				all[importPath+"."+name] = []any{s.of(pkg.Scope().Lookup(name).Type(), 0), s.defs}
			}
		}
		return all
	}
	ours, theirs := schemas(false), schemas(true)
	assert.Greater(t, len(ours), 50)
	for name, schema := range ours {
		want, err := json.Marshal(theirs[name])
		require.NoError(t, err)
		got, err := json.Marshal(schema)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(got), name)
	}
	for name, value := range map[string]any{
		"math/big.Int": big.NewInt(7), "math/big.Rat": big.NewRat(1, 2), "log/slog.Level": slog.LevelInfo, "time.Time": time.Now(), "time.Duration": time.Second,
		"net/url.URL": url.URL{Path: "/"}, "net/netip.Addr": netip.IPv6Loopback(), "net.IPNet": net.IPNet{}, "encoding/json.Number": json.Number("1"),
		"database/sql.NullTime": sql.NullTime{}, "regexp.Regexp": regexp.MustCompile("a"), "sync/atomic.Int64": &atomic.Int64{}, "bytes.Buffer": &bytes.Buffer{},
	} {
		text, err := json.Marshal(map[string]any{"$defs": ours[name].([]any)[1], "allOf": []any{ours[name].([]any)[0]}})
		require.NoError(t, err)
		schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		require.NoError(t, err)
		compiler := jsonschema.NewCompiler()
		require.NoError(t, compiler.AddResource("type.json", schema))
		compiled, err := compiler.Compile("type.json")
		require.NoError(t, err)
		written, err := json.Marshal(value)
		require.NoError(t, err)
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(written))
		require.NoError(t, err)
		assert.NoError(t, compiled.Validate(v), "%s: %s", name, written)
		assert.Error(t, compiled.Validate([]any{true}), name)
	}
}

func FuzzTypes(f *testing.F) {
	for _, src := range []string{"type T struct{ A *T }\nfunc F(in T) (T, error) { return in, nil }", "func F(in map[string][]byte) error { return nil }", "type G[T any] struct{ V T }\nfunc F(in G[G[int]]) error { return nil }"} {
		f.Add(src)
	}
	p := Platform{GOOS: "linux", GOARCH: "amd64", GoVersion: "go1.26.8"}
	f.Fuzz(func(t *testing.T, src string) {
		fsys := fstest.MapFS{"f.go": &fstest.MapFile{Data: []byte("package p\n\n" + src)}}
		target, err := Check(fsys, Spec{Name: "F"}, p)
		if err != nil {
			return
		}
		if got := Types(fsys, target, p); got != nil {
			require.True(t, json.Valid(got))
		}
	})
}
