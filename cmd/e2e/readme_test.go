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
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notRun are the pages' commands that a test cannot run, by a part of them,
// and why. Each must be there, so that this list stays short.
var notRun = map[string]string{}

// step is a command of a console session and what it prints. Of a command whose
// output is not shown, only the exit code counts.
type step struct {
	at              string // its page and line
	command, output string
}

// sessions returns the steps of the ```console blocks of a page.
func sessions(page, text string) (blocks [][]step) {
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
			*block = append(*block, step{at: fmt.Sprintf("%s:%d", page, i+1), command: command})
			document = strings.HasSuffix(command, "<<'EOF'")
			more = document || continued(command)
		case len(*block) > 0:
			(*block)[len(*block)-1].output += line + "\n"
		}
	}
	return blocks
}

// reader follows the pages as a user would, in a checkout of its own, except
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
		file, err := executable(name)
		require.NoError(t, err)
		script := fmt.Sprintf("#!/bin/sh\n%s=%s exec %q \"$@\"\n", program, name, file)
		require.NoError(t, os.WriteFile(filepath.Join(r.dir, "bin", name), []byte(script), 0o700))
	}
	return r
}

// documented are the ports that the pages speak of.
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
	assert.Regexp(r.t, want, r.out(printed), "%s: %s", s.at, s.command)
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
	require.NoError(r.t, err, "%s: %s\n%s%s", s.at, s.command, &stdout, &stderr)
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

// pages are those that hold sessions, in the order in which a reader takes them: each goes
// on where the one before has ended.
var pages = []string{
	"README.md", "docs/tutorial.md", "docs/migrate.md", "docs/deploy.md", "docs/api.md", "docs/life.md", "docs/calls.md",
	"docs/observe.md", "docs/events.md", "docs/access.md", "docs/online.md",
}

// documents returns the texts of the README and of all pages of docs.
func documents(t *testing.T) map[string]string {
	t.Helper()
	root := repository(t)
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	require.NoError(t, err)
	texts := map[string]string{}
	for _, file := range append(files, filepath.Join(root, "README.md"), filepath.Join(root, "SECURITY.md"), filepath.Join(root, "CONTRIBUTING.md")) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		name, err := filepath.Rel(root, file)
		require.NoError(t, err)
		texts[name] = string(text)
	}
	return texts
}

// The sessions of the README and of the docs print what they say they print.
func TestReadme(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	for page, text := range texts {
		assert.Equal(t, slices.Contains(pages, page), strings.Contains(text, "```console"), "%s has sessions", page)
	}
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("the sessions use ", tool)
		}
	}
	r := newReader(t)
	left, ran := map[string]bool{}, 0
	for _, page := range pages {
		for _, block := range sessions(page, texts[page]) {
			for _, s := range block {
				t.Logf("%s: $ %s", s.at, s.command)
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
	}
	assert.Greater(t, ran, 50, "the pages have sessions")
	for part := range notRun {
		assert.True(t, left[part], "no page says %q any more", part)
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

// All links lead to sections and files that are there, and the README leads to each page.
func TestLinksOfPages(t *testing.T) {
	t.Parallel()
	root, texts := repository(t), documents(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	led := map[string]bool{}
	for page, text := range texts {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			file, section, _ := strings.Cut(m[1], "#")
			to := page
			if file != "" {
				to = filepath.Join(filepath.Dir(page), file)
				_, err := os.Stat(filepath.Join(root, to))
				require.NoError(t, err, "%s links to %s", page, m[1])
			}
			if section != "" {
				assert.Contains(t, headings(texts[to]), section, "%s links to %s", page, m[1])
			}
			led[to] = led[to] || page == "README.md"
		}
	}
	for page := range texts {
		assert.True(t, page == "README.md" || led[page], "the README does not lead to %s", page)
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
