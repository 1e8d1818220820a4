//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// version is a row with what it says about a version and its build.
type version struct {
	row
	Version       int
	Stage, Output string
	Program       struct{ Key, Digest string }
}

// deployAll deploys one function to agents and waits for the outcome.
func deployAll(t *testing.T, at, name, dir string, agents ...string) (list []version) {
	t.Helper()
	body, err := json.Marshal([]map[string]any{{"name": name, "dir": dir, "toAgent": agents}})
	require.NoError(t, err)
	status, answer := fetch(t, http.MethodPost, "http://"+at+"/deploy?wait=true", string(body))
	require.Equal(t, http.StatusOK, status, answer)
	require.NoError(t, json.Unmarshal([]byte(answer), &list), answer)
	for _, v := range list {
		require.Equal(t, "Deployed", v.Status, "%s: %s", v.AtAgent, v.Error)
	}
	return list
}

// assertBuilds asserts how many programs agents have built, all of them together.
func assertBuilds(t *testing.T, want int, agents ...agent) {
	t.Helper()
	builds := func() (n int) {
		for _, a := range agents {
			n += strings.Count(a.String(), "built a program: ")
		}
		return n
	}
	eventually(t, func() bool { return builds() >= want }, "%d builds", want) // their output is read with a delay
	assert.Equal(t, want, builds(), "builds")
}

// startWithoutGo starts an agent that builds nothing, where there is no Go.
func startWithoutGo(t *testing.T) agent {
	t.Helper()
	dir := t.TempDir()
	cmd := command(context.Background(), "agent", "-port", "127.0.0.1:0", "-dir", dir, "-build", "never", "-stop-functions")
	cmd.Env = append(cmd.Env, "PATH=/nonexistent", "GOROOT=/nonexistent", "HOME="+dir)
	cmd.Dir = dir
	s := launch(t, cmd)
	return agent{s, "localhost:" + s.said(`HTTP started on \S*:(\d+)`), dir}
}

// However many agents run a function, one builds it; the others get the program,
// also those that have no Go.
func TestOneAgentBuildsForAll(t *testing.T) {
	t.Parallel()
	says := func(name, text string) string { return unbuilt(t, says(name, text)) }
	one, two, bare := startAgent(t, "", ""), startAgent(t, "", ""), startWithoutGo(t)
	p := startProxy(t, "")
	dir := source(t, says("Shared", "first"))
	for i, text := range []string{"first", "second", "third"} {
		write(t, dir, tree{"fn.go": says("Shared", text)})
		// The one that cannot build may be named first.
		list := deployAll(t, p.http, "Shared", dir, bare.addr, one.addr, two.addr)
		require.Len(t, list, 3)
		for _, v := range list {
			assert.Equal(t, i+1, v.Version, v.AtAgent)
			assert.Equal(t, list[0].Program, v.Program, v.AtAgent)
			assert.Equal(t, v.Program.Digest, digestOf(t, v.Pid), v.AtAgent)
			answers(t, text, v.Proxy+"/shared")
		}
		assertBuilds(t, i+1, one, two)
	}

	// Only for one that cannot, also when its function is another of the package.
	write(t, dir, tree{"more.go": says("Alone", "alone")})
	alone := deployAll(t, p.http, "Alone", dir, bare.addr)
	assert.Equal(t, alone[0].Program.Digest, digestOf(t, alone[0].Pid))
	answers(t, "alone", alone[0].URL)
	assertBuilds(t, 4, one, two)
	assertBuilds(t, 0, bare)

	// Its errors are those of an agent that builds.
	write(t, dir, tree{"more.go": strings.Replace(says("Alone", "wrong"), "fmt.Fprint(", "fmt.Print(w.Missing, ", 1)})
	r := proxyCli(t, dir, "-proxy", p.rpc, "deploy", "-wait", "-name", "Alone", "-agent", bare.addr)
	assert.Equal(t, 3, r.code, r.stderr)
	assert.Regexp(t, `(?m)^  more\.go:8:\d+: w\.Missing undefined`, r.stderr)
	told := now(t, p.http, "Alone")
	assert.Equal(t, "Deployed", told.Status)
	assert.Regexp(t, `^the last deploy failed and changed nothing: more\.go:8:`, told.Error)
	answers(t, "alone", told.URL)
}

// digestOf is the digest of the program that a process runs.
func digestOf(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/exe", pid))
	require.NoError(t, err)
	return fmt.Sprintf("sha256:%x", sha256.Sum256(data))
}

