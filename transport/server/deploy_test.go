package server_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/transport/server"
	"github.com/Ishan27g/ryo-faas/transport/transporttest"
	"github.com/Ishan27g/ryo-faas/transport/wire"
)

// event is one server-sent event.
type event struct {
	name string
	data any
}

// events makes a call that is answered with events and returns them.
func events(t *testing.T, method, url, body string) []event {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Accept", "application/json;q=0.5, text/event-stream")
	rsp, err := client(t).Do(req)
	require.NoError(t, err)
	defer func() { _ = rsp.Body.Close() }()
	require.Equal(t, http.StatusOK, rsp.StatusCode)
	require.Equal(t, "text/event-stream", rsp.Header.Get("Content-Type"))
	var all []event
	var e event
	for lines := bufio.NewScanner(rsp.Body); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			e.name = value
		case "data":
			require.NoError(t, json.Unmarshal([]byte(value), &e.data))
			all = append(all, e)
			e = event{}
		}
	}
	return all
}

func TestADeployThatWaitsIsFollowed(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{})
	dir := source(t)
	definition := `[{"name": "HelloWorld", "dir": "` + dir + `"}]`
	statusOf := func(v any) string {
		rows := v.([]any)
		require.Len(t, rows, 1)
		return rows[0].(map[string]any)["status"].(string)
	}

	all := events(t, "POST", base+"/deploy?wait", definition)
	require.NotEmpty(t, all)
	last := all[len(all)-1]
	assert.Equal(t, "result", last.name)
	assert.Equal(t, "Deployed", statusOf(last.data))
	for _, e := range all[:len(all)-1] {
		assert.Empty(t, e.name)
		assert.Contains(t, []string{"Deploying", "Deployed"}, statusOf(e.data.(map[string]any)["functions"]))
	}

	require.NoError(t, os.WriteFile(filepath.Join(dir, "helloWorld.go"), []byte("package hello\nfunc ("), 0o600))
	all = events(t, "POST", base+"/deploy?wait=1", definition)
	assert.Equal(t, "Failed", statusOf(all[len(all)-1].data), "one that does not build is a result too")

	// What is wrong with the call itself is a plain answer.
	req, err := http.NewRequestWithContext(t.Context(), "POST", base+"/deploy?wait", strings.NewReader(`[{"name": "hello", "dir": "`+dir+`"}]`))
	require.NoError(t, err)
	req.Header.Set("Accept", "text/event-stream")
	rsp, err := client(t).Do(req)
	require.NoError(t, err)
	defer func() { _ = rsp.Body.Close() }()
	assert.Equal(t, http.StatusBadRequest, rsp.StatusCode)
	text, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"code":"invalid"`)
}

func TestPlansOverHTTP(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{})
	definition := `[{"name": "HelloWorld", "dir": "` + source(t) + `"}]`
	for _, query := range []string{"?plan", "?plan=true", "?plan=1&wait=false"} {
		code, v := answer(t, "POST", base+"/deploy"+query, "", definition)
		require.Equal(t, http.StatusOK, code, "%v", v)
		assert.Equal(t, "create", v.([]any)[0].(map[string]any)["change"])
	}
	code, v := answer(t, "POST", base+"/deploy?plan=perhaps", "", definition)
	assert.Equal(t, http.StatusBadRequest, code, "%v", v)
	code, v = answer(t, "GET", base+"/details", "", "")
	assert.Equal(t, http.StatusOK, code)
	assert.Empty(t, v)
}

// The verbs of a function's life, with nothing but an HTTP client.
func TestLifeOverPlainHTTP(t *testing.T) {
	fake := transporttest.NewFake(t)
	base := "http://" + serve(t, fake, fake, server.Config{
		Mounts: []server.Mount{{Path: "/metrics", Methods: []string{"GET"}, Scope: wire.ScopeRead, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "up 1\n")
		})}},
	})
	code, v := answer(t, "POST", base+"/deploy?wait", "", `[{"name": "HelloWorld", "dir": "`+source(t)+`", "note": "first", "min": 1, "secrets": {"A": "b"}}]`)
	require.Equal(t, http.StatusOK, code, "%v", v)

	for _, name := range []string{"name", "entrypoint"} {
		code, v = answer(t, "GET", base+"/versions?"+name+"=HelloWorld", "", "")
		require.Equal(t, http.StatusOK, code, "%v", v)
		version := v.([]any)[0].(map[string]any)
		assert.Equal(t, "first", version["note"])
		assert.Equal(t, map[string]any{"A": ""}, version["settings"].(map[string]any)["secrets"])
		code, v = answer(t, "GET", base+"/crashes?"+name+"=HelloWorld", "", "")
		require.Equal(t, http.StatusOK, code, "%v", v)
		assert.Equal(t, []any{}, v)
		code, v = answer(t, "GET", base+"/usage?"+name+"=HelloWorld", "", "")
		require.Equal(t, http.StatusOK, code, "%v", v)
		assert.Len(t, v, 1)
		code, v = answer(t, "POST", base+"/rollback", "", `{"`+name+`": "HelloWorld", "to": 1}`)
		require.Equal(t, http.StatusOK, code, "%v", v)
		assert.InDelta(t, 1, v.([]any)[0].(map[string]any)["version"], 0)
		code, v = answer(t, "POST", base+"/shift", "", `{"`+name+`": "HelloWorld", "canary": 10}`)
		assert.Equal(t, http.StatusConflict, code, "%v", v)

		all := events(t, "GET", base+"/logs?follow=false&tail=1&version=1&"+name+"=HelloWorld", "")
		require.Len(t, all, 1)
		line := all[0].data.(map[string]any)["lines"].([]any)[0].(map[string]any)
		assert.Equal(t, "deploying at /helloworld", line["text"])
	}
	assert.Empty(t, events(t, "GET", base+"/logs?grep=nothing&name=HelloWorld", ""))
	for _, query := range []string{"", "name=HelloWorld&tail=-1", "name=HelloWorld&tail=x", "name=HelloWorld&follow=x", "name=HelloWorld&since=x", "name=A&name=B", "name=HelloWorld&lines=7"} {
		code, v = answer(t, "GET", base+"/logs?"+query, "", "")
		assert.Equal(t, http.StatusBadRequest, code, "%s: %v", query, v)
	}

	rsp, err := client(t).Get(base + "/metrics")
	require.NoError(t, err)
	defer func() { _ = rsp.Body.Close() }()
	text, err := io.ReadAll(rsp.Body)
	require.NoError(t, err)
	assert.Equal(t, "up 1\n", string(text))
}
