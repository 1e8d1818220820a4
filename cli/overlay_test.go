package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestAnOverlayChangesADefinition(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	base := write("deploy.json", `{"app": "shop", "deploy": [
		{"name": "A", "packageDir": "a", "min": 1, "env": {"X": "1", "Y": "2"}, "note": "n", "agentAddr": ":9000"},
		{"name": "B", "packageDir": "b"}], "stop": {"name": "C"}}`)
	prod := write("deploy.prod.yaml", "deploy:\n- name: A\n  min: 3\n  note: null\n  env: {X: null, Z: '3'}\n  secrets: {K: 'env:K'}\n- {name: D, packageDir: d, env: {P: q}}\nstop: {name: [E]}\n")
	def, err := readDefinition(t.Context(), base, "prod", nil)
	require.NoError(t, err)
	require.Len(t, def.steps, 2)
	require.Len(t, def.steps[0].entries, 3)
	a, b, d := def.steps[0].entries[0], def.steps[0].entries[1], def.steps[0].entries[2]
	assert.EqualValues(t, 3, a.fn.GetMin())
	assert.Empty(t, a.fn.GetNote())
	assert.Equal(t, map[string]string{"Y": "2", "Z": "3"}, a.fn.GetEnv())
	assert.Equal(t, []string{"localhost:9000"}, a.fn.GetToAgent())
	assert.Contains(t, a.secrets, "K")
	assert.Equal(t, filepath.Join(dir, "b"), b.fn.GetDir())
	assert.Equal(t, filepath.Join(dir, "d"), d.fn.GetDir())
	assert.Equal(t, map[string]string{"P": "q"}, d.fn.GetEnv())
	assert.Equal(t, prod+":7:3", d.at)
	assert.Equal(t, []string{"E"}, def.steps[1].names)

	for text, want := range map[string]string{
		"deploy:\n- name: A\n  mni: 3\n":  `:3:3: unknown key "mni" in an entry of deploy; did you mean "min"?`,
		"deploy:\n- min: 3\n":             ":2:3: an entry of an overlay needs the name of its function",
		"deploy: [3]\n":                   ":1:10: an entry of deploy must be an object, not a number",
		"[]\n":                            ":1:1: the overlay must be an object, not a list",
		"deploy:\n- {name: A, env: []}\n": `:2:18: "env" must be an object of strings, not a list`,
		"deploy: {}\n":                    `:1:9: "deploy" must be a list of functions, not an object`,
	} {
		file := write("deploy.bad.yml", text)
		_, err := readDefinition(t.Context(), base, "bad", nil)
		require.ErrorIs(t, err, proto.ErrInvalid, text)
		assert.Equal(t, file+want, err.Error())
	}
	write("deploy.none.json", "{}")
	_, err = readDefinition(t.Context(), base, "none", nil)
	require.NoError(t, err)
	for name, want := range map[string]string{"missing": "deploy.missing.json: there is no such file", "../x": "is no name of letters", "a b": "is no name of letters"} {
		_, err := readDefinition(t.Context(), base, name, nil)
		require.ErrorIs(t, err, proto.ErrInvalid)
		assert.ErrorContains(t, err, want)
	}
	write("deploy.prod.json", "{}")
	_, err = readDefinition(t.Context(), base, "prod", nil)
	assert.ErrorContains(t, err, "deploy.prod.yaml say what to change")
}
