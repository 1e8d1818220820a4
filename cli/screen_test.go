package cli

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/proto"
)

func fits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.SplitSeq(unpaint.Replace(text), "\n") {
		assert.LessOrEqual(t, utf8.RuneCountInString(line), usualWidth, line)
	}
}

var wide = []*proto.FunctionJsonRsp{
	{Name: "HelloWorld", Url: "http://localhost:9002/functions/helloworld", Status: "Deployed", AtAgent: "localhost:9000", Version: 3, Instances: 1},
	{Name: "Other", Url: "http://localhost:9002/functions/other", Status: "Failed", AtAgent: "localhost:9000", Stage: "building"},
}

func TestRowsFitATerminalAndHaveColours(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("CLICOLOR_FORCE", "")
	t.Setenv("TERM", "xterm")
	c := newConsole(true)
	require.NoError(t, c.printRows(wide))
	assert.Equal(t, `name:"HelloWorld"  url:"http://localhost:9002/functions/helloworld"
  `+green+`status:"Deployed"`+reset+`
name:"Other"  url:"http://localhost:9002/functions/other"  `+red+`status:"Failed"`+reset+"\n", c.stdout.String())
	require.NoError(t, c.printDetails(wide, nil))
	fits(t, c.stdout.String())

	// Neither a pipe nor a user who asks for none gets colours.
	c = newConsole(false)
	require.NoError(t, c.printRows(wide[:1]))
	assert.Equal(t, `name:"HelloWorld"  url:"http://localhost:9002/functions/helloworld"  status:"Deployed"`+"\n", c.stdout.String())
	for variable, value := range map[string]string{"NO_COLOR": "1", "TERM": "dumb"} {
		t.Setenv(variable, value)
		c = newConsole(true)
		require.NoError(t, c.printRows(wide[:1]))
		assert.NotContains(t, c.stdout.String(), "\x1b")
		t.Setenv("NO_COLOR", "")
		t.Setenv("TERM", "xterm")
	}
}

func TestProseIsFoldedAtWordsOnATerminal(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "xterm")
	long := strings.TrimSpace(strings.Repeat("several words ", 20))
	say := func(c *console) {
		c.note("%s", long)
		c.warn(long)
		c.report(proto.Errorf(proto.ErrInvalid, "%s", long).WithHint(long))
	}
	c := newConsole(true)
	say(c)
	fits(t, c.stderr.String())
	text := unpaint.Replace(c.stderr.String())
	assert.NotRegexp(t, "[^ ]\n[a-z]+ ", text, "each word is whole, and a line that goes on is indented")
	assert.Equal(t, long+" warning: "+long+" error: "+long+" hint: "+long, strings.Join(strings.Fields(text), " "))

	c = newConsole(false)
	say(c)
	assert.Equal(t, long+"\nwarning: "+long+"\nerror: "+long+"\nhint: "+long+"\n", c.stderr.String(), "a pipe gets lines as they are")
}

func TestTablesFitATerminal(t *testing.T) {
	versions := []*proto.Version{
		{
			Version: 12, Weight: 90, Time: "2026-01-02T03:04:05Z", Kind: "cloudevent", Package: "sha256:" + strings.Repeat("0f", 32),
			Program: &proto.Program{Digest: "sha256:" + strings.Repeat("0f", 32)}, AtAgent: "agent-one.example.com:9000", Note: "the new greeting, for all that are interested in it",
		},
	}
	usage := []*proto.Usage{{Function: "HelloWorld", Version: 3, AtAgent: "localhost:9000", Pid: 1234567, Resident: 1 << 30, Peak: 1 << 30, Requests: 1234567}}
	for name, show := range map[string]func(c *console) error{
		"versions": func(c *console) error { return c.printVersions(versions) },
		"plan": func(c *console) error {
			return c.printPlan([]*proto.FunctionJsonRsp{{Name: strings.Repeat("F", 70), AtAgent: "localhost:9000", Change: "code", Changed: []string{"env", "memory"}}})
		},
		"top": func(c *console) error { return c.printUsed(usage) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newConsole(true)
			require.NoError(t, show(c))
			fits(t, c.stdout.String())
			wider := newConsole(false)
			require.NoError(t, show(wider))
			assert.Greater(t, len(wider.stdout.String()), len(c.stdout.String()), "a pipe gets all")
		})
	}
}

// Each line of an example is one command line.
func TestHelpFitsATerminal(t *testing.T) {
	c := newConsole(false)
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		c.stdout.Reset()
		c.help(cmd)
		text, _, _ := strings.Cut(c.stdout.String(), "\nExamples:\n")
		text = strings.ReplaceAll(text, `    "deploy": [{"packageDir"`, "")
		for line := range strings.SplitSeq(text, "\n") {
			assert.LessOrEqual(t, utf8.RuneCountInString(line), usualWidth, "%s: %s", cmd.CommandPath(), line)
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(c.root())
}

func TestATerminalIsNotRewrittenByWhatFunctionsPrint(t *testing.T) {
	const text = "a\x1b[2Jb\tc\r\n\u202ed\x07\ne"
	assert.Equal(t, text, newConsole(false).printed(text))
	assert.Equal(t, "a\ufffd[2Jb\tc\r\n\ufffdd\ufffd\ne", newConsole(true).printed(text))
}
