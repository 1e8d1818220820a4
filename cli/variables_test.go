package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func TestVariablesInDefinitions(t *testing.T) {
	t.Setenv("RYO_TEST_WHERE", "prod")
	t.Setenv("RYO_TEST_EMPTY", "")
	for text, want := range map[string]string{
		"${RYO_TEST_WHERE}":                       "prod",
		"a-${RYO_TEST_WHERE}-${RYO_TEST_WHERE}.b": "a-prod-prod.b",
		"${RYO_TEST_EMPTY}":                       "",
		"${RYO_TEST_EMPTY:-x y}":                  "x y",
		"${RYO_TEST_UNSET:-}":                     "",
		"$${RYO_TEST_WHERE} $5 $":                 "${RYO_TEST_WHERE} $5 $",
		"$$${RYO_TEST_WHERE}":                     "$${RYO_TEST_WHERE}",
	} {
		def, err := parseDefinition("d.yaml", []byte("deploy: [{name: F, packageDir: ., env: {A: '"+text+"'}}]"))
		require.NoError(t, err, text)
		assert.Equal(t, want, def.steps[0].entries[0].fn.GetEnv()["A"], text)
	}
	for text, want := range map[string]string{
		"${RYO_TEST_UNSET}": `d.json:1:22: the variable RYO_TEST_UNSET is not set`,
		"a${b-c}":           `d.json:1:22: "${b-c}" is no variable`,
		"${":                `d.json:1:22: "${" is no variable`,
	} {
		_, err := parseDefinition("d.json", []byte(`{"deploy": [{"name": "`+text+`"}]}`))
		require.ErrorIs(t, err, proto.ErrInvalid)
		assert.Equal(t, want, err.Error())
		assert.NotEmpty(t, proto.AsError(err).Hint)
	}
}

func TestVariablesOfFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("common.env", "# of all\nGREETING=hello # and more\n\nexport EMPTY=\nURL=http://x/#a\n")
	write("prod.env", "GREETING=\"hi\\n\\\"you\\\"\" # quoted\r\nRAW='a # \\n \"'\nKEY=never\n")
	write("d.yaml", "deploy: [{name: F, packageDir: ., envFile: [common.env, prod.env], env: {URL: mine}, secrets: {KEY: 'env:X'}}]")
	def, err := readDefinition(t.Context(), filepath.Join(dir, "d.yaml"), "", nil)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"GREETING": "hi\n\"you\"", "EMPTY": "", "URL": "mine", "RAW": `a # \n "`}, def.steps[0].entries[0].fn.GetEnv())

	for text, want := range map[string]string{
		"A=1\nB\n":        "bad.env:2:1: this is no variable",
		"=1\n":            "bad.env:1:1: this is no variable",
		"A B=1\n":         "bad.env:1:1: this is no variable",
		"A=\"x\n":         "bad.env:1:1: the value of A has no end, or something behind it",
		"A='x' y\n":       "bad.env:1:1: the value of A has no end, or something behind it",
		"A=\xff\n":        "bad.env:1:1: the text is not UTF-8",
		"A=1\n\n\tB C=1 ": "bad.env:3:1: this is no variable",
	} {
		err := parseEnvFile("bad.env", []byte(text), map[string]string{})
		require.ErrorIs(t, err, proto.ErrInvalid, text)
		assert.Equal(t, want, err.Error())
	}
	write("d.yaml", "deploy: [{name: F, packageDir: ., envFile: missing.env}]")
	_, err = readDefinition(t.Context(), filepath.Join(dir, "d.yaml"), "", nil)
	require.ErrorIs(t, err, proto.ErrInvalid)
	assert.ErrorContains(t, err, "d.yaml:1:10: envFile: ")
	assert.ErrorContains(t, err, "missing.env does not exist")
}

func FuzzEnvFile(f *testing.F) {
	f.Add([]byte("A=1\nexport B=\"x\\n\" # y\nC='z'\n"))
	f.Add([]byte("\ufeffA = \\\r\n=\n\"=\""))
	f.Fuzz(func(t *testing.T, data []byte) {
		env := map[string]string{}
		if err := parseEnvFile("x.env", data, env); err != nil {
			require.ErrorIs(t, err, proto.ErrInvalid)
			require.True(t, strings.HasPrefix(err.Error(), "x.env:"), err)
			return
		}
		for k := range env {
			require.NotEmpty(t, k)
			require.NotContains(t, k, "=")
		}
	})
}
