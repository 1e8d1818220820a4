package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	protobuf "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

const contractDeploy = `{"deploy": [{"packageDir": "./example/hello", "name": "HelloWorld", "filePath": "./example/hello/helloWorld.go", "agentAddr": ["localhost:9000"]}]}`

// parseDefinition reads the text of a definition in the folder /src.
func parseDefinition(name string, data []byte) (*definition, error) {
	return (&document{file: name, data: withoutMark(data)}).definition("/src")
}

func TestDefinitionOfTheContract(t *testing.T) {
	def, err := parseDefinition("deploy.json", []byte(contractDeploy))
	require.NoError(t, err)
	require.Len(t, def.steps, 1)
	require.Len(t, def.steps[0].entries, 1)
	assert.Equal(t, "deploy.json:1:13", def.steps[0].entries[0].at)
	want := &proto.FunctionJson{
		Name: "HelloWorld", Dir: "/src/example/hello", FilePath: "/src/example/hello/helloWorld.go", ToAgent: []string{"localhost:9000"},
	}
	assert.True(t, protobuf.Equal(want, def.steps[0].entries[0].fn), "%v", def.steps[0].entries[0].fn)

	def, err = parseDefinition("list.json", []byte(`{"list": {"agentAddr": ["http://localhost:9000"]}}`))
	require.NoError(t, err)
	assert.Equal(t, []step{{verb: "list", agents: []string{"localhost:9000"}}}, def.steps)
}

func TestDefinitionEntries(t *testing.T) {
	tests := map[string]struct {
		entry string
		want  *proto.FunctionJson
	}{
		"all settings": {
			`{"name": "F", "packageDir": "/abs/f/", "kind": "http", "env": {"A": "1", "B": ""}, "include": ["data/*"], "tags": ["a", "b"],
			  "ldflags": "-X main.v=1", "timeout": "30s", "memory": "128MiB", "body": "1MiB", "strict": true, "cpu": "0.5",
			  "concurrency": 8, "queue": 20, "queueTimeout": "3s", "instances": 2, "min": 1, "idle": "1m", "drain": "5s", "auth": "public", "routes": ["a.example", "b.example/v1"], "liveness": "9s", "note": "n", "canary": 10,
			  "rate": "100/s burst 500", "allowIPs": ["10.0.0.0/8", "::1"], "compress": true, "webhook": "github:KEY", "agentAddr": [":9000", "http://host-b:9000/"]}`,
			&proto.FunctionJson{
				Name: "F", Dir: "/abs/f", Kind: "http", Env: map[string]string{"A": "1", "B": ""}, Include: []string{"data/*"}, Tags: []string{"a", "b"},
				Ldflags: "-X main.v=1", Timeout: "30s", Memory: "128MiB", Body: "1MiB", Strict: true, ToAgent: []string{"localhost:9000", "host-b:9000"},
				Cpu: "0.5", Concurrency: 8, Queue: 20, QueueTimeout: "3s", Instances: 2, Min: 1, Idle: "1m", Drain: "5s", Auth: "public", Routes: []string{"a.example", "b.example/v1"}, Liveness: "9s", Note: "n", Canary: 10,
				Rate: "100/s burst 500", AllowIps: []string{"10.0.0.0/8", "::1"}, Compress: true, Webhook: "github:KEY",
			},
		},
		"without filePath":   {`{"name": "F", "packageDir": "../f"}`, &proto.FunctionJson{Name: "F", Dir: "/f"}},
		"without packageDir": {`{"name": "F", "filePath": "f/f.go"}`, &proto.FunctionJson{Name: "F", Dir: "/src/f", FilePath: "/src/f/f.go"}},
		"strings for lists": {
			`{"name": "F", "packageDir": ".", "agentAddr": "localhost:9000", "include": "a", "tags": "b"}`,
			&proto.FunctionJson{Name: "F", Dir: "/src", ToAgent: []string{"localhost:9000"}, Include: []string{"a"}, Tags: []string{"b"}},
		},
		"no agent": {`{"name": "F", "packageDir": ".", "agentAddr": []}`, &proto.FunctionJson{Name: "F", Dir: "/src"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			def, err := parseDefinition("d.json", []byte(`{"deploy": [`+tt.entry+`]}`))
			require.NoError(t, err)
			got := def.steps[0].entries[0].fn
			assert.True(t, protobuf.Equal(tt.want, got), "%v", got)
		})
	}
}

