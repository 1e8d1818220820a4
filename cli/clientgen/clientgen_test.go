package clientgen

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var write = flag.Bool("write", false, "write the golden files")

// shop is a function with all that types can be.
var shop = Function{Name: "PlaceOrder", URL: "http://localhost:9002/functions/placeorder", Version: 3, Types: `{
	"properties": {"request": {"anyOf": [{"$ref": "#/$defs/Order"}, {"type": "null"}]}, "answer": {"$ref": "#/$defs/client"}},
	"$defs": {
		"Order": {"type": "object", "required": ["id", "at", "lines", "weird \"name\""], "properties": {
			"id": {"type": "integer", "minimum": 0}, "at": {"type": "string", "format": "date-time"}, "paid": {"type": ["boolean", "null"]},
			"lines": {"type": ["array", "null"], "items": {"$ref": "#/$defs/line"}}, "weird \"name\"": {"type": "string"}, "-": {"type": "string"},
			"labels": {"type": ["object", "null"], "additionalProperties": {"type": "string"}}, "scan": {"type": ["string", "null"], "contentEncoding": "base64"},
			"more": {}, "when": {"description": "example.com/date.Day is declared elsewhere */\n\" than"}, "parent": {"anyOf": [{"$ref": "#/$defs/Order"}, {"type": "null"}]}, "gone": {"$ref": "#/$defs/nothing"}
		}},
		"line": {"type": "object", "required": ["a-b", "a_b", "2nd"], "properties": {"a-b": {"type": "number"}, "a_b": {"type": "integer"}, "2nd": {"type": "array", "items": {"type": "number"}},
			"nested": {"type": "object", "properties": {"x": {"type": "integer"}}}}},
		"client": {"type": "object", "properties": {}, "description": "it may have further fields"}
	}
}`}

func TestClients(t *testing.T) {
	for _, language := range Languages {
		got, err := Write(language, shop)
		require.NoError(t, err)
		golden := filepath.Join("testdata", "placeorder."+language+".golden")
		if *write {
			require.NoError(t, os.WriteFile(golden, got, 0o600))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		assert.Equal(t, string(want), string(got), "go test ./cli/clientgen -write writes it")
	}
	for _, bad := range []string{"", "[]", "{"} {
		_, err := Write("go", Function{Name: "F", Types: bad})
		assert.Error(t, err, bad)
	}
	_, err := Write("cobol", shop)
	assert.ErrorContains(t, err, "cobol")
}

// The client of Go compiles, whatever its types are.
func TestTheClientOfGoCompiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, data []byte) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	put("go.mod", []byte("module example.com/clients\n\ngo 1.25\n"))
	for _, fn := range []Function{
		shop, {Name: "Nothing", Types: "{}"}, {Name: "Plain", Types: `{"properties": {"request": {"type": "string"}, "answer": {"type": "integer"}}}`},
	} {
		got, err := Write("go", fn)
		require.NoError(t, err)
		put(packageName(fn.Name)+"/client.go", got)
	}
	build := exec.CommandContext(t.Context(), "go", "vet", "./...")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOWORK=off")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
}

// TestTheClientOfTypeScriptCompiles needs tsc; without it the golden file alone is compared.
func TestTheClientOfTypeScriptCompiles(t *testing.T) {
	tsc, err := exec.LookPath("tsc")
	if err != nil {
		t.Skip("the TypeScript compiler is not installed")
	}
	got, err := Write("ts", shop)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "client.ts")
	require.NoError(t, os.WriteFile(path, got, 0o600))
	said, err := exec.CommandContext(t.Context(), tsc, "--strict", "--noEmit", "--target", "es2022", "--lib", "es2022,dom", path).CombinedOutput()
	require.NoError(t, err, "%s", said)
}

func TestRemarks(t *testing.T) {
	assert.Equal(t, []string{"example.com/date.Day is declared elsewhere / \" than", "it may have further fields"}, Remarks(shop.Types))
	assert.Empty(t, Remarks("["))
	assert.Equal(t, []string{"a"}, Remarks(`{"properties": {"request": {"type": "array", "items": {"anyOf": [{"additionalProperties": {"description": "a"}}, {"type": "null"}]}}}}`))
}

func FuzzWrite(f *testing.F) {
	f.Add(shop.Types)
	f.Add(`{"properties": {"request": {"type": "object", "properties": {"\u0000` + "`" + `": {"type": "array"}}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		for _, language := range Languages { // what is written is formatted, so it is Go
			if _, err := Write(language, Function{Name: "F", URL: "http://x/f", Types: text}); err != nil {
				require.NotContains(t, err.Error(), "is not Go")
			}
		}
	})
}