func TestNobodyBuilds(t *testing.T) {
	t.Parallel()
	bare := startWithoutGo(t)
	p := startProxy(t, "", "-agents", bare.addr)
	dir := source(t, says("Lonely", "never said"))
	for _, d := range (stack{bare, p}).doors() {
		t.Run(d.name, func(t *testing.T) {
			r := d.cli(t, dir, "deploy", "-wait", "-agent", bare.addr)
			assert.Equal(t, 4, r.code, r.stderr)
			assert.Regexp(t, bare.addr+` (does not build, and no connected agent builds for|builds no functions)`, r.stderr)
			assert.Regexp(t, `(start an|through a proxy that knows an) agent o.* `+"linux/", r.stderr)
			assert.NotContains(t, r.stderr, "proxyCli log")
		})
	}
}

// unbuilt is source that no other test has built, nor this one before.
func unbuilt(t *testing.T, code string) string { return code + "\n// " + t.TempDir() + "\n" }

// The functions of a package are one program, which is built once for all that one
// file deploys, and runs as often as it has functions.
func TestFunctionsOfAPackageShareABuild(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	s := stack{a, startProxy(t, "", "-agents", a.addr)}
	for i, d := range s.doors() {
		t.Run(d.name, func(t *testing.T) {
			dir := t.TempDir()
			code := unbuilt(t, "package fn\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n)\n")
			var entries []map[string]any
			for _, name := range []string{"Red", "Green", "Blue"} {
				code += fmt.Sprintf("\nfunc %s(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `%[1]s %d`) }\n", name, i)
				entries = append(entries, map[string]any{"name": name, "packageDir": "./colors"})
			}
			definition, err := json.Marshal(map[string]any{"deploy": entries})
			require.NoError(t, err)
			write(t, dir, tree{"colors/fn.go": code, "deploy.json": string(definition)})
			r := d.cli(t, dir, "def", "-wait", "deploy.json")
			require.Zero(t, r.code, r.stderr)
			assertBuilds(t, i+1, a)
			pids := map[int]bool{}
			for _, name := range []string{"Red", "Green", "Blue"} {
				v := now(t, d.web(s), name)
				answers(t, fmt.Sprintf("%s %d", name, i), v.URL)
				pids[v.Pid] = true
			}
			assert.Len(t, pids, 3)
		})
	}
}

// web is where a door's process speaks HTTP.
func (d door) web(s stack) string {
	if d.proxy {
		return s.proxy.http
	}
	return d.addr
}

// long is a package that three others are compiled for, one after the other, which
// takes more than the second after which a build says how far it is. With wrong, which
// is added to the last, they are small.
func long(t *testing.T, text, wrong string) string {
	t.Helper()
	files := tree{
		"go.mod": "module example.com/long\n\ngo 1.24\n",
		"fn.go":  strings.NewReplacer("net/http\"\n", "net/http\"\n\n\t\"example.com/long/gamma\"\n", "\") }", "\", gamma.N(1)[:0]) }").Replace(says("Long", text)),
	}
	before := ""
	for _, name := range []string{"alpha", "beta", "gamma"} {
		var code strings.Builder
		fmt.Fprintf(&code, "package %s\n\n", name)
		rest := `""`
		if before != "" {
			fmt.Fprintf(&code, "import \"example.com/long/%s\"\n\n", before)
			rest = before + ".N(x)"
		}
		fmt.Fprintf(&code, "func N(x int) string { return f0(x) + %s } // %s\n\n", rest, text)
		n := 600
		if wrong != "" {
			n = 1
		}
		for i := range n {
			fmt.Fprintf(&code, "func f%d(x int) string {\n\tm := map[string]int{\"a\": x}\n\tfor i := range x {\n\t\tm[string(rune(i))] += m[\"a\"] * i\n\t}\n\tif x > len(m) {\n\t\treturn \"%[1]d\"\n\t}\n\treturn f%d(x + 1)\n}\n\n", i, i+1)
		}
		fmt.Fprintf(&code, "func f%d(x int) string { return \"\" }\n", n)
		if name == "gamma" {
			code.WriteString(wrong)
		}
		files[name+"/"+name+".go"], before = code.String(), name
	}
	return folder(t, files)
}

// builtPackages is what a build that takes a while says of itself.
var builtPackages = regexp.MustCompile(`^packages built \d+`)

