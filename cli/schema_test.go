package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// The schema takes what a definition may have, and refuses what parseDefinition refuses.
func TestTheSchemaIsThatOfDefinitions(t *testing.T) {
	data, err := json.Marshal(definitionSchema())
	require.NoError(t, err)
	text, err := jsonschema.UnmarshalJSON(strings.NewReader(string(data)))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("deploy.schema.json", text))
	compiled, err := compiler.Compile("deploy.schema.json")
	require.NoError(t, err)
	validate := func(text string) error {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		require.NoError(t, err, text)
		return compiled.Validate(v)
	}

	files, err := filepath.Glob("../example/*/deploy.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	good := []string{
		contractDeploy,
		`{"$schema": "x", "app": "shop", "deploy": [{"name": "F", "filePath": "f.go", "envFile": ".env", "agentAddr": ":9000"}]}`,
		`{"list": {"agentAddr": []}, "stop": {"name": "F"}, "log": {"name": ["F", "G"]}}`,
		`{"list": {}}`,
		`{"deploy": [{"target": "blur-images", "packageDir": ".", "auth": "${AUTH}", "replicas": "all", "placement": {"zone": "a"}}]}`,
	}
	for _, file := range append(files, "../deploy.json", "../list.json") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		good = append(good, string(text))
	}
	for _, s := range proto.Settings() { // each setting in each of its forms
		for _, value := range map[proto.Form][]string{
			proto.Text: {`"x"`}, proto.Count: {"0", "7"}, proto.Switch: {"true"}, proto.List: {`"x"`, `["x", "y"]`}, proto.Variables: {`{"A": "b"}`, "{}"},
			proto.Secrets: {`{"A": "env:B", "C": "file:d"}`}, proto.Labels: {`{"a": "b"}`}, proto.Share: {"2", `"all"`},
		}[s.Form] {
			if words := s.Words(); words != nil {
				value = `"` + words[0] + `"`
			}
			good = append(good, `{"deploy": [{"name": "F", "packageDir": ".", "`+s.Name+`": `+value+`}]}`)
		}
	}
	t.Setenv("AUTH", "public")
	for _, text := range good {
		assert.NoError(t, validate(text), text)
		_, err := parseDefinition("d.json", []byte(text))
		assert.NoError(t, err, text)
	}
	const entry = `{"deploy": [{"name": "F", "packageDir": ".", `
	for _, text := range []string{
		`{}`, `[]`, `{"app": "x"}`, `{"deploy": {}}`, `{"deploy": []}`, `{"deploy": [{"name": "F"}]}`, `{"depoy": []}`, `{"deploy": [{"name": 1, "packageDir": "."}]}`,
		entry + `"memry": "1GiB"}]}`, entry + `"min": "2"}]}`, entry + `"min": -1}]}`, entry + `"min": 1.5}]}`, entry + `"compress": 1}]}`, entry + `"env": {"A": 1}}]}`,
		entry + `"env": ["A=1"]}]}`, entry + `"secrets": {"A": "plain"}}]}`, entry + `"tags": [1]}]}`, entry + `"tags": [""]}]}`, `{"deploy": [{"name": "F", "packageDir": ""}]}`,
		`{"stop": {}}`, `{"stop": "F"}`, `{"list": []}`, `{"list": {"name": "F"}}`,
	} {
		assert.Error(t, validate(text), text)
		_, err := parseDefinition("d.json", []byte(text))
		assert.Error(t, err, text)
	}
	// What is wrong with a word is known to the check alone, where a definition is read.
	assert.Error(t, validate(entry+`"overlap": "never"}]}`))
}
