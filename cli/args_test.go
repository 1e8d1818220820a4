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

func TestNormalizeGivesLongFlagsTwoDashes(t *testing.T) {
	for in, want := range map[string]string{
		"-help":                                  "--help",
		"--help":                                 "--help",
		"-h":                                     "--help",
		"def -help":                              "def --help",
		"-proxy localhost:1 list":                "--proxy=localhost:1 list",
		"-proxy=localhost:1 list -o json":        "--proxy=localhost:1 list --output=json",
		"list -output=json":                      "list --output=json",
		"list -ojson":                            "list --output=json",
		"invoke F -d -help":                      "invoke F --data=-help",
		"invoke F -d -- -X PUT":                  "invoke F --data=-- --method=PUT",
		"invoke F -d@file -XPUT":                 "invoke F --data=@file --method=PUT",
		"invoke F -d a=b":                        "invoke F --data=a=b",
		"invoke F -data=a=b":                     "invoke F --data=a=b",
		"def -":                                  "def -",
		"stop -- -F":                             "stop -- -F",
		"deploy -wait DIR":                       "deploy --wait DIR",
		"deploy -wait=false -env K=-v -name X .": "deploy --wait=false --env=K=-v --name=X .",
		"deploy list":                            "deploy list",
		"help deploy":                            "help deploy",
		"list -o":                                "list --output",
		"completion bash -no-descriptions":       "completion bash --no-descriptions",
	} {
		got, err := normalize((&app{}).root(), strings.Fields(in))
		require.NoError(t, err, in)
		assert.Equal(t, want, strings.Join(got, " "), in)
	}
}

func TestNormalizeNamesTheNearest(t *testing.T) {
	for in, want := range map[string]string{
		"lst":             `unknown command "lst"; did you mean list? (see proxyCli -help)`,
		"lst -name x":     `unknown command "lst"; did you mean list? (see proxyCli -help)`,
		"-q detials":      `unknown command "detials"; did you mean details? (see proxyCli -help)`,
		"zzz":             `unknown command "zzz" (see proxyCli -help)`,
		"-porxy x list":   `unknown flag -porxy; did you mean -proxy? (see proxyCli -help)`,
		"list -zz":        `unknown flag -zz (see proxyCli list -help)`,
		"deploy --nmae=x": `unknown flag -nmae; did you mean -name? (see proxyCli deploy -help)`,
		"deploy -wiat":    `unknown flag -wiat; did you mean -wait? (see proxyCli deploy -help)`,
		"list -name x":    `unknown flag -name (see proxyCli list -help)`,
		"list -qh":        `unknown flag -qh (see proxyCli list -help)`,
		"list --ojson":    `unknown flag -ojson (see proxyCli list -help)`,
		"list -=":         `unknown flag - (see proxyCli list -help)`,
		"list ---":        `unknown flag - (see proxyCli list -help)`,
		"completion bahs": `unknown command "bahs"; did you mean bash? (see proxyCli completion -help)`,
	} {
		_, err := normalize((&app{}).root(), strings.Fields(in))
		require.ErrorIs(t, err, proto.ErrInvalid, in)
		assert.Equal(t, want, err.Error(), in)
	}
}

