package flags_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/flags"
)

type parsed struct {
	port, root     string
	slots          int
	code           int
	ok             bool
	stdout, stderr string
}

func parse(args ...string) parsed {
	var stdout, stderr bytes.Buffer
	var p parsed
	set := flags.New("agent", "runs Go functions on this machine", &stdout, &stderr)
	set.StringVar(&p.port, "port", ":9000", "`address` to listen on")
	set.IntVar(&p.slots, "slots", 2, "builds at a time")
	set.Func("source-root", "`folder` of sources", func(v string) error {
		if !filepath.IsAbs(v) {
			return errors.New("not absolute")
		}
		p.root = v
		return nil
	})
	p.code, p.ok = set.Parse(args)
	p.stdout, p.stderr = stdout.String(), stderr.String()
	return p
}

func TestCommandLineBeforeEnvironmentBeforeDefault(t *testing.T) {
	p := parse()
	require.True(t, p.ok, p.stderr)
	assert.Equal(t, ":9000", p.port)

	t.Setenv("RYO_PORT", ":1")
	t.Setenv("RYO_SLOTS", "4")
	t.Setenv("RYO_SOURCE_ROOT", "/src")
	p = parse()
	require.True(t, p.ok, p.stderr)
	assert.Equal(t, ":1", p.port)
	assert.Equal(t, 4, p.slots)
	assert.Equal(t, "/src", p.root)

	p = parse("-port", ":2", "--slots=8")
	require.True(t, p.ok, p.stderr)
	assert.Equal(t, ":2", p.port)
	assert.Equal(t, 8, p.slots)
}

func TestAFlagMayHaveAVariableOfAnotherName(t *testing.T) {
	t.Setenv("RYO_TOKEN", "another program's")
	t.Setenv("RYO_JOIN_TOKEN", "ours")
	var stdout, stderr bytes.Buffer
	set := flags.New("agent", "runs Go functions on this machine", &stdout, &stderr)
	token := set.String("token", "", "join `token`")
	set.Variable("token", "RYO_JOIN_TOKEN")
	_, ok := set.Parse(nil)
	require.True(t, ok)
	assert.Equal(t, "ours", *token)
	set.Parse([]string{"-help"})
	assert.Contains(t, stdout.String(), "(RYO_JOIN_TOKEN)")
	assert.NotContains(t, stdout.String(), "RYO_TOKEN")
}

func TestEmptyVariableCountsAsUnset(t *testing.T) {
	t.Setenv("RYO_SLOTS", "")
	p := parse()
	require.True(t, p.ok, p.stderr)
	assert.Equal(t, 2, p.slots)
}

func TestVersionFlagIsNotReadFromEnvironment(t *testing.T) {
	t.Setenv("RYO_VERSION", "v1")
	assert.True(t, parse().ok)
}

const help = `agent runs Go functions on this machine.

Usage: agent [flags]

Flags, each with the environment variable that stands in for it:
  -port address
        address to listen on
        (RYO_PORT, default :9000)
  -slots int
        builds at a time
        (RYO_SLOTS, default 2)
  -source-root folder
        folder of sources
        (RYO_SOURCE_ROOT)
  -version
        print the version and exit
  -help
        print this text and exit
`

func TestHelpShowsCommandsWithTheirArguments(t *testing.T) {
	var out bytes.Buffer
	set := flags.New("keep", "keeps files", &out, &out)
	rest, given := set.Command([]string{"export", "f"}, "export FILE", "writes a file")
	assert.True(t, given)
	assert.Equal(t, []string{"f"}, rest)
	_, given = set.Command([]string{"export", "f"}, "check", "reads all")
	assert.False(t, given)
	_, ok := set.Parse([]string{"-h"})
	assert.False(t, ok)
	assert.Contains(t, out.String(), "Usage: keep [flags]\n       keep export FILE [flags]   writes a file\n       keep check [flags]         reads all\n\nFlags")
}

func TestHelpGoesToStdoutWithExitZero(t *testing.T) {
	t.Setenv("RYO_SLOTS", "many") // a broken environment must not hide the help
	for _, arg := range []string{"-h", "-help", "--help", "--h"} {
		p := parse(arg)
		assert.False(t, p.ok)
		assert.Equal(t, parsed{port: ":9000", slots: 2, stdout: help}, p, arg)
	}
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"-version", "--version"} {
		p := parse(arg)
		assert.False(t, p.ok)
		assert.Zero(t, p.code)
		assert.Regexp(t, `^agent \S+ commit \S+( \(modified\))? go\S+ \S+/\S+\n$`, p.stdout)
		assert.Empty(t, p.stderr)
	}
}

func TestMistakesTakeOneLine(t *testing.T) {
	const more = " (agent -help shows the flags)\n"
	tests := map[string]struct {
		args   []string
		env    string // of RYO_SLOTS
		stderr string
	}{
		"near flag":     {args: []string{"-prot", ":1"}, stderr: "unknown flag -prot; did you mean -port?"},
		"two dashes":    {args: []string{"--slot=1"}, stderr: "unknown flag -slot; did you mean -slots?"},
		"unknown flag":  {args: []string{"-zzzzzz"}, stderr: "unknown flag -zzzzzz"},
		"near argument": {args: []string{"port"}, stderr: `unexpected argument "port"; did you mean -port?`},
		"argument":      {args: []string{"-port", ":1", "x.json"}, stderr: `unexpected argument "x.json"`},
		"no value":      {args: []string{"-port"}, stderr: "-port needs a value"},
		"bad value":     {args: []string{"-slots", "many"}, stderr: `-slots: "many" is not a whole number`},
		"checked value": {args: []string{"-source-root", "src"}, stderr: `-source-root: "src" is not taken: not absolute`},
		"bad variable":  {env: "many", stderr: `RYO_SLOTS: "many" is not a whole number`},
		"bad syntax":    {args: []string{"-=x"}, stderr: "bad flag syntax: -=x"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("RYO_SLOTS", tt.env)
			p := parse(tt.args...)
			assert.False(t, p.ok)
			assert.Equal(t, flags.Usage, p.code)
			assert.Empty(t, p.stdout)
			assert.Equal(t, "agent: "+tt.stderr+more, p.stderr)
		})
	}
}

func TestStateDir(t *testing.T) {
	tests := map[string]struct{ state, home, want string }{
		"given":             {"/state", "/home/u", "/state/ryo-faas"},
		"default":           {"", "/home/u", "/home/u/.local/state/ryo-faas"},
		"relative: ignored": {"state", "/home/u", "/home/u/.local/state/ryo-faas"},
		"no home":           {"", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Setenv("XDG_STATE_HOME", tt.state)
			t.Setenv("HOME", tt.home)
			assert.Equal(t, tt.want, flags.StateDir())
		})
	}
}
