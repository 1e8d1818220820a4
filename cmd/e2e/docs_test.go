package e2e

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// shellCommands are the commands of our programs in the ```sh blocks of a page, without
// comments and what runs them as somebody else.
func shellCommands(text string) (commands [][]string) {
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "```") {
			inside = line == "```sh"
			continue
		}
		line, _, _ = strings.Cut(line, "  #")
		words := strings.Fields(line)
		if len(words) > 2 && words[0] == "sudo" && words[1] == "-u" {
			words = words[3:]
		}
		if inside && len(words) > 0 && slices.Contains([]string{"agent", "proxy", "proxyCli"}, strings.TrimPrefix(words[0], "./bin/")) {
			words[0] = strings.TrimPrefix(words[0], "./bin/")
			commands = append(commands, words)
		}
	}
	return commands
}

// Blocks of sh are for machines of their own, with names and certificates that no test has:
// what is run of them is that their commands and flags are known. With -h at the end, all
// before it is read, and refused if it is wrong.
func TestCommandsOfTheDocsAreKnown(t *testing.T) {
	t.Parallel()
	found := 0
	for page, text := range documents(t) {
		for _, words := range shellCommands(text) {
			found++
			for i := range words {
				words[i] = strings.Trim(words[i], `'"`)
			}
			args := append(slices.Clone(words[1:]), "-h")
			if words[0] == "proxy" && len(words) > 2 && words[1] == "engine" && words[2][0] != '-' { // whose flags come first
				args = slices.Insert(slices.Clone(words[1:]), 2, "-h")
			}
			said, err := command(context.Background(), words[0], args...).CombinedOutput()
			assert.NoError(t, err, "%s: %s\n%s", page, strings.Join(words, " "), said)
		}
	}
	assert.Greater(t, found, 20)
	_, err := command(context.Background(), "proxy", "-functions", ":443", "-tls-certs", "x", "-h").CombinedOutput()
	require.Error(t, err, "a flag that is not known is refused")
}