// Callers who wait for a deploy get what its build prints while it runs, and at last
// why it failed.
func TestBuildsAreHeard(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	eventually(t, func() bool { return strings.Contains(a.String(), "ready to build") }, "the build cache is filled, of which builds would tell, too")
	s := stack{a, startProxy(t, "", "-agents", a.addr)}
	for _, d := range s.doors() {
		if d.kind != "http" {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			// The cache has nothing of a text that nobody had before.
			var heard []version
			result := follow(t, d.addr, "Long", long(t, t.TempDir(), ""), func(v version) { heard = append(heard, v) })
			require.Equal(t, "Deployed", result.Status, result.Error)
			var parts []string
			for _, v := range heard {
				if v.Stage == "building" && v.Output != "" {
					parts = append(parts, v.Output)
				}
			}
			require.NotEmpty(t, parts)
			for _, part := range parts {
				assert.Regexp(t, builtPackages, strings.TrimSpace(part))
			}

			heard = nil
			failed := follow(t, d.addr, "Long", long(t, t.TempDir(), "func g() int { return `x` }\n"), func(v version) { heard = append(heard, v) })
			assert.Equal(t, "Failed", failed.Status)
			assert.Equal(t, "build", failed.Reason)
			assert.Regexp(t, `^gamma/gamma\.go:\d+:23: cannot use`, failed.Error)
			assert.Equal(t, 1, failed.Instances)
			assert.Contains(t, said(heard), "# example.com/long/gamma\ngamma/gamma.go:")
			status, _ := fetch(t, http.MethodGet, result.URL, "")
			assert.Equal(t, http.StatusOK, status, "the version before goes on serving")
		})
	}
}

// said is the most that builds have printed at one time.
func said(rows []version) (most string) {
	for _, v := range rows {
		if len(v.Output) > len(most) {
			most = v.Output
		}
	}
	return most
}

// follow deploys as curl -N does, hears how it goes on, and returns the outcome.
func follow(t *testing.T, at, name, dir string, on func(version)) (result version) {
	t.Helper()
	body, err := json.Marshal([]map[string]any{{"name": name, "dir": dir}})
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at+"/deploy?wait=true", bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Accept", "text/event-stream")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	rsp, err := client.Do(req)
	require.NoError(t, err)
	defer rsp.Body.Close()
	require.Equal(t, "text/event-stream", rsp.Header.Get("Content-Type"))
	lines := bufio.NewReader(rsp.Body)
	last := false
	for {
		line, err := lines.ReadString('\n')
		require.NoError(t, err, "the result is missing")
		last = last || line == "event: result\n"
		data, ok := strings.CutPrefix(line, "data: ")
		switch {
		case !ok:
		case last:
			var list []version
			require.NoError(t, json.Unmarshal([]byte(data), &list), data)
			require.Len(t, list, 1)
			return list[0]
		default:
			var event struct{ Functions []version }
			require.NoError(t, json.Unmarshal([]byte(data), &event), data)
			for _, v := range event.Functions {
				on(v)
			}
		}
	}
}

// The command line shows the same while it waits, and names the user's own files.
func TestCommandLineShowsBuilds(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr)
	dir := long(t, t.TempDir(), "")
	cmd := command(t.Context(), "proxyCli", "-proxy", p.rpc, "deploy", "-wait", dir)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	early := false
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if builtPackages.MatchString(strings.TrimSpace(lines.Text())) {
			early = now(t, p.http, "Long").Status == "Deploying"
		}
	}
	require.NoError(t, cmd.Wait())
	assert.True(t, early, "it came when all was done")

	dir = long(t, t.TempDir(), "func g() int { return `x` }\n")
	r := proxyCli(t, filepath.Dir(dir), "-proxy", p.rpc, "deploy", "-wait", filepath.Base(dir))
	assert.Equal(t, 3, r.code)
	assert.Regexp(t, `(?m)^  `+filepath.Base(dir)+`/gamma/gamma\.go:\d+:23: cannot use .*\n.*\n.*func g\(\) int \{ return .x. \}\n +\| +\^$`, r.stderr)
	assert.Contains(t, r.stderr, "the deploy before it goes on serving")
}

