package openapi

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/Ishan27g/ryo-faas/proto"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// written is the document of all routes as it is read.
func written(t *testing.T) map[string]any {
	t.Helper()
	data, err := json.Marshal(Document(API{
		Title: "proxy", Version: "v1", Routes: wire.Routes,
		Others: []Other{
			{Path: "/functions/{name}", Scope: wire.ScopeInvoke, Does: "calls a function"},
			{Path: "/calls/{id}", Scope: wire.ScopeInvoke, Does: "the same as a route"},
			{Path: "/healthz", Methods: []string{"GET"}, Scope: wire.ScopeOpen, Does: "whether this program runs"},
		},
	}))
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	return doc.(map[string]any)
}

// oas31 is the schema of OpenAPI documents, https://spec.openapis.org/oas/3.1/schema/2022-10-07,
// of the OpenAPI Initiative, under the Apache License 2.0.
func oas31(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("testdata/oas31.schema.json")
	require.NoError(t, err)
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("oas31.json", parsed))
	schema, err := compiler.Compile("oas31.json")
	require.NoError(t, err)
	return schema
}

func TestTheDocumentIsOneOfOpenAPI(t *testing.T) {
	schema, doc := oas31(t), written(t)
	require.NoError(t, schema.Validate(doc))

	delete(doc["info"].(map[string]any), "title")
	assert.Error(t, schema.Validate(doc), "the schema refuses what is wrong")
}

func TestEverySchemaCompiles(t *testing.T) { everySchemaCompiles(t, written(t)) }

func everySchemaCompiles(t *testing.T, doc map[string]any) {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi.json", doc))
	schemas := doc["components"].(map[string]any)["schemas"].(map[string]any)
	for name := range schemas {
		_, err := compiler.Compile("openapi.json#/components/schemas/" + name)
		assert.NoError(t, err, name)
	}
	var refs func(v any)
	refs = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, e := range v {
				refs(e)
			}
			if to, ok := v["$ref"].(string); ok {
				if name, ok := strings.CutPrefix(to, "#/components/schemas/"); ok {
					assert.Contains(t, schemas, name)
				}
			}
		case []any:
			for _, e := range v {
				refs(e)
			}
		}
	}
	refs(doc)
}

func TestEveryRouteIsInTheDocument(t *testing.T) {
	paths := written(t)["paths"].(map[string]any)
	ids := map[string]bool{}
	for _, rt := range wire.Routes {
		path := paths[strings.NewReplacer(":digest", "{digest}", ":id", "{id}", ":key", "{key}").Replace(rt.Path)]
		require.NotNil(t, path, rt.Path)
		op, _ := path.(map[string]any)[strings.ToLower(rt.Method)].(map[string]any)
		require.NotNil(t, op, rt.Method+" "+rt.Path)
		assert.NotEmpty(t, op["summary"], rt.Path)
		ids[op["operationId"].(string)] = true
		if rt.Scope == wire.ScopeOpen {
			assert.Empty(t, op["security"], rt.Path)
		} else {
			assert.Contains(t, op["security"].([]any)[0].(map[string]any), "token", rt.Path)
		}
	}
	assert.Len(t, ids, len(wire.Routes), "each has an id of its own")
	assert.Len(t, paths["/functions/{name}"], 7)
	assert.Equal(t, "ShowCall", paths["/calls/{id}"].(map[string]any)["get"].(map[string]any)["operationId"], "a route comes before others")
}

// What a request may have, Decode takes, and what it may not have, Decode refuses.
func TestRequestsAreWhatIsDecoded(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("openapi.json", written(t)))
	schema, err := compiler.Compile("openapi.json#/paths/~1deploy/post/requestBody/content/application~1json/schema")
	require.NoError(t, err)
	for text, good := range map[string]bool{
		`[{"name": "F", "dir": "/d", "timeout": "5s", "env": {"A": "b"}, "include": ["*.txt"], "min": 1, "overlap": "forbid", "replicas": 2}]`: true,
		`[{"name": "F", "replicas": "all", "retries": 0, "allowIPs": ["10.0.0.0/8"]}]`:                                                         true,
		`[{"name": "F", "timout": "5s"}]`:  false,
		`[{"name": 7}]`:                    false,
		`[{"name": "F", "min": -1}]`:       false,
		`[{"name": "F", "env": {"A": 1}}]`: false,
		`{"name": "F"}`:                    false,
	} {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		require.NoError(t, err)
		assert.Equal(t, good, schema.Validate(v) == nil, text)
		_, err = wire.DecodeFunctions([]byte(text))
		assert.Equal(t, good, err == nil, text)
	}
}

// Every field that deploy.proto explains is explained in the document.
func TestCommentsAreFound(t *testing.T) {
	said := proto.Comments()
	assert.Equal(t, "When it was accepted, RFC 3339, UTC; the same for all times here.", said["Call.accepted"])
	assert.Equal(t, "Environment variables of the function's processes.", said["FunctionJson.env"])
	known := map[string]bool{}
	file := proto.File_proto_deploy_proto
	for i := range file.Messages().Len() {
		m := file.Messages().Get(i)
		known[string(m.Name())] = true
		for j := range m.Fields().Len() {
			known[string(m.Name())+"."+string(m.Fields().Get(j).Name())] = true
		}
	}
	methods := file.Services().ByName("Functions").Methods()
	known["Functions"] = true
	for i := range methods.Len() {
		name := "Functions." + string(methods.Get(i).Name())
		known[name] = true
		assert.NotEmpty(t, said[name], name)
	}
	for name := range said {
		assert.True(t, known[name], name)
	}
	assert.Greater(t, len(said), 300)
	assert.Equal(t, protoreflect.Name("Functions"), file.Services().Get(0).Name())
}
