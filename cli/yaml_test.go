package cli

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	pb "google.golang.org/protobuf/proto"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestYAMLSaysWhatJSONSays(t *testing.T) {
	const asJSON = `{"app": "shop", "deploy": [
		{"name": "A", "packageDir": "a", "env": {"PORT": "80", "HOST": "x"}, "tags": ["t"], "min": 2, "compress": true, "replicas": 2, "note": "2026-11-29"},
		{"name": "B", "packageDir": "b", "env": {"PORT": "81", "HOST": "x"}, "secrets": {"KEY": "file:key.pem"}}
	], "stop": {"name": "C"}}`
	const asYAML = `# A comment.
app: shop
deploy:
  - name: A
    packageDir: a
    env: &env
      PORT: "80"
      HOST: x
    tags: [t]
    min: 0x2
    compress: true
    replicas: 2
    note: 2026-11-29
  - name: B
    packageDir: b
    env:
      PORT: '81'
      <<: *env
    secrets: {KEY: "file:key.pem"}
stop:
  name: C
`
	want, err := parseDefinition("d.json", []byte(asJSON))
	require.NoError(t, err)
	for name, text := range map[string]string{"d.yaml": asYAML, "d.yml": asYAML, "stdin": asYAML, "x/d.yaml": strings.ReplaceAll(asYAML, "\n", "\r\n")} {
		got, err := parseDefinition(name, []byte(text))
		require.NoError(t, err, name)
		require.Len(t, got.steps, len(want.steps))
		assert.Equal(t, want.steps[1].names, got.steps[1].names)
		for i, e := range want.steps[0].entries {
			assert.True(t, pb.Equal(e.fn, got.steps[0].entries[i].fn), "%s: %v and %v", name, e.fn, got.steps[0].entries[i].fn)
			assert.Equal(t, e.secrets, got.steps[0].entries[i].secrets)
		}
	}
	json, err := parseDefinition("stdin", []byte(asJSON))
	require.NoError(t, err)
	assert.Equal(t, want.steps[1].names, json.steps[1].names)
}

func TestErrorsInYAMLNameThePlace(t *testing.T) {
	const entry = "deploy:\n- name: F\n  packageDir: .\n  "
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i, next := range []string{"1", "2", "3", "4", "5", "6"} {
		before := string(rune('0' + i))
		bomb += "a" + next + ": &a" + next + " [" + strings.TrimSuffix(strings.Repeat("*a"+before+", ", 10), ", ") + "]\n"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"unknown key":     {entry + "memry: 1GiB\n", `d.yaml:4:3: unknown key "memry" in an entry of deploy; did you mean "memory"?`},
		"number":          {entry + "env:\n    ö: é\n    PORT: 80\n", `d.yaml:6:11: "PORT" must be a string, not a number`},
		"behind an ö":     {entry + "env: {ö: 1}\n", `d.yaml:4:12: "ö" must be a string, not a number`},
		"null":            {"deploy:\n", `d.yaml:1:8: "deploy" must be a list of functions, not null`},
		"twice":           {"list: {}\nlist: {}\n", `d.yaml:2:1: "list" is given twice; the first is at d.yaml:1:1`},
		"key of a number": {"1: 2\n", "d.yaml:1:1: a key must be a string"},
		"tabs":            {"deploy:\n\t- x\n", "d.yaml:2:1: found character that cannot start any token"},
		"no end":          {"list: {\n", "d.yaml:1:1: did not find expected node content"},
		"two documents":   {"list: {}\n---\nlist: {}\n", "d.yaml:2:1: a definition is one document; another one begins here"},
		"only a comment":  {"# x\n", "d.yaml:1:1: the file has no content"},
		"other type":      {entry + "note: !!binary aGk=\n", "d.yaml:4:9: values of the type !!binary are not known here"},
		"itself":          {"list: &a {agentAddr: [*a]}\n", "d.yaml:1:23: *a is a part of itself"},
		"unknown alias":   {"list: *a\n", "d.yaml:1:1: unknown anchor 'a' referenced"},
		"bomb":            {bomb, "d.yaml:1:34: with its aliases the text has more than 100000 values"},
		"wrong merge":     {entry + "<<: [1]\n", "d.yaml:4:3: what << names must be an object, not a number"},
		"a text":          {"deploy it\n", "d.yaml:1:1: the definition must be an object, not a string"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseDefinition("d.yaml", []byte(tt.text))
			require.ErrorIs(t, err, proto.ErrInvalid)
			assert.Equal(t, tt.want, err.Error())
		})
	}
}

func FuzzYAML(f *testing.F) {
	f.Add([]byte("deploy:\n- {name: F, packageDir: ., env: {A: \"\\0\"}}\n"))
	f.Add([]byte("a: &a [*a]\n<<: *a\n"))
	f.Add([]byte("? [1]\n: !!int x\n--- |\n x\n...\n"))
	f.Add([]byte("list: {agentAddr: >-\n  :9000\n}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		def, err := parseDefinition("d.yaml", data)
		if err != nil {
			require.ErrorIs(t, err, proto.ErrInvalid)
			require.True(t, strings.HasPrefix(err.Error(), "d.yaml:"), err.Error())
			return
		}
		require.NotEmpty(t, def.steps)
		for _, s := range def.steps {
			for _, e := range s.entries {
				require.True(t, filepath.IsAbs(e.fn.GetDir()))
			}
		}
	})
}
