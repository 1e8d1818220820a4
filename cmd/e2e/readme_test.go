package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notRun are the README's commands that a test cannot run, by a part of them,
// and why. Each must be there, so that this list stays short.
var notRun = map[string]string{}

// step is a command of a console session and what it prints. Of a command whose
// output is not shown, only the exit code counts.
type step struct {
	line            int
	command, output string
}

// sessions returns the steps of the ```console blocks of a text.
func sessions(text string) (blocks [][]step) {
	continued := func(line string) bool { return strings.HasSuffix(line, `\`) }
	inside := false
	more := false     // the command goes on
	document := false // it goes on until a line EOF
	for i, line := range strings.Split(text, "\n") {
		var block *[]step
		if len(blocks) > 0 {
			block = &blocks[len(blocks)-1]
		}
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case strings.TrimSpace(line) == "```console":
			inside = true
			blocks = append(blocks, nil)
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			inside = false
		case !inside:
		case more:
			last := &(*block)[len(*block)-1]
			last.command += "\n" + line
			if document {
				document = line != "EOF"
				more = document
			} else {
				more = continued(line)
			}
		case isCommand:
			*block = append(*block, step{line: i + 1, command: command})
			document = strings.HasSuffix(command, "<<'EOF'")
			more = document || continued(command)
		case len(*block) > 0:
			(*block)[len(*block)-1].output += line + "\n"
		}
	}
	return blocks
}

// reader follows the README as a user would, in a checkout of its own, except
// that everything listens on ports of this test: the documented ones are
// replaced on the way in and on the way out.
type reader struct {
	t     *testing.T
	dir   string            // the checkout
	tmp   string            // instead of /tmp
	ours  map[string]string // documented port → port
	front string            // the proxy's HTTP address, once it runs
	proxy *server
}

func newReader(t *testing.T) *reader {
	t.Helper()
	r := &reader{t: t, dir: t.TempDir(), tmp: t.TempDir(), ours: map[string]string{}}
	root := repository(t)
	require.NoError(t, os.CopyFS(filepath.Join(r.dir, "example"), os.DirFS(filepath.Join(root, "example"))))
	for _, name := range []string{"go.mod", "go.sum", "deploy.json", "list.json"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		write(t, r.dir, tree{name: string(data)})
	}
	require.NoError(t, os.Mkdir(filepath.Join(r.dir, "bin"), 0o700))
	for name := range mains {
		script := fmt.Sprintf("#!/bin/sh\n%s=%s exec %q \"$@\"\n", program, name, os.Args[0])
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, "bin", name), []byte(script), 0o700))
	}
	return r
}

// documented are the ports that the README speaks of.
var documented = regexp.MustCompile(`:(900[0-2]|8080)\b`)

// in replaces documented ports by those of the test, 0 for one that nobody has yet.
func (r *reader) in(text string) string {
	return documented.ReplaceAllStringFunc(text, func(port string) string {
		if ours, ok := r.ours[port[1:]]; ok {
			return ":" + ours
		}
		return ":0"
	})
}

// out replaces the test's ports by those documented.
func (r *reader) out(text string) string {
	for port, ours := range r.ours {
		text = regexp.MustCompile(`:`+ours+`\b`).ReplaceAllString(text, ":"+port)
	}
	return strings.ReplaceAll(text, r.tmp, "/tmp")
}

// servicePort is the port of a function's service, which is whichever was free.
var servicePort = regexp.MustCompile(`localhost:5\d\d\d\b`)

// assert compares what was printed with what is documented, in which … stands
// for anything on its line.
func (r *reader) assert(s step, printed string) {
	r.t.Helper()
	want := regexp.QuoteMeta(servicePort.ReplaceAllString(s.output, "localhost:5…"))
	want = "^" + strings.ReplaceAll(want, "…", ".*") + "$"
	assert.Regexp(r.t, want, r.out(printed), "README.md:%d: %s", s.line, s.command)
}

// environment is that of a shell in which the programs listen on free ports,
// and find each other there.
func (r *reader) environment(cmd *exec.Cmd) {
	cmd.Dir = r.dir
	cmd.Env = append(cmd.Env, "RYO_PORT=:0", "RYO_HTTP=:0", "RYO_RPC=:0", "RYO_DIR="+filepath.Join(r.dir, "state"), "RYO_CACHE="+cache(r.t))
	if port, ok := r.ours["9001"]; ok {
		cmd.Env = append(cmd.Env, "RYO_PROXY=localhost:"+port)
	}
}

