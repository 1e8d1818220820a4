package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTwoProgramsOnOneFolder(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Hello", source(t, says("Hello", "hello")))
	for name, args := range map[string][]string{
		"agent": {"-port", "127.0.0.1:0", "-dir", a.dir, "-cache", cache(t)},
		"proxy": {"-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", p.dir},
	} {
		second := command(t.Context(), name, args...)
		out, err := second.CombinedOutput()
		assert.Error(t, err)
		assert.Equal(t, 1, second.ProcessState.ExitCode())
		holder := map[string]int{"agent": a.cmd.Process.Pid, "proxy": p.cmd.Process.Pid}[name]
		assert.Contains(t, string(out), fmt.Sprintf("is in use by process %d", holder))
		assert.NotContains(t, string(out), "started on", "what does not start does not say so")
	}
	assert.Equal(t, r.Pid, now(t, p.http, "Hello").Pid)
	answers(t, "hello", r.URL)
}

// mountSmall mounts a small disk for the test.
func mountSmall(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options)
	if errors.Is(err, syscall.EPERM) {
		t.Skip("only root can mount")
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, 0)) })
	return dir
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options string
		fill    func(t *testing.T, dir string)
		says    string
	}{
		"bytes":  {"size=48m", fillBytes, " % full: "},
		"inodes": {"size=256m,nr_inodes=120", fillInodes, " of 120 inodes left"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := mountSmall(t, test.options)
			home := siteIn(t, filepath.Join(dir, "home"))
			a := home.start(t)
			p := startProxy(t, "", "-agents", a.addr)
			early := mustDeploy(t, p.http, "Early", source(t, obeys("Early", "early")))
			filler := filepath.Join(dir, "filler")
			require.NoError(t, os.Mkdir(filler, 0o700))
			test.fill(t, filler)

			for _, fn := range []string{"Late", "Early"} {
				body, err := json.Marshal([]map[string]any{{"name": fn, "dir": source(t, says(fn, "late"))}})
				require.NoError(t, err)
				status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))
				assert.Contains(t, answer, test.says, fn)
				assert.NotContains(t, answer, `"Deployed"`, fn)
				if status != http.StatusOK {
					assert.Equal(t, http.StatusInsufficientStorage, status, answer)
				}
			}
			fetch(t, http.MethodGet, early.URL+"/lines", "") // its output is lost, it is not
			answers(t, "early", early.URL)
			assert.Equal(t, early.Pid, now(t, p.http, "Early").Pid)

			// Not even a kill of the agent costs a function that was there.
			a.kill()
			a = home.start(t)
			until(t, a.addr, "Early", func(r row) bool { return r.Instances == 1 && r.Pid == early.Pid && r.Status == "Deployed" })
			answers(t, "early", early.URL)

			// What makes room is never refused.
			status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/stop", `{"name": "Early"}`)
			assert.Equal(t, http.StatusOK, status, answer)
			assert.Contains(t, answer, `"Stopped"`)
			assert.False(t, running(early.Pid))

			require.NoError(t, os.RemoveAll(filler))
			answers(t, "late", mustDeploy(t, p.http, "Late", source(t, says("Late", "late")), a.addr).URL)
			answers(t, "renewed", mustDeploy(t, p.http, "Early", source(t, says("Early", "renewed")), a.addr).URL)
			a.end() // the disk is unmounted next
		})
	}
}

func fillBytes(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	require.NoError(t, err)
	defer f.Close()
	_, err = io.Copy(f, bytes.NewReader(make([]byte, 64<<20)))
	require.ErrorIs(t, err, syscall.ENOSPC)
}

func fillInodes(t *testing.T, dir string) {
	t.Helper()
	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			return
		}
	}
}

// State files that were tampered with are set aside, and told of with the file's name,
// or are seen through. In no case is anybody else's process signalled.
func TestHostileStateFiles(t *testing.T) {
	t.Parallel()
	home := newSite(t)
	a := home.start(t)
	hello := mustDeploy(t, a.addr, "Hello", source(t, says("Hello", "hello")))
	a.end()
	stranger := launch(t, command(context.Background(), "proxy", "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", t.TempDir()))
	strangerPort := stranger.said(`HTTP started on \S*:(\d+)`)
	record := filepath.Join(a.dir, "agent", "functions", "hello", "record.json")
	good, err := os.ReadFile(record)
	require.NoError(t, err)
	for name, content := range map[string]string{
		"truncated": string(good[:len(good)/2]),
		"empty":     "",
		"another's": strings.Replace(string(good), `"Hello"`, `"Other"`, 1),
		"no object": "[1, 2]",
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(record, []byte(content), 0o600))
			a := home.start(t)
			r := until(t, a.addr, "Hello", func(r row) bool { return r.Status == "Failed" })
			assert.Equal(t, "damaged", r.Reason)
			assert.Contains(t, r.Error, record)
			_, ready := fetch(t, http.MethodGet, "http://"+a.addr+"/readyz", "")
			assert.Contains(t, ready, record)
			a.end()
			aside, err := filepath.Glob(record + ".damaged-*")
			require.NoError(t, err)
			require.Len(t, aside, 1)
			kept, err := os.ReadFile(aside[0])
			require.NoError(t, err)
			assert.Equal(t, content, string(kept), "what cannot be read is left for a person to look at")
			require.NoError(t, os.Remove(aside[0]))
		})
	}

	// A record with a stranger's port, and a lock with its number.
	_, port, err := net.SplitHostPort(strings.TrimPrefix(hello.Proxy, "http://"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(record, []byte(strings.Replace(string(good), port, strangerPort, 1)), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(a.dir, "agent", "LOCK"), fmt.Appendln(nil, stranger.cmd.Process.Pid), 0o600))
	a = home.start(t)
	r := until(t, a.addr, "Hello", func(r row) bool { return r.Error != "" || r.Status == "Failed" })
	assert.Contains(t, r.Error, strangerPort)
	assert.Zero(t, r.Instances)
	status, _ := fetch(t, http.MethodGet, "http://localhost:"+strangerPort+"/healthz", "")
	assert.Equal(t, http.StatusOK, status)
	fetch(t, http.MethodPost, "http://"+a.addr+"/stop", `{"name": "Hello"}`)
	assert.True(t, alive(stranger.cmd.Process.Pid))
	answers(t, "hello", mustDeploy(t, a.addr, "Hello", source(t, says("Hello", "hello"))).URL)
}

func TestProxyNamesAStateFileThatItCannotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "proxy", "agents.json")
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(`{"agents": ["localh`), 0o600))
	cmd := command(t.Context(), "proxy", "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", dir)
	out, _ := cmd.CombinedOutput()
	assert.Equal(t, 1, cmd.ProcessState.ExitCode())
	assert.Contains(t, string(out), file)
}