func TestDefinitionSecretsAreReferences(t *testing.T) {
	def, err := parseDefinition("d.json", []byte(`{"deploy": [{"name": "F", "packageDir": ".", "secrets":
		{"A": "env:B", "C": "file:../c", "D": "file:/d/", "E": "file:a:b"}}]}`))
	require.NoError(t, err)
	assert.Equal(t, map[string]reference{
		"A": {variable: "B"}, "C": {file: "/c"}, "D": {file: "/d"}, "E": {file: "/src/a:b"},
	}, def.steps[0].entries[0].secrets)
	assert.Empty(t, def.steps[0].entries[0].fn.GetSecrets())
	for _, literal := range []string{"hunter2", "", "env:", "file:", "http://hunter2", "Env:hunter2", "env"} {
		_, err := parseDefinition("d.json", []byte(`{"deploy": [{"name": "F", "packageDir": ".", "secrets": {"A": "`+literal+`"}}]}`))
		require.ErrorIs(t, err, proto.ErrInvalid)
		assert.Equal(t, "d.json:1:63: the secret A is neither env:NAME nor file:PATH", err.Error())
		assert.Contains(t, proto.AsError(err).Hint, "env:")
	}
}

// As editors of some systems write it.
func TestDefinitionWithAMarkAndOtherLineEnds(t *testing.T) {
	text := "\uFEFF" + strings.ReplaceAll("{\n\"deploy\": [\n{\"name\": \"F\", \"packageDir\": \".\", \"kind\": \"http\"}]}\n", "\n", "\r\n")
	def, err := parseDefinition("d.json", []byte(text))
	require.NoError(t, err)
	assert.Equal(t, "d.json:3:1", def.steps[0].entries[0].at)
	_, err = parseDefinition("d.json", []byte("\uFEFF{\"deplyo\": []}"))
	require.EqualError(t, err, `d.json:1:2: unknown key "deplyo" in the definition; did you mean "deploy"?`)

	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("\uFEFFopen sesame\r\n"), 0o600))
	value, err := reference{file: file}.read()
	require.NoError(t, err)
	assert.Equal(t, "open sesame", value)
}

func TestDefinitionSectionsKeepTheirOrder(t *testing.T) {
	def, err := parseDefinition("d.json", []byte(`{
		"stop": {"name": "Old"},
		"deploy": [{"name": "F", "packageDir": "."}],
		"list": {},
		"log": {"name": ["F", "G"]}
	}`))
	require.NoError(t, err)
	var verbs []string
	for _, s := range def.steps {
		verbs = append(verbs, s.verb)
	}
	assert.Equal(t, []string{"stop", "deploy", "list", "log"}, verbs)
	assert.Equal(t, []string{"F", "G"}, def.steps[3].names)
}

