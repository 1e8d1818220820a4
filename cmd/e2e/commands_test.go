package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// runProgram runs a program to its end with additional variables.
func runProgram(t *testing.T, name string, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := command(ctx, name, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(cmd.Env, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	require.NotNil(t, cmd.ProcessState)
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"agent":    {"-port", "-dir", "-ports", "-host"},
		"proxy":    {"-http", "-rpc", "-agents", "-dir", "-url"},
		"proxyCli": {"-proxy", "-transport"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, arg := range []string{"-h", "-help", "--help"} {
				r := runProgram(t, name, nil, arg)
				assert.Zero(t, r.code)
				assert.Empty(t, r.stderr)
				assert.Contains(t, r.stdout, "Usage: "+name)
				for _, flag := range append(flags, "-version") {
					assert.Regexp(t, `(?m)^\s+`+flag+`\b`, r.stdout, arg)
				}
				for _, flag := range flags {
					assert.Contains(t, r.stdout, "RYO_"+strings.ToUpper(flag[1:]), arg)
				}
			}
			for _, arg := range []string{"-version", "--version"} {
				r := runProgram(t, name, nil, arg)
				assert.Zero(t, r.code)
				assert.Empty(t, r.stderr)
				assert.Regexp(t, `^`+name+` \S+.*\n$`, r.stdout)
			}
		})
	}
	t.Run("commands", func(t *testing.T) {
		t.Parallel()
		help := runProgram(t, "proxyCli", nil, "help").stdout
		for _, verb := range []string{"def", "deploy", "list", "details", "stop", "log", "invoke"} {
			assert.Regexp(t, `(?m)^  `+verb+`\b`, help)
			r := runProgram(t, "proxyCli", nil, verb, "-help")
			assert.Zero(t, r.code)
			assert.Empty(t, r.stderr)
			assert.Contains(t, r.stdout, "Usage: proxyCli "+verb)
		}
	})
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for _, c := range []struct {
		program string
		args    []string
		code    int
		says    []string
	}{
		{"agent", []string{"-prot", ":1"}, 2, []string{"-prot", "did you mean -port"}},
		{"agent", []string{"start"}, 2, []string{`"start"`}},
		{"agent", []string{"-port"}, 2, []string{"-port"}},
		{"agent", []string{"-insecure=perhaps"}, 2, []string{"perhaps"}},
		{"agent", []string{"-ports", "5", "-dir", dir, "-port", "127.0.0.1:0"}, 2, []string{"-ports", `"5"`}},
		{"agent", []string{"-dir", dir, "-port", taken.Addr().String()}, 1, []string{taken.Addr().String(), "-port"}},
		{"agent", []string{"-dir", dir, "-port", "nonsense:port"}, 2, []string{"-port", "nonsense:port"}},
		{"proxy", []string{"--agnets", "a:1"}, 2, []string{"-agnets", "did you mean -agents"}},
		{"proxy", []string{"serve"}, 2, []string{`"serve"`}},
		{"proxy", []string{"-agents", "no-port", "-dir", dir, "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0"}, 2, []string{"no-port"}},
		{"proxy", []string{"-url", "ftp:/x", "-dir", dir, "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0"}, 2, []string{"ftp:/x"}},
		{"proxy", []string{"-dir", dir, "-http", taken.Addr().String(), "-rpc", "127.0.0.1:0"}, 1, []string{taken.Addr().String(), "-http"}},
		{"proxyCli", []string{"-prxy", "a:1", "list"}, 2, []string{"-prxy", "did you mean -proxy"}},
		{"proxyCli", []string{"lsit"}, 2, []string{`"lsit"`, "did you mean list"}},
		{"proxyCli", []string{"deploy", "-nmae", "F"}, 2, []string{"-nmae", "did you mean -name"}},
		{"proxyCli", []string{"-transport", "carrier-pigeon", "list"}, 2, []string{"carrier-pigeon", "rpc", "http"}},
		{"proxyCli", []string{"-o", "xml", "list"}, 2, []string{"xml", "json"}},
		{"proxyCli", []string{"-proxy", "nowhere", "list"}, 2, []string{"nowhere"}},
		{"proxyCli", []string{"def"}, 2, []string{"FILE"}},
		{"proxyCli", []string{"stop"}, 2, []string{"NAME"}},
		{"proxyCli", []string{"log"}, 2, []string{"NAME"}},
		{"proxyCli", []string{"log", "A", "B"}, 2, []string{"B"}},
		{"proxyCli", []string{"details", "A"}, 2, []string{"A"}},
		{"proxyCli", []string{"invoke"}, 2, []string{"NAME"}},
	} {
		t.Run(c.program+" "+strings.ReplaceAll(strings.Join(c.args, " "), dir, "DIR"), func(t *testing.T) {
			r := runProgram(t, c.program, nil, c.args...)
			assert.Equal(t, c.code, r.code, "%+v", r)
			assert.Empty(t, r.stdout)
			for _, text := range c.says {
				assert.Contains(t, r.stderr, text)
			}
			if c.code == 2 {
				assert.Equal(t, 1, strings.Count(r.stderr, "\n"), "one line: %s", r.stderr)
			}
		})
	}
}