// Dev serves what was saved last, says what is wrong with it, and leaves nothing
// behind.
func TestDev(t *testing.T) {
	t.Parallel()
	dir, temp := source(t, says("Quick", "one")), t.TempDir()
	cmd := command(t.Context(), "proxyCli", "dev", "-listen", "localhost:0", dir)
	cmd.Env = append(cmd.Env, "TMPDIR="+temp)
	cmd.Dir = t.TempDir()
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	address := regexp.MustCompile(`^Quick  (http://localhost:\d+/functions/quick)$`)
	url := make(chan string, 1)
	read := make(chan string)
	go func() {
		var all strings.Builder
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			fmt.Fprintln(&all, lines.Text())
			if m := address.FindStringSubmatch(lines.Text()); m != nil {
				url <- m[1]
			}
		}
		close(url) // wakes the reader
		read <- all.String()
	}()
	at := <-url
	comesToAnswer(t, "one", at)
	write(t, dir, tree{"fn.go": says("Quick", "two")})
	comesToAnswer(t, "two", at)
	write(t, dir, tree{"fn.go": strings.Replace(says("Quick", "three"), "{ fmt", "{ if fmt", 1)})
	eventually(t, func() bool {
		status, answer, err := tryFetch(http.MethodGet, at, "")
		return err == nil && status == http.StatusInternalServerError && regexp.MustCompile(`fn\.go:8:\d+: `).MatchString(answer)
	}, "the place of the mistake is answered")
	write(t, dir, tree{"fn.go": says("Quick", "three")})
	comesToAnswer(t, "three", at)
	assert.NotEmpty(t, programs(t, temp))

	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	told := <-read
	_ = cmd.Wait()
	assert.Equal(t, 130, cmd.ProcessState.ExitCode(), told)
	assert.Empty(t, programs(t, temp))
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// usesModule is a function that needs a module of a proxy.
func usesModule(t *testing.T, p *testkit.ModuleProxy, module string) string {
	t.Helper()
	return folder(t, tree{
		"go.mod": goMod + "\nrequire " + module + " v1.0.0\n",
		"go.sum": p.Sums(module, "v1.0.0"),
		"p.go":   "package p\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\n\t\"" + module + "\"\n)\n\nfunc Private(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, x.X()) }\n",
	})
}

// Agents get modules where they are told to, by flags and by the environment.
func TestModulesOfACompany(t *testing.T) {
	t.Parallel()
	const module = "corp.example/x"
	c := testkit.NewModuleProxy(t)
	c.Publish(t, module, "v1.0.0", "", "package x\n\nfunc X() string { return \"from the company\" }\n")
	server := httptest.NewServer(c)
	defer server.Close()
	database := httptest.NewServer(http.NotFoundHandler())
	defer database.Close()
	common := cache(t)
	// What everything is built with may have to be fetched; it need not come from afar.
	proxies := server.URL + ",file://" + filepath.Join(common, "gomod", "cache", "download") + ",file://" + filepath.Join(common, "modules")
	for name, told := range map[string]struct{ args, env []string }{
		"by flags":           {args: []string{"-goproxy", proxies, "-gosumdb", "sum.golang.org " + database.URL, "-goprivate", "corp.example"}},
		"by the environment": {env: []string{"RYO_GOPROXY=" + proxies, "RYO_GOSUMDB=off", "RYO_GOPRIVATE=corp.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, own := t.TempDir(), t.TempDir() // a module cache that has nothing
			require.NoError(t, os.MkdirAll(filepath.Join(common, "gocache"), 0o700))
			require.NoError(t, os.Symlink(filepath.Join(common, "gocache"), filepath.Join(own, "gocache")))
			cmd := command(context.Background(), "agent", append([]string{"-port", "127.0.0.1:0", "-dir", dir, "-cache", own, "-stop-functions"}, told.args...)...)
			cmd.Env = append(cmd.Env, told.env...)
			s := launch(t, cmd)
			at := "localhost:" + s.said(`HTTP started on \S*:(\d+)`)
			r := proxyCli(t, usesModule(t, c, module), "-proxy", at, "deploy", "-wait")
			require.Zero(t, r.code, r.stderr)
			answers(t, "from the company", now(t, at, "Private").Proxy+"/private")
			_, paths := c.Asked()
			assert.Contains(t, paths, "/corp.example/x/@v/v1.0.0.zip")
		})
	}
}

// Whatever an agent was building ends with it.
func TestNoCompilerOutlivesItsAgent(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	dir := long(t, t.TempDir(), "")
	building := stage(t, a.addr, "Long", 1, "building")
	order(t, a.addr, "Long", dir)
	wait(t, building, "the build")
	var tools []int
	eventually(t, func() bool {
		tools = toolsOf(t, a.cmd.Process.Pid)
		return len(tools) > 1 // go and a compiler
	}, "a compiler runs")
	a.kill()
	for _, pid := range tools {
		eventually(t, func() bool { return !running(pid) }, "process %d has ended", pid)
	}
}

// toolsOf are the processes below another that run programs other than ours.
func toolsOf(t *testing.T, pid int) (all []int) {
	t.Helper()
	own, err := executable("agent")
	require.NoError(t, err)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	require.NoError(t, err)
	for _, task := range tasks {
		data, _ := os.ReadFile(task) // it may have exited
		for _, child := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(child)
			require.NoError(t, err)
			if exe, err := os.Readlink("/proc/" + child + "/exe"); err == nil && exe != own {
				all = append(all, pid)
			}
			all = append(all, toolsOf(t, pid)...)
		}
	}
	return all
}
