package funcfw

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// said is what Types says of the function F of some files.
func said(t *testing.T, src map[string]string, dir, kind string) []byte {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range src {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	p := Platform{GOOS: "linux", GOARCH: "amd64", GoVersion: "go1.26.8"}
	target, err := Check(fsys, Spec{Dir: dir, Name: "F", Kind: kind}, p)
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
				"More": {"type": ["object", "null"], "additionalProperties": {}}, "Raw": {}, "Shade": {"type": "string"}, "Own": {},
				"Part": {"$ref": "#/$defs/Part"}, "Other": {}, "Maybe": {"type": ["boolean", "null"]}
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
		"texts":     {long + "\nfunc F(in [len(g)]int) error { return nil }", "typed", `{"request": {}}`},
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