// serve starts an agent or a proxy, which goes on.
func (r *reader) serve(s step) {
	words := strings.Fields(r.in(s.command))
	name := filepath.Base(words[0])
	cmd := command(context.Background(), name, words[1:]...)
	r.environment(cmd)
	if name == "proxy" && r.proxy != nil {
		r.proxy.end()
	}
	server := launch(r.t, cmd)
	web, rpc := server.said(`HTTP started on \S*:(\d+)`), server.said(`GRPC server started on \S*:(\d+)`)
	if name == "agent" {
		r.ours["9000"] = web
	} else {
		r.ours["9001"], r.ours["9002"] = rpc, web
		r.front, r.proxy = "localhost:"+web, server
		if strings.Contains(s.command, "-functions") {
			r.ours["8080"] = server.said(`Functions started on \S*:(\d+)`)
		}
	}
	r.assert(s, banner(server))
	definitions, err := filepath.Glob(filepath.Join(r.dir, "example", "*", "deploy.json"))
	require.NoError(r.t, err)
	for _, file := range append(definitions, filepath.Join(r.dir, "deploy.json"), filepath.Join(r.dir, "list.json")) {
		data, err := os.ReadFile(file)
		require.NoError(r.t, err)
		write(r.t, filepath.Dir(file), tree{filepath.Base(file): strings.ReplaceAll(string(data), "localhost:9000", "localhost:"+r.ours["9000"])})
	}
}

// run runs a command in the shell.
func (r *reader) run(s step) {
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	text := strings.ReplaceAll(r.in(s.command), "/tmp/", r.tmp+"/")
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", text)
	cmd.Env = command(ctx, "").Env
	r.environment(cmd)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	require.NoError(r.t, err, "README.md:%d: %s\n%s%s", s.line, s.command, &stdout, &stderr)
	if s.output != "" {
		r.assert(s, stdout.String())
	}
	// A reader is slower than a build.
	eventually(r.t, func() bool {
		for _, row := range rows(r.t, http.MethodGet, "http://"+r.front+"/details", "") {
			if row.Status == "Deploying" {
				return false
			}
		}
		return true
	}, "still Deploying after %s", s.command)
}

// The README's sessions print what it says they print.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(repository(t), "README.md"))
	require.NoError(t, err)
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("the README's sessions use ", tool)
		}
	}
	r := newReader(t)
	left, ran := map[string]bool{}, 0
	for _, block := range sessions(string(text)) {
		for _, s := range block {
			t.Logf("README.md:%d: $ %s", s.line, s.command)
			if part := excuse(s.command); part != "" {
				left[part] = true
				continue
			}
			if regexp.MustCompile(`^\./bin/(agent|proxy)( |$)`).MatchString(s.command) {
				r.serve(s)
			} else {
				r.run(s)
			}
			ran++
		}
	}
	assert.Greater(t, ran, 5, "the README has sessions")
	for part := range notRun {
		assert.True(t, left[part], "the README says %q no more", part)
	}
}

// headings returns the anchors of a text's sections, as GitHub makes them.
func headings(text string) (anchors []string) {
	fenced := false
	for line := range strings.Lines(text) {
		fenced = fenced != strings.HasPrefix(strings.TrimSpace(line), "```")
		level, title, _ := strings.Cut(strings.TrimSpace(line), " ")
		if fenced || level != "##" && level != "###" {
			continue
		}
		anchors = append(anchors, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, title))
	}
	return anchors
}

// The README's list of sections has each of them, in their order, and its links lead to
// sections and files that are there.
func TestReadmeLinks(t *testing.T) {
	t.Parallel()
	dir := repository(t)
	data, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	text, link := string(data), regexp.MustCompile(`\]\(([^)\s]+)\)`)
	_, list, _ := strings.Cut(text, "**On this page:**")
	list, rest, found := strings.Cut(list, "**Elsewhere:**")
	require.True(t, found)
	var listed []string
	for _, m := range link.FindAllStringSubmatch(list, -1) {
		listed = append(listed, strings.TrimPrefix(m[1], "#"))
	}
	sections := headings(text)
	assert.Equal(t, sections, listed)
	for _, m := range link.FindAllStringSubmatch(rest, -1) {
		switch to := m[1]; {
		case strings.HasPrefix(to, "https://"):
		case strings.HasPrefix(to, "#"):
			assert.Contains(t, sections, to[1:])
		default:
			_, err := os.Stat(filepath.Join(dir, to))
			assert.NoError(t, err)
		}
	}
}

// excuse is the part of notRun that a command holds, "" for none.
func excuse(command string) string {
	for part := range notRun {
		if strings.Contains(command, part) {
			return part
		}
	}
	return ""
}
