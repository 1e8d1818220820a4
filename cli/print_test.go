package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

// console is an app whose streams are buffers that a test may call terminals.
type console struct {
	*app
	stdout, stderr *bytes.Buffer
}

func newConsole(terminals bool) *console {
	c := &console{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
	c.app = &app{
		stdin: strings.NewReader(""), stdout: c.stdout, stderr: c.stderr,
		isTerminal: func(any) bool { return terminals },
		output:     "text",
	}
	return c
}

func TestRowsAsLinesAndAsJSON(t *testing.T) {
	rows := []*proto.FunctionJsonRsp{{
		Name: "HelloWorld", Status: "Deploying", Url: "http://localhost:9002/functions/helloworld", AtAgent: "localhost:9000", Error: "a < b",
	}}
	c := newConsole(false)
	require.NoError(t, c.printRows(rows))
	assert.Equal(t, `name:"HelloWorld"  url:"http://localhost:9002/functions/helloworld"  status:"Deploying"`+"\n", c.stdout.String())
	assert.Empty(t, c.stderr.String())

	c = newConsole(true)
	c.output = "json"
	require.NoError(t, c.printRows(rows))
	require.NoError(t, c.printRows(nil))
	row, none, _ := strings.Cut(c.stdout.String(), "\n")
	assert.Equal(t, "[]\n", none)
	var got []map[string]any
	require.NoError(t, json.Unmarshal([]byte(row), &got))
	require.Len(t, got, 1)
	for key, value := range map[string]any{"name": "HelloWorld", "status": "Deploying", "atAgent": "localhost:9000", "error": "a < b", "printed": 0.0, "serving": []any{}} {
		assert.Equal(t, value, got[0][key], key)
	}
	known := rows[0].ProtoReflect().Descriptor().Fields()
	for i := range known.Len() {
		if field := known.Get(i); field.Message() == nil || field.IsList() {
			assert.Contains(t, got[0], field.JSONName(), "every key is there, whatever its value")
		}
	}
}

func TestWarningsAreSaidOnce(t *testing.T) {
	program := &proto.Program{Warnings: []string{"a.b/c v1.0.0 → v1.1.0 (the functions framework requires it)"}}
	c := newConsole(false)
	c.warnRows([]*proto.FunctionJsonRsp{
		{Name: "HelloWorld", Status: "Deployed", AtAgent: "a:9000", Program: program},
		{Name: "HelloWorld", Status: "Deployed", AtAgent: "b:9000", Program: program},
	})
	assert.Equal(t, "warning: HelloWorld: a.b/c v1.0.0 → v1.1.0 (the functions framework requires it)\n", c.stderr.String())
}

const source = `package hello

func HelloWorld(w http.ResponseWriter, r *http.Request) {
	fmt.Fprit(w, "Hello, World!\n")
}
`

func TestFailedRowShowsTheUsersLines(t *testing.T) {
	root := t.TempDir()
	t.Chdir(root)
	require.NoError(t, os.MkdirAll(filepath.Join(root, "fn/hello"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(root, "fn/hello/hello.go"), []byte(source), 0o600))

	c := newConsole(false)
	c.reportRows([]*proto.FunctionJsonRsp{{
		Name: "HelloWorld", Status: "Failed", Reason: proto.ReasonBuild, AtAgent: "node-a:9000", Instances: 1,
		Error: "# example.com/hello\nhello/hello.go:4:6: undefined: fmt.Fprit\n../../etc/x.go:1:1: outside\ngone.go:1:1: not here",
	}}, []string{filepath.Join(root, "fn")})
	assert.Equal(t, `error: HelloWorld did not build on node-a:9000
  # example.com/hello
  fn/hello/hello.go:4:6: undefined: fmt.Fprit
     3 | func HelloWorld(w http.ResponseWriter, r *http.Request) {
     4 | 	fmt.Fprit(w, "Hello, World!\n")
       | 	    ^
  ../../etc/x.go:1:1: outside
  gone.go:1:1: not here
  the deploy before it goes on serving
hint: correct the source and deploy again
`, c.stderr.String())
	assert.Empty(t, c.stdout.String())
}

func TestFailedDeployOfAFunctionThatServesIsANote(t *testing.T) {
	row := &proto.FunctionJsonRsp{Name: "F", Status: "Deployed", AtAgent: "a:1", Error: "f.go:1:1: no\nmore"}
	c := newConsole(false)
	c.reportRows([]*proto.FunctionJsonRsp{row, {Name: "G", Status: "Deployed"}}, nil)
	assert.Equal(t, "F on a:1 serves, but f.go:1:1: no\n", c.stderr.String())

	c = newConsole(false)
	c.quiet = true
	c.reportRows([]*proto.FunctionJsonRsp{row}, nil)
	assert.Empty(t, c.stderr.String())
}

func TestCausesComeBeforeWhatFollowsFromThem(t *testing.T) {
	c := newConsole(false)
	c.reportRows([]*proto.FunctionJsonRsp{
		{Name: "F", Status: "Failed", AtAgent: "a:1", Reason: proto.ReasonRollout, Error: "it was not changed: the rollout stopped at agent b:1"},
		{Name: "F", Status: "Failed", AtAgent: "b:1", Reason: proto.ReasonUnreachable, Error: "agent b:1 does not answer"},
	}, nil)
	assert.Equal(t, `error: F could not be deployed on b:1
  agent b:1 does not answer
error: F could not be deployed on a:1
  it was not changed: the rollout stopped at agent b:1
`, c.stderr.String())
}

func TestAnAgentThatDoesNotAnswerIsSaidOnce(t *testing.T) {
	why := "agent b:1 does not answer since 2026-01-02T03:04:05Z: refused"
	c := newConsole(false)
	c.reportRows([]*proto.FunctionJsonRsp{
		{Name: "F", Status: "Deployed", AtAgent: "b:1", Reason: proto.ReasonUnreachable, Error: why},
		{Name: "F", Status: "Deployed", AtAgent: "a:1"},
		{Name: "G", Status: "Deployed", AtAgent: "b:1", Reason: proto.ReasonUnreachable, Error: why},
	}, nil)
	assert.Equal(t, why+"; its functions are shown as they were\n", c.stderr.String())
}

// unmeasured is a proxy that does not say what processes use.
type unmeasured struct {
	*stage
	rows []*proto.FunctionJsonRsp
}

func (u unmeasured) Details(context.Context) ([]*proto.FunctionJsonRsp, error) { return u.rows, nil }

func (u unmeasured) Usage(context.Context, string) ([]*proto.Usage, error) {
	return nil, proto.Errorf(proto.ErrUnavailable, "agent b:1 does not answer")
}

// What is known is shown, though not all is. What failed before its agent was away is not
// told as if that were why.
func TestListsShowWhatIsKnown(t *testing.T) {
	s, _ := openStage(t)
	why := "agent b:1 does not answer since 2026-01-02T03:04:05Z: refused"
	for _, tc := range []struct {
		row     *proto.FunctionJsonRsp
		list    string
		details string
	}{
		{&proto.FunctionJsonRsp{Name: "F", Status: "Failed", AtAgent: "b:1", Reason: proto.ReasonUnreachable, Error: why},
			why + "; its functions are shown as they were\n", why + "; its functions are shown as they were\n"},
		{&proto.FunctionJsonRsp{Name: "F", Status: "Deployed", AtAgent: "b:1"}, "", "memory and processor time are not known: agent b:1 does not answer\n"},
	} {
		addr := serve(t, unmeasured{s, []*proto.FunctionJsonRsp{tc.row}})
		for verb, want := range map[string]string{"list": tc.list, "details": tc.details} {
			c := newConsole(false)
			assert.Equal(t, exitOK, c.run(t.Context(), []string{verb, "-proxy", addr}))
			assert.Contains(t, c.stdout.String(), `name:"F"`)
			assert.Equal(t, want, c.stderr.String(), verb)
		}
	}
}

func TestExcerpt(t *testing.T) {
	lines := []string{"first", "\tfoo(größe, x)", "last\x1b[2J\r", ""}
	tests := map[string]struct {
		row, col int
		want     string
	}{
		"first line":        {1, 1, "     1 | first\n       | ^\n"},
		"tabs and letters":  {2, 15, "     1 | first\n     2 | \tfoo(größe, x)\n       | \t           ^\n"},
		"column unknown":    {2, 0, "     1 | first\n     2 | \tfoo(größe, x)\n"},
		"column beyond":     {1, 99, "     1 | first\n"},
		"control character": {3, 0, "     2 | \tfoo(größe, x)\n     3 | last\ufffd[2J\n"},
		"line 0":            {0, 1, ""},
		"line beyond":       {5, 1, ""},
	}
	for name, tt := range tests {
		assert.Equal(t, tt.want, cutOut(lines, tt.row, tt.col), name)
	}
}

func TestTextOfOthersCannotDriveTheTerminal(t *testing.T) {
	c := newConsole(true)
	t.Setenv("NO_COLOR", "1")
	c.complain("a\x1b[2Jb", "c\rd\x07", "e\nf", nil)
	assert.Equal(t, "error: a\ufffd[2Jb\n  c\ufffdd\ufffd\nhint: e\ufffdf\n", c.stderr.String())
}

func TestColourOnlyForTerminalsThatWantIt(t *testing.T) {
	tests := map[string]struct {
		terminal bool
		env      map[string]string
		want     bool
	}{
		"terminal":            {true, nil, true},
		"pipe":                {false, nil, false},
		"NO_COLOR":            {true, map[string]string{"NO_COLOR": "1"}, false},
		"empty NO_COLOR":      {true, map[string]string{"NO_COLOR": ""}, true},
		"dumb terminal":       {true, map[string]string{"TERM": "dumb"}, false},
		"forced":              {false, map[string]string{"CLICOLOR_FORCE": "1"}, true},
		"not forced":          {false, map[string]string{"CLICOLOR_FORCE": "0"}, false},
		"NO_COLOR wins":       {true, map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, false},
		"forced on dumb ones": {true, map[string]string{"CLICOLOR_FORCE": "1", "TERM": "dumb"}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, k := range []string{"NO_COLOR", "CLICOLOR_FORCE", "TERM"} {
				t.Setenv(k, tt.env[k])
			}
			c := newConsole(tt.terminal)
			c.report(proto.Errorf(proto.ErrInvalid, "no").WithHint("yes"))
			plain := "error: no\nhint: yes\n"
			if tt.want {
				assert.Equal(t, "\x1b[1;31merror:\x1b[0m no\n\x1b[36mhint:\x1b[0m yes\n", c.stderr.String())
			} else {
				assert.Equal(t, plain, c.stderr.String())
			}
		})
	}
}

func FuzzLocate(f *testing.F) {
	f.Add("hello/hello.go:4:6: undefined: x")
	f.Add("../../etc/passwd.go:1: x")
	f.Add("/etc/x.go:1:1: y")
	f.Add("a.go:99999999999999999999:1: z")
	root := f.TempDir()
	require.NoError(f, os.WriteFile(filepath.Join(root, "a.go"), []byte(source), 0o600))
	f.Fuzz(func(t *testing.T, line string) {
		shown, excerpt := locate(line, []string{root})
		if excerpt == "" {
			return
		}
		require.Contains(t, shown, "a.go:")
		require.LessOrEqual(t, strings.Count(excerpt, "\n"), 3)
	})
}

func TestTerminalsGetTextAlone(t *testing.T) {
	const sent = "a\x1b[31mé\u202ex\r\nover\rwritten\tb\xff\n"
	const want = "a\uFFFD[31mé\uFFFDx\r\nover\uFFFDwritten\tb\uFFFD\n"
	for _, step := range []int{1, 2, 3, len(sent)} { // however it is cut
		var got strings.Builder
		c := &cleaner{to: &got}
		for rest := sent; rest != ""; {
			n := min(step, len(rest))
			written, err := c.Write([]byte(rest[:n]))
			require.NoError(t, err)
			assert.Equal(t, n, written)
			rest = rest[n:]
		}
		assert.Equal(t, want, got.String(), "by %d", step)
	}
}
