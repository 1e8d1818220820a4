//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// together is proxyCli up, in an environment where it finds both programs.
type together struct {
	*server
	agent, proxy, url string
	dir               string
}

func startUp(t *testing.T) together {
	t.Helper()
	bin, s := t.TempDir(), newSite(t)
	for _, name := range []string{"agent", "proxy"} {
		file, err := executable(name)
		require.NoError(t, err)
		text := fmt.Sprintf("#!/bin/sh\n%s=%s exec '%s' \"$@\"\n", program, name, file)
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700))
	}
	cmd := command(context.Background(), "proxyCli", "up", "-o", "json", "-dir", s.dir)
	cmd.Env = append(cmd.Env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"),
		"RYO_PORT=localhost:"+s.port, "RYO_PORTS="+s.ports, "RYO_HTTP=localhost:0", "RYO_RPC=localhost:0", "RYO_CACHE="+cache(t))
	cmd.Dir = t.TempDir()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	u := together{server: &server{t: t, cmd: cmd, done: make(chan struct{})}, dir: s.dir}
	cmd.Stderr = u
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	go func() {
		defer close(u.done)
		_ = cmd.Wait()
	}()
	t.Cleanup(u.end)
	require.NoError(t, err, "%s", u)
	var at map[string]string
	require.NoError(t, json.Unmarshal(line, &at))
	u.agent, u.proxy, u.url = at["agent"], at["proxy"], at["url"]
	return u
}

// children are the programs that it has started.
func (u together) children() (pids []int) {
	u.t.Helper()
	for _, text := range children(u.t, u.cmd.Process.Pid) {
		pid, err := strconv.Atoi(text)
		require.NoError(u.t, err)
		pids = append(pids, pid)
	}
	return pids
}

// A function of each template is made, deployed as it is, and called.
func TestNewFunctionsAreServedByUp(t *testing.T) {
	t.Parallel()
	u := startUp(t)
	dir := t.TempDir()
	for template, call := range map[string]func(t *testing.T, url string){
		"http": func(t *testing.T, url string) { answers(t, "Hello, Ada!\n", url+"?name=Ada") },
		"json": func(t *testing.T, url string) {
			status, answer := fetch(t, http.MethodPost, url, `{"name": "Ada"}`)
			assert.Equal(t, http.StatusOK, status)
			assert.JSONEq(t, `{"message": "Hello, Ada!"}`, answer)
		},
		"event": func(t *testing.T, _ string) {
			res := proxyCli(t, dir, "-proxy", u.proxy, "details", "-o", "json")
			assert.Contains(t, res.stdout, `"subscribe":["order.*"]`)
		},
		"cron": func(t *testing.T, _ string) {
			res := proxyCli(t, dir, "-proxy", u.proxy, "cron", "ls")
			assert.Contains(t, res.stdout, "*/5 * * * *")
		},
		"gin": func(t *testing.T, url string) { answers(t, `{"message":"Hello, Ada!"}`, url+"/Ada") },
		"sse": func(t *testing.T, url string) {
			stream := begin(t, url)
			line, err := bufio.NewReader(stream.Body).ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, "event: time\n", line)
		},
		"static": func(t *testing.T, url string) {
			_, answer := fetch(t, http.MethodGet, url, "")
			assert.Contains(t, answer, `<base href="/functions/mystatic/">`)
			_, answer = fetch(t, http.MethodGet, url+"/style.css", "")
			assert.Contains(t, answer, "color-scheme")
		},
	} {
		t.Run(template, func(t *testing.T) {
			t.Parallel()
			name := "my-" + template
			made := proxyCli(t, dir, "new", "-template", template, name)
			require.Zero(t, made.code, made.stderr)
			deployed := proxyCli(t, dir, "-proxy", u.proxy, "deploy", "-wait", name)
			require.Zero(t, deployed.code, deployed.stderr)
			require.Contains(t, deployed.stdout, `status:"Deployed"`)
			call(t, u.url+"/functions/my"+template)
		})
	}
}

func TestUpStopsWhatItHasStarted(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		how  func(u together) error
		code int
		says string
	}{
		"Ctrl-C": {func(u together) error { return u.cmd.Process.Signal(os.Interrupt) }, 130, "agent: stopping"},
		"the end of the agent": {func(u together) error {
			for _, pid := range u.children() {
				if data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); bytes.Contains(data, []byte("-stop-functions")) {
					return syscall.Kill(pid, syscall.SIGKILL)
				}
			}
			return os.ErrNotExist
		}, 4, "the agent has ended: signal: killed"},
		"its own death": {func(u together) error { return u.cmd.Process.Kill() }, -1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := startUp(t)
			started := u.children()
			require.Len(t, started, 2)
			require.NoError(t, end.how(u))
			wait(t, u.done, "the end of up")
			assert.Equal(t, end.code, u.cmd.ProcessState.ExitCode(), u.String())
			assert.Contains(t, u.String(), end.says)
			for _, pid := range started {
				eventually(t, func() bool { return !alive(pid) }, "process %d ends", pid)
			}
		})
	}
}