// banner is what a server printed for its user: where it listens.
func banner(s *server) string {
	return strings.Join(regexp.MustCompile(`(?m)^(HTTP|Functions|GRPC server) started on .*\n`).FindAllString(s.String(), -1), "")
}

// Flags, the variables that stand in for them, the folders they name, and the
// lines that tell users where the programs are.
func TestFlagsAndVariables(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	serve := func(t *testing.T, name string, env []string, args ...string) *server {
		t.Helper()
		cmd := command(context.Background(), name, args...)
		cmd.Dir = t.TempDir()
		cmd.Env = append(cmd.Env, env...)
		return launch(t, cmd)
	}
	ports := freePorts(t, 4)
	a := serve(t, "agent", []string{
		"RYO_PORT=:0", "RYO_DIR=" + state, "RYO_CACHE=" + cache(t), "RYO_PORTS=" + ports, "RYO_HOST=",
	})
	port := a.said(`(?m)^HTTP started on :(\d+)$`)
	assert.Equal(t, "HTTP started on :"+port+"\nGRPC server started on [::]:"+port+"\n", banner(a))
	at := "localhost:" + port

	p := serve(t, "proxy", []string{
		"RYO_HTTP=:0", "RYO_RPC=:0", "RYO_DIR=/nowhere", "RYO_AGENTS=" + at, "RYO_URL=https://faas.example.com",
	}, "-dir", state) // flags count more than variables
	web, rpc := p.said(`(?m)^HTTP started on :(\d+)$`), p.said(`(?m)^GRPC server started on \[::\]:(\d+)$`)
	assert.Equal(t, "HTTP started on :"+web+"\nGRPC server started on [::]:"+rpc+"\n", banner(p))
	assert.NotEqual(t, web, rpc)

	dir := source(t, hello)
	t.Run("the proxy's url is -url", func(t *testing.T) {
		const url = "https://faas.example.com/functions/helloworld"
		for _, d := range []door{{addr: "localhost:" + rpc, kind: "rpc"}, {addr: "localhost:" + web, kind: "http"}} {
			r := runProgram(t, "proxyCli", []string{"RYO_PROXY=" + d.addr, "RYO_TRANSPORT=" + d.kind}, "deploy", "-wait", dir)
			assert.Equal(t, line("HelloWorld", url, "Deployed"), r.stdout, r.stderr)
			r = runProgram(t, "proxyCli", []string{"RYO_PROXY=" + d.addr, "RYO_TRANSPORT=" + d.kind, "RYO_OUTPUT=json"}, "list")
			var list []row
			require.NoError(t, json.Unmarshal([]byte(r.stdout), &list), r.stdout)
			assert.Equal(t, url, list[0].URL)
			r = runProgram(t, "proxyCli", []string{"RYO_PROXY=localhost:1", "RYO_TRANSPORT=x"}, "list", "-proxy", d.addr, "-transport", d.kind)
			assert.Equal(t, line("HelloWorld", url, "Deployed"), r.stdout)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost:"+web+"/details", nil)
		require.NoError(t, err)
		req.Host = "faas.example.com"
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		rsp, err := client.Do(req)
		require.NoError(t, err)
		rsp.Body.Close()
		assert.Equal(t, http.StatusOK, rsp.StatusCode, "the name in -url is one of its own")
	})
	t.Run("the agent's ports are those of -ports", func(t *testing.T) {
		row := rows(t, http.MethodGet, "http://"+at+"/details", "")[0]
		first, _, _ := strings.Cut(ports, "-")
		low, err := strconv.Atoi(first)
		require.NoError(t, err)
		got, err := strconv.Atoi(strings.TrimPrefix(row.Proxy, "http://localhost:"))
		require.NoError(t, err)
		assert.True(t, low <= got && got < low+4, row.Proxy)
	})
	t.Run("state lies in -dir", func(t *testing.T) {
		assert.DirExists(t, filepath.Join(state, "agent"))
		assert.DirExists(t, filepath.Join(state, "proxy"))
	})
	t.Run("one folder belongs to one agent", func(t *testing.T) {
		r := runProgram(t, "agent", nil, "-port", "127.0.0.1:0", "-dir", state, "-cache", cache(t))
		assert.Equal(t, 1, r.code)
		assert.Contains(t, r.stderr, strconv.Itoa(a.cmd.Process.Pid))
	})
	t.Run("the url's host is the one that the caller addressed", func(t *testing.T) {
		q := startProxy(t, "", "-agents", at)
		eventually(t, func() bool { return len(rows(t, http.MethodGet, "http://"+q.http+"/details", "")) == 1 }, "no row")
		_, port, _ := net.SplitHostPort(q.http)
		_, rpcPort, _ := net.SplitHostPort(q.rpc)
		for _, host := range []string{"localhost", "127.0.0.1", "[::ffff:127.0.0.1]"} {
			want := "http://" + host + ":" + port + "/functions/helloworld"
			assert.Equal(t, want, rows(t, http.MethodGet, "http://"+host+":"+port+"/details", "")[0].URL)
			r := runProgram(t, "proxyCli", nil, "-proxy", host+":"+rpcPort, "list")
			assert.Equal(t, line("HelloWorld", want, "Deployed"), r.stdout, r.stderr)
		}
	})
	t.Run("the user's state directory is the default of -dir", func(t *testing.T) {
		home := t.TempDir()
		serve(t, "proxy", []string{"XDG_STATE_HOME=" + home}, "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0")
		assert.DirExists(t, filepath.Join(home, "ryo-faas", "proxy"))
		home = t.TempDir()
		serve(t, "agent", []string{"XDG_STATE_HOME=", "HOME=" + home, "RYO_CACHE=" + cache(t)}, "-port", "127.0.0.1:0")
		assert.DirExists(t, filepath.Join(home, ".local", "state", "ryo-faas", "agent"))
		left, err := os.ReadDir(home)
		require.NoError(t, err)
		assert.Len(t, left, 1, "nothing else is written in the user's home: %v", left)
	})
}

// What scripts see: the exit codes, and the same answers as text and JSON.
func TestVerbs(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	at := s.agent.addr
	dir := folder(t, map[string]string{
		"hello/helloWorld.go": hello,
		"two/a.go":            strings.Replace(hello, "HelloWorld(", "One(", 1) + "\nfunc Two(w http.ResponseWriter, r *http.Request) { panic(1) }\n",
		"undefined/a.go":      "package p\n\nimport \"net/http\"\n\nfunc Undefined(w http.ResponseWriter, r *http.Request) {\n\tw.Wirte(nil)\n}\n",
		"signature/a.go":      "package p\n\nimport \"net/http\"\n\nfunc Signature(w http.ResponseWriter, r http.Request) {}\n",
		"exits/a.go":          "package p\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc init() { fmt.Println(\"no database\"); os.Exit(7) }\n\nfunc Exits(w http.ResponseWriter, r *http.Request) {}\n",
		"hangs/a.go":          "package p\n\nimport \"net/http\"\n\nfunc init() { select {} }\n\nfunc Hangs(w http.ResponseWriter, r *http.Request) {}\n",
		"all.json": `{
			"deploy": [{"name": "HelloWorld", "packageDir": "hello", "agentAddr": "` + at + `"}],
			"list": {"agentAddr": "` + at + `"},
			"log": {"name": ["HelloWorld"]},
			"stop": {"name": "HelloWorld"}}`,
		"stop.json":  `{"stop": {"name": ["HelloWorld"]}}`,
		"log.json":   `{"log": {"name": ["HelloWorld"]}}`,
		"mixed.json": `{"deploy": [{"name": "HelloWorld", "packageDir": "hello", "agentAddr": "` + at + `"}, {"name": "Undefined", "packageDir": "undefined", "agentAddr": "` + at + `"}]}`,
	})
	url := "http://" + s.proxy.http + "/functions/"
	cli := func(t *testing.T, args ...string) result {
		t.Helper()
		return proxyCli(t, dir, append([]string{"-proxy", s.proxy.rpc}, args...)...)
	}

	t.Run("all sections of a file", func(t *testing.T) {
		r := cli(t, "def", "-wait", "all.json")
		require.Zero(t, r.code, r.stderr)
		assert.Equal(t, line("HelloWorld", url+"helloworld", "Deployed")+
			line("HelloWorld", url+"helloworld", "Deployed")+
			"deploying at /helloworld\n"+
			line("HelloWorld", url+"helloworld", "Stopped"), r.stdout)
	})
	t.Run("unreachable", func(t *testing.T) {
		gone := testkit.Address(t)
		for _, kind := range []string{"rpc", "http"} {
			for _, args := range [][]string{{"list"}, {"details"}, {"stop", "F"}, {"log", "F"}, {"invoke", "F"}, {"deploy", "hello"}, {"def", "all.json"}} {
				r := proxyCli(t, dir, append(args, "-proxy", gone, "-transport", kind)...)
				assert.Equal(t, 4, r.code, "%s %s", args, r.stderr)
				assert.Empty(t, r.stdout)
				assert.Contains(t, r.stderr, gone)
				assert.Contains(t, r.stderr, "hint:")
			}
		}
	})
	t.Run("deploy without a name", func(t *testing.T) {
		r := cli(t, "deploy", "-agent", at, "-wait", "hello")
		assert.Zero(t, r.code, r.stderr)
		assert.Equal(t, line("HelloWorld", url+"helloworld", "Deployed"), r.stdout)
		r = cli(t, "deploy", "-agent", at, "two")
		assert.Equal(t, 2, r.code)
		assert.Empty(t, r.stdout)
		assert.Contains(t, r.stderr, "One")
		assert.Contains(t, r.stderr, "Two")
		assert.Contains(t, r.stderr, "-name")
	})
	t.Run("json says what HTTP says", func(t *testing.T) {
		for _, d := range s.doors() {
			var got []row
			r := d.cli(t, dir, "-o", "json", "details")
			require.NoError(t, json.Unmarshal([]byte(r.stdout), &got), r.stdout)
			base := "http://" + s.proxy.http
			if !d.proxy {
				base = "http://" + s.agent.addr
			}
			assert.Equal(t, rows(t, http.MethodGet, base+"/details", ""), got, d.name)
			r = d.cli(t, dir, "list", "-o", "json", "http://"+at)
			var again []row
			require.NoError(t, json.Unmarshal([]byte(r.stdout), &again), r.stdout)
			assert.Equal(t, got, again)
			r = d.cli(t, dir, "log", "HelloWorld", "-o=json")
			for data := range strings.Lines(r.stdout) {
				var line struct{ Function, AtAgent, Text string }
				require.NoError(t, json.Unmarshal([]byte(data), &line), r.stdout)
				assert.Equal(t, "HelloWorld", line.Function)
				assert.Equal(t, got[0].AtAgent, line.AtAgent)
				assert.Equal(t, "deploying at /helloworld", line.Text, "of each deploy")
			}
			assert.NotEmpty(t, r.stdout)
		}
	})
	t.Run("log and stop by name and by file", func(t *testing.T) {
		for _, args := range [][]string{{"log", "HelloWorld"}, {"def", "log.json"}} {
			r := cli(t, args...)
			assert.Regexp(t, "^(deploying at /helloworld\n)+$", r.stdout)
			assert.Zero(t, r.code)
		}
		r := cli(t, "stop", "Nobody", "HelloWorld")
		assert.Equal(t, 6, r.code)
		assert.Equal(t, line("HelloWorld", url+"helloworld", "Stopped"), r.stdout)
		assert.Contains(t, r.stderr, "Nobody")
		for _, args := range [][]string{
			{"stop", "HelloWorld"}, {"def", "stop.json"}, {"invoke", "HelloWorld"},
		} {
			for _, d := range s.doors() {
				r := d.cli(t, dir, args...)
				assert.Equal(t, 5, r.code, "%s %s: %+v", d.name, args, r)
				assert.Empty(t, r.stdout)
				assert.Contains(t, r.stderr, "HelloWorld")
			}
		}
		for _, d := range s.doors() {
			r := d.cli(t, dir, "log", "Nobody")
			assert.Equal(t, 5, r.code, "%s: %+v", d.name, r)
			if !d.proxy { // what a function printed outlives it
				r = d.cli(t, dir, "log", "HelloWorld")
				assert.Regexp(t, "^(deploying at /helloworld\n)+$", r.stdout)
			}
		}
		for _, d := range s.doors() {
			for _, args := range [][]string{{"list", "-all"}, {"details", "-all"}, {"list", "-all", at}} {
				r := d.cli(t, dir, args...)
				assert.Contains(t, r.stdout, `status:"Stopped"`, "%s %s: %+v", d.name, args, r)
			}
			assert.NotContains(t, d.cli(t, dir, "list").stdout, `status:"Stopped"`)
			assert.Zero(t, d.cli(t, dir, "versions", "HelloWorld").code)
		}
		r = cli(t, "rollback", "HelloWorld")
		assert.Zero(t, r.code, "%+v", r)
		r = cli(t, "rm", "HelloWorld")
		assert.Equal(t, line("HelloWorld", url+"helloworld", "Stopped"), r.stdout)
		for _, verb := range []string{"rm", "versions", "log", "rollback"} {
			assert.Equal(t, 5, cli(t, verb, "HelloWorld").code, verb)
		}
	})
	t.Run("code that is refused", func(t *testing.T) {
		for _, d := range s.doors() {
			r := d.cli(t, dir, "deploy", "-wait", "-agent", at, "-name", "Signature", "signature")
			assert.Equal(t, 3, r.code)
			assert.Empty(t, r.stdout)
			assert.Contains(t, r.stderr, "signature/a.go:5:41: parameter 2 of Signature is net/http.Request, want *net/http.Request (missing *)")
			r = d.cli(t, dir, "deploy", "-wait", "-agent", at, "undefined")
			assert.Equal(t, 3, r.code)
			assert.Contains(t, r.stdout, `status:"Failed"`)
			assert.Contains(t, r.stderr, "undefined/a.go:6:4: w.Wirte undefined")
		}
	})
	t.Run("partly failed", func(t *testing.T) {
		r := cli(t, "def", "-wait", "mixed.json")
		assert.Equal(t, 6, r.code)
		assert.Equal(t, line("HelloWorld", url+"helloworld", "Deployed")+line("Undefined", url+"undefined", "Failed"), r.stdout)
	})
	t.Run("a function that does not start", func(t *testing.T) {
		r := cli(t, "deploy", "-wait", "-agent", at, "exits")
		assert.Equal(t, 8, r.code, "%+v", r)
		assert.Contains(t, r.stderr, "exit status 7")
		assert.Contains(t, r.stderr, "no database")
	})
	t.Run("interrupted", func(t *testing.T) {
		cmd := command(t.Context(), "proxyCli", "-proxy", s.proxy.rpc, "deploy", "-wait", "-agent", at, "hangs")
		cmd.Dir = dir
		stderr, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var text strings.Builder
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			text.WriteString(lines.Text() + "\n")
			if strings.HasPrefix(lines.Text(), "starting Hangs") {
				require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
			}
		}
		_ = cmd.Wait()
		assert.Equal(t, 130, cmd.ProcessState.ExitCode(), text.String())
		r := cli(t, "stop", "Hangs")
		assert.Zero(t, r.code, r.stderr)
	})
}