func TestDefinitionMistakesAreNamedByPlace(t *testing.T) {
	const d = `{"deploy": [{"name": "F", "packageDir": ".", `
	tests := map[string]struct{ text, want string }{
		"empty":               {"", "d.json:1:1: the file is empty"},
		"white":               {" \n\t", "d.json:1:1: the file is empty"},
		"not JSON":            {"deploy: x", "d.json:1:1: invalid character 'd' looking for beginning of value"},
		"trailing garbage":    {"{\"list\": {}}\n}", "d.json:2:1: invalid character '}' after top-level value"},
		"two documents":       {`{"list": {}} {"list": {}}`, "d.json:1:14: invalid character '{' after top-level value"},
		"cut off":             {`{"list": {`, "d.json:1:10: unexpected end of JSON input"},
		"trailing comma":      {`{"list": {},}`, "d.json:1:13: invalid character '}' looking for beginning of object key string"},
		"comment":             {"{\n  // x\n}", "d.json:2:3: invalid character '/' looking for beginning of object key string"},
		"not UTF-8":           {"{\"list\": \"\xff\"}", "d.json:1:11: the text is not UTF-8"},
		"list at top":         {`[]`, "d.json:1:1: the definition must be an object, not a list"},
		"null at top":         {`null`, "d.json:1:1: the definition must be an object, not null"},
		"nothing":             {`{}`, "d.json:1:1: the definition has none of the sections deploy, list, log, stop"},
		"unknown section":     {`{"deplyo": []}`, `d.json:1:2: unknown key "deplyo" in the definition; did you mean "deploy"?`},
		"wholly unknown":      {`{"x": []}`, `d.json:1:2: unknown key "x" in the definition; known are app, deploy, list, log, stop`},
		"unknown key":         {d + "\n\t\"agentAdr\": []}]}", `d.json:2:2: unknown key "agentAdr" in an entry of deploy; did you mean "agentAddr"?`},
		"letter case":         {`{"deploy": [{"Name": "F"}]}`, `d.json:1:14: unknown key "Name" in an entry of deploy; did you mean "name"?`},
		"columns of letters":  {`{"deploy": [{"name": "Größe", "nmae": ""}]}`, `d.json:1:31: unknown key "nmae" in an entry of deploy; did you mean "name"?`},
		"twice":               {d + `"name": "G"}]}`, `d.json:1:46: "name" is given twice; the first is at d.json:1:14`},
		"section twice":       {`{"list": {}, "list": {}}`, `d.json:1:14: "list" is given twice; the first is at d.json:1:2`},
		"variable twice":      {d + `"env": {"A": "1", "A": "2"}}]}`, `d.json:1:64: "A" is given twice; the first is at d.json:1:54`},
		"number for string":   {d + `"kind": 5}]}`, `d.json:1:54: "kind" must be a string, not a number`},
		"text for boolean":    {d + `"strict": "yes"}]}`, `d.json:1:56: "strict" must be true or false, not a string`},
		"text for number":     {d + `"min": "1"}]}`, `d.json:1:53: "min" must be a number, not a string`},
		"negative number":     {d + `"min": -1}]}`, `d.json:1:53: "min" must be a whole number from 0 on, not -1`},
		"fraction":            {d + `"canary": 1.5}]}`, `d.json:1:56: "canary" must be a whole number from 0 on, not 1.5`},
		"huge number":         {d + `"instances": 4294967296}]}`, `d.json:1:59: "instances" must be a whole number from 0 on, not 4294967296`},
		"list for secrets":    {d + `"secrets": []}]}`, `d.json:1:57: "secrets" must be an object of strings, not a list`},
		"null for string":     {d + `"kind": null}]}`, `d.json:1:54: "kind" must be a string, not null`},
		"bool for list":       {d + `"tags": true}]}`, `d.json:1:54: "tags" must be a string or a list of strings, not a boolean`},
		"number in list":      {d + `"tags": ["a", 1]}]}`, `d.json:1:60: each element of "tags" must be a string, not a number`},
		"list for env":        {d + `"env": ["A=1"]}]}`, `d.json:1:53: "env" must be an object of strings, not a list`},
		"number in env":       {d + `"env": {"PORT": 1}}]}`, `d.json:1:62: "PORT" must be a string, not a number`},
		"object for deploy":   {`{"deploy": {}}`, `d.json:1:12: "deploy" must be a list of functions, not an object`},
		"empty deploy":        {`{"deploy": []}`, `d.json:1:12: "deploy" holds no function`},
		"null entry":          {`{"deploy": [null]}`, `d.json:1:13: an entry of deploy must be an object, not null`},
		"no source":           {`{"deploy": [{"name": "F"}]}`, `d.json:1:13: function "F": both packageDir and filePath are missing`},
		"empty packageDir":    {`{"deploy": [{"name": "F", "packageDir": ""}]}`, `d.json:1:41: "packageDir" is empty`},
		"address":             {d + `"agentAddr": "localhost"}]}`, `d.json:1:59: agentAddr: address "localhost": it has no port`},
		"second address":      {`{"list": {"agentAddr": [":9000", "ftp://x:1"]}}`, `d.json:1:34: agentAddr: address "ftp://x:1": only http:// or https:// may precede it`},
		"stop without names":  {`{"stop": {}}`, `d.json:1:10: stop names no function`},
		"empty name to stop":  {`{"stop": {"name": ["F", ""]}}`, `d.json:1:25: name: an element is empty`},
		"list of agents":      {`{"list": ["localhost:9000"]}`, `d.json:1:10: list must be an object, not a list`},
		"nested beyond bound": {strings.Repeat("[", 20_000), "d.json:1:10001: invalid character '[' exceeded max depth"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parseDefinition("d.json", []byte(tt.text))
			require.ErrorIs(t, err, proto.ErrInvalid)
			assert.Equal(t, tt.want, err.Error())
		})
	}
}

func TestDefinitionFilesThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big.json")
	require.NoError(t, os.WriteFile(big, make([]byte, maxDefinition+1), 0o600))
	for file, want := range map[string]string{
		filepath.Join(dir, "no.json"): "there is no such file",
		dir:                           "is a folder, not a definition file",
		big:                           "is larger than 1048576 bytes",
	} {
		_, err := readDefinition(t.Context(), file, "", nil)
		require.ErrorIs(t, err, proto.ErrInvalid)
		assert.ErrorContains(t, err, file)
		assert.ErrorContains(t, err, want)
	}
}

func FuzzDefinition(f *testing.F) {
	f.Add([]byte(contractDeploy))
	f.Add([]byte(`{"stop": {"name": "F"}, "log": {"name": ["F"]}, "list": {"agentAddr": ":9000"}}`))
	f.Add([]byte("{\"deploy\": [{\"name\": \"Größe\",\n \"packageDir\": \"..\", \"env\": {\"A\": \"\\u0000\"}}]}"))
	f.Add([]byte(`{"deploy": [{"name": "F", "packageDir": ".", "min": 1, "secrets": {"A": "env:B", "C": "file:../c"}}]}`))
	f.Add([]byte("\ufeff{\"list\": {}}"))
	f.Add([]byte(`{"a": {"a": 1e999, "b": [[], {}, null, true]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		def, err := parseDefinition("d.json", data)
		if err != nil {
			require.ErrorIs(t, err, proto.ErrInvalid)
			require.True(t, strings.HasPrefix(err.Error(), "d.json:"), err.Error())
			return
		}
		require.NotEmpty(t, def.steps)
		for _, s := range def.steps {
			for _, e := range s.entries {
				require.True(t, filepath.IsAbs(e.fn.GetDir()))
				require.NotEmpty(t, e.at)
				require.True(t, utf8.ValidString(e.fn.String()))
			}
		}
	})
}
