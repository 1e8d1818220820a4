package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// A client that is printed of a function calls it, with the function's own types.
func TestClientsOfTypedFunctions(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr)
	mustDeploy(t, p.http, "Reverse", source(t, `package fn

import "time"

type Text struct {
	Words []string  `+"`json:\"words\"`"+`
	Sent  time.Time `+"`json:\"sent,omitzero\"`"+`
}

type wrong string

func (w wrong) Error() string { return string(w) }

func (wrong) StatusCode() int { return 422 }

func Reverse(in Text) (*Text, error) {
	if len(in.Words) == 0 {
		return nil, wrong("no words")
	}
	for i, j := 0, len(in.Words)-1; i < j; i, j = i+1, j-1 {
		in.Words[i], in.Words[j] = in.Words[j], in.Words[i]
	}
	return &in, nil
}
`))
	mustDeploy(t, p.http, "Hello", source(t, says("Hello", "hi")))
	mustDeploy(t, p.http, "Count", testkit.Files(t, map[string]string{
		"fn.go":    "package fn\n\nimport (\n\t\"github.com/GoogleCloudPlatform/functions-framework-go/functions\"\n\n\t\"example.com/count/in\"\n)\n\nfunc init() { functions.Typed(\"Count\", in.Count) }\n",
		"in/in.go": "package in\n\nimport (\n\t\"math/rand/v2\"\n\t\"net/netip\"\n)\n\ntype Hosts struct {\n\tList []netip.Addr\n\tMore *rand.PCG\n}\n\nfunc Count(in Hosts) (int, error) { return len(in.List), nil }\n",
		"go.mod":   "module example.com/count\n\ngo 1.25\n\nrequire github.com/GoogleCloudPlatform/functions-framework-go v1.9.2\n",
	}))
	cli := func(args ...string) result { return proxyCli(t, "", append([]string{"-proxy", p.rpc}, args...)...) }

	declared := cli("client", "Count", "-lang", "ts")
	require.Zero(t, declared.code, declared.stderr)
	assert.Contains(t, declared.stdout, "List: Array<string> | null;")
	assert.Contains(t, declared.stdout, "/** math/rand/v2.PCG is declared elsewhere than in what was sent */")
	assert.Contains(t, declared.stderr, "math/rand/v2.PCG")
	printed := cli("client", "Reverse")
	require.Zero(t, printed.code, printed.stderr)
	module := t.TempDir()
	write(t, module, tree{
		"go.mod":                  "module example.com/caller\n\ngo 1.25\n",
		"reverseclient/client.go": printed.stdout,
		"main.go": `package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"example.com/caller/reverseclient"
)

func main() {
	c := reverseclient.New("")
	c.URL = os.Args[1]
	sent := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	answer, err := c.Call(context.Background(), reverseclient.Text{Words: []string{"a", "b"}, Sent: sent})
	fmt.Println(answer.Words, answer.Sent.Equal(sent), err)
	_, err = c.Call(context.Background(), reverseclient.Text{})
	var wrong *reverseclient.Error
	fmt.Println(errors.As(err, &wrong) && wrong.Status == 422, err)
}
`,
	})
	run := exec.CommandContext(t.Context(), "go", "run", ".", "http://"+p.http+"/functions/reverse")
	run.Dir, run.Env = module, append(os.Environ(), "GOWORK=off")
	said, err := run.CombinedOutput()
	require.NoError(t, err, "%s", said)
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	require.Len(t, lines, 2)
	assert.Equal(t, "[b a] true <nil>", lines[0])
	assert.Contains(t, lines[1], "true Reverse answers 422: ")
	assert.Contains(t, lines[1], "no words")

	ts := cli("client", "Reverse@1", "-lang", "ts")
	require.Zero(t, ts.code, ts.stderr)
	assert.Contains(t, ts.stdout, "call(request: Text, options: Options = {}): Promise<Text | null>")
	assert.Contains(t, ts.stdout, "words: Array<string> | null;")

	untyped := cli("client", "Hello")
	assert.Equal(t, 1, untyped.code)
	assert.Contains(t, untyped.stderr, "Hello is of kind http")
	assert.Equal(t, 5, cli("client", "None").code)
	_, versions := fetch(t, http.MethodGet, "http://"+p.http+"/versions?name=Reverse", "")
	assert.Contains(t, versions, `"types":"{`)
}