// A flag is called in an error as it was on the command line.
func TestErrorsNameFlagsAsTheyWereWritten(t *testing.T) {
	for line, want := range map[string]string{
		"log F -n x":           `error: -n: "x" is not a whole number from 0 on`,
		"log F -nx":            `error: -n: "x" is not a whole number from 0 on`,
		"log F -n=x":           `error: -n: "x" is not a whole number from 0 on`,
		"log F -tail x":        `error: -tail: "x" is not a whole number from 0 on`,
		"log F --tail=x":       `error: -tail: "x" is not a whole number from 0 on`,
		"log F -n 5 -tail x":   `error: -tail: "x" is not a whole number from 0 on`,
		"log F -n x -tail 5":   `error: -n: "x" is not a whole number from 0 on`,
		"log F -n":             `error: -n needs a value: N`,
		"log F -f=maybe":       `error: -f: "maybe" is neither true nor false`,
		"log F -follow=maybe":  `error: -follow: "maybe" is neither true nor false`,
		"list -o xml":          `error: -o: "xml" is neither text nor json`,
		"list -output xml":     `error: -output: "xml" is neither text nor json`,
		"audit -n 0":           `error: -n: the least is 1`,
		"audit -last 0":        `error: -last: the least is 1`,
		"invoke F -X=":         `error: -X: the value is empty`,
		"invoke F -method=":    `error: -method: the value is empty`,
		"invoke F -d @absent":  `error: -d: open absent: no such file or directory`,
		"invoke F -data @gone": `error: -data: open gone: no such file or directory`,
	} {
		c := newConsole(false)
		assert.Equal(t, exitUsage, c.run(t.Context(), append([]string{"-proxy", "127.0.0.1:1"}, strings.Fields(line)...)), line)
		assert.True(t, strings.HasPrefix(c.stderr.String(), want+" (see proxyCli "), "%s: %s", line, c.stderr.String())
	}
}

// What encoding/json says of a file that people may have edited names types of Go.
func TestContextsOfAnotherFormAreSaidInPlainWords(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "ryo-faas"), 0o700))
	for text, want := range map[string]string{`[]`: "all of it is a JSON array there", `{"contexts": {"a": {"proxy": 7}}}`: "contexts.proxy is a JSON number there", `{`: "unexpected end of JSON input"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ryo-faas", "contexts.json"), []byte(text), 0o600))
		_, err := loadContexts()
		require.ErrorIs(t, err, proto.ErrInvalid)
		assert.True(t, strings.HasSuffix(err.Error(), "contexts.json: "+want), err.Error())
	}
}

func FuzzNormalize(f *testing.F) {
	f.Add("deploy\x00-wait=false\x00-env\x00K=v")
	f.Add("invoke\x00F\x00-d@x\x00--\x00-h")
	f.Add("-=\x00-\x00--=\x00-é")
	f.Fuzz(func(t *testing.T, words string) {
		out, err := normalize((&app{}).root(), strings.Split(words, "\x00"))
		if err == nil {
			again, err := normalize((&app{}).root(), out)
			require.NoError(t, err)
			require.Equal(t, out, again)
		}
	})
}

func TestJSONIsAskedForWhateverElseIsWrong(t *testing.T) {
	for args, want := range map[string]bool{
		"lst -o json": true, "-o json lst": true, "-output=json list -foo": true, "--output json list -foo": true, "-ojson list -foo": true, "-o=json scale": true,
		"lst": false, "-o text lst": false, "lst -o": false, "-o json -o text lst": false, "lst -- -o json": false,
	} {
		c := newConsole(false)
		assert.Equal(t, exitUsage, c.run(t.Context(), strings.Fields(args)), args)
		assert.Equal(t, want, strings.HasPrefix(c.stderr.String(), `{"error":{"code":"invalid"`), "%s: %s", args, &c.stderr)
	}
	t.Setenv("RYO_OUTPUT", "json")
	for _, args := range []string{"lst", "list a b", "scale"} {
		c := newConsole(false)
		assert.Equal(t, exitUsage, c.run(t.Context(), strings.Fields(args)), args)
		assert.Contains(t, c.stderr.String(), `{"error":`, args)
	}
}

func TestArgumentsAreNamedInPlainEnglish(t *testing.T) {
	for args, want := range map[string]string{
		"calls show": "show needs an ID", "token rotate": "rotate needs an ID", "agents drain": "drain needs an AGENT", "stop": "stop needs a NAME",
		"calls show a b": `show takes one ID; "b" is too much`, "agents resume a b": `resume takes one AGENT; "b" is too much`,
	} {
		c := newConsole(false)
		assert.Equal(t, exitUsage, c.run(t.Context(), strings.Fields(args)), args)
		assert.Contains(t, c.stderr.String(), "error: "+want+" (see ", args)
	}
}
