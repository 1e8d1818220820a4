package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// withFunctions is a document with functions as it is read.
func withFunctions(t *testing.T, functions ...Function) map[string]any {
	t.Helper()
	base := Document(API{Title: "proxy", Version: "v1", Routes: wire.Routes})
	before, err := json.Marshal(base)
	require.NoError(t, err)
	data, err := json.Marshal(WithFunctions(base, functions))
	require.NoError(t, err)
	after, err := json.Marshal(base)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after), "the document without functions stays as it is")
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	return doc.(map[string]any)
}

func TestFunctionsAreInTheDocument(t *testing.T) {
	types := []byte(`{"type": "object", "properties": {
		"request": {"type": "object", "properties": {"$ref": {"$ref": "#/$defs/Träger"}, "none": {"$ref": "#/$defs/None"}}},
		"answer": {"anyOf": [{"$ref": "#/$defs/Träger"}, {"type": "null"}]}},
		"$defs": {"Träger": {"type": "object", "properties": {"n": {"type": "integer"}, "next": {"$ref": "#/$defs/Träger"}}, "required": ["n"]}}}`)
	doc := withFunctions(t,
		Function{Name: "Add", Kind: "typed", Version: 3, Path: "/functions/add", Types: types, Public: true},
		Function{Name: "Äh", Kind: "http", Version: 1, Path: "/functions/äh"},
		Function{Name: "Silent", Kind: "typed", Path: "/functions/silent", Types: []byte(`{"properties": {"request": {"type": "string"}}}`)},
		Function{Name: "Unknown", Kind: "typed", Path: "/functions/unknown"},
		Function{Name: "Broken", Kind: "typed", Path: "/functions/broken", Types: []byte(`{"properties": 1}`)},
		Function{Name: "Note", Kind: "event", Path: "/functions/note", Types: []byte(`{"properties": {"request": {"type": "string"}}}`)},
		Function{Name: "Deploy", Kind: "cloudevent", Path: "/deploy", Server: "http://localhost:5001"},
	)
	require.NoError(t, oas31(t).Validate(doc))
	everySchemaCompiles(t, doc)
	paths := doc["paths"].(map[string]any)
	assert.Len(t, paths["/functions/%C3%A4h"], 7)
	assert.Contains(t, paths["/deploy/"], "servers")
	assert.NotContains(t, paths["/deploy"], "servers", "that is the agent's own")
	schemas := doc["components"].(map[string]any)["schemas"]
	for _, name := range []string{"Add.request", "Add.Tr-e4-ger", "Add.Tr-e4-gerInput"} {
		assert.Contains(t, schemas, name)
	}
	add := paths["/functions/add"].(map[string]any)["post"].(map[string]any)
	assert.Equal(t, "Add_post", add["operationId"])
	assert.Equal(t, "calls Add, version 3, of kind typed", add["summary"])
	assert.Empty(t, add["security"], "it is public")
	assert.Contains(t, paths["/functions/silent"].(map[string]any)["post"].(map[string]any)["responses"], "204")
	assert.Contains(t, paths["/functions/unknown"].(map[string]any)["post"].(map[string]any)["responses"], "2XX")

	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi.json", doc))
	const at = "openapi.json#/paths/~1functions~1"
	for _, c := range []struct {
		part, text string
		good       bool
	}{
		{"add/post/requestBody/content/application~1json/schema", `{"$ref": {"n": 1, "next": {"n": 2}}, "none": "anything"}`, true},
		{"add/post/requestBody/content/application~1json/schema", `{"$ref": {"next": {}}}`, true},
		{"add/post/requestBody/content/application~1json/schema", `{"$ref": {"next": {"n": "2"}}}`, false},
		{"add/post/responses/200/content/application~1json/schema", `{"n": 1, "next": {}}`, false},
		{"add/post/responses/200/content/application~1json/schema", `null`, true},
		{"add/post/responses/200/content/application~1json/schema", `{"n": "1"}`, false},
		{"note/post/requestBody/content/application~1json/schema", `"text"`, true},
		{"note/post/requestBody/content/application~1json/schema", `1`, false},
		{"note/post/requestBody/content/application~1cloudevents+json/schema", `{"specversion": "1.0", "id": "1", "source": "/", "type": "a", "data": "text"}`, true},
		{"note/post/requestBody/content/application~1cloudevents+json/schema", `{"specversion": "1.0", "id": "1", "source": "/", "type": "a", "data": 1}`, false},
	} {
		schema, err := compiler.Compile(at + c.part)
		require.NoError(t, err)
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(c.text))
		require.NoError(t, err)
		assert.Equal(t, c.good, schema.Validate(v) == nil, "%s: %s", c.part, c.text)
	}
}

// Neither many functions nor large types make a document without end; it says what is missing.
func TestFunctionsOfADocumentAreBounded(t *testing.T) {
	large := []byte(`{"properties": {"request": {"type": "string", "description": "` + strings.Repeat("x", 60<<10) + `"}}}`)
	var functions []Function
	for i := range MaxFunctions + 7 {
		fn := Function{Name: fmt.Sprintf("F%d", i), Kind: "typed", Path: fmt.Sprintf("/functions/f%d", i)}
		if i < 50 {
			fn.Types = large
		}
		functions = append(functions, fn)
	}
	doc := withFunctions(t, functions...)
	data, err := json.Marshal(doc)
	require.NoError(t, err)
	assert.Less(t, len(data), 2*MaxTypes)
	assert.Contains(t, doc["paths"], fmt.Sprintf("/functions/f%d", MaxFunctions-1))
	assert.NotContains(t, doc["paths"], fmt.Sprintf("/functions/f%d", MaxFunctions))
	about := doc["info"].(map[string]any)["description"]
	assert.Contains(t, about, "7 functions beyond the first 500")
	assert.Contains(t, about, "the types of 16 beyond 2 MiB")
}
