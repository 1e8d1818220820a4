package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// commandsOf are the commands of a pipeline, in its order: of GitHub Actions under run, of
// GitLab in the list script.
func commandsOf(node *yaml.Node) (commands []string) {
	for i, n := range node.Content {
		name := ""
		if node.Kind == yaml.MappingNode && i%2 == 1 {
			name = node.Content[i-1].Value
		}
		switch name {
		case "run":
			commands = append(commands, n.Value)
		case "script":
			for _, line := range n.Content {
				commands = append(commands, line.Value)
			}
		default:
			commands = append(commands, commandsOf(n)...)
		}
	}
	return commands
}

// The pipelines of docs/ci.md deploy, as they are there.
func TestPipelinesOfTheDocs(t *testing.T) {
	text, err := os.ReadFile("../docs/ci.md")
	require.NoError(t, err)
	pipelines := strings.Split(string(text), "```yaml\n")[1:]
	require.Len(t, pipelines, 4)
	path := "PATH=" + program(t) + string(os.PathListSeparator) + os.Getenv("PATH")
	for _, pipeline := range pipelines {
		pipeline, _, _ = strings.Cut(pipeline, "```")
		preview := strings.Contains(pipeline, "-preview")
		var document yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(pipeline), &document))
		stage, addr := openStage(t)
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "greet"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "greet", "greet.go"),
			[]byte("package greet\n\nimport \"net/http\"\n\nfunc Greet(w http.ResponseWriter, r *http.Request) {}\n"), 0o600))
		quiet := filepath.Join(dir, "config", "go", "telemetry") // else a process of the go command writes there for longer
		require.NoError(t, os.MkdirAll(quiet, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(quiet, "mode"), []byte("off"), 0o600))
		ran := 0
		for _, command := range commandsOf(&document) {
			if strings.HasPrefix(command, "go install ") {
				continue
			}
			cmd := exec.CommandContext(t.Context(), "bash", "-eo", "pipefail", "-c", command)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), path, "CI=true", "RYO_PROXY="+addr, "RYO_ERROR_FORMAT=github-actions", "XDG_CONFIG_HOME="+filepath.Join(dir, "config"),
				"BRANCH=feature/$(touch run)", "CI_COMMIT_REF_NAME=feature/login", "GITHUB_STEP_SUMMARY="+filepath.Join(dir, "preview.env"))
			said, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s\n%s", command, said)
			ran++
		}
		assert.Equal(t, map[bool]int{false: 2, true: 3}[preview], ran)
		var deployed []struct{ Name, URL, Status string }
		answer, err := os.ReadFile(filepath.Join(dir, "deployed.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(answer, &deployed))
		require.Len(t, deployed, 1)
		assert.Equal(t, "Deployed", deployed[0].Status)
		assert.NotEmpty(t, deployed[0].URL)
		if !preview {
			assert.Equal(t, "Greet", deployed[0].Name)
			continue
		}
		assert.Regexp(t, `^Greet__feature_\w+_[0-9a-f]{6}$`, deployed[0].Name)
		told, err := os.ReadFile(filepath.Join(dir, "preview.env"))
		require.NoError(t, err)
		assert.Regexp(t, `^(Preview at |PREVIEW_URL=)`+regexp.QuoteMeta(deployed[0].URL)+`\n$`, string(told))
		left, err := stage.Details(t.Context())
		require.NoError(t, err)
		assert.Empty(t, left, "the end of the branch removes it")
		assert.NoFileExists(t, filepath.Join(dir, "run"))
	}
}
