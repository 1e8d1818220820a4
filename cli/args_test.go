package cli

import (
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
