//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// instance is the source of a function that answers with a text and a word of its process's
// own.
func instance(name, text string) string {
	return fmt.Sprintf("package fn\n\nimport (\n\t\"crypto/rand\"\n\t\"fmt\"\n\t\"net/http\"\n)\n\nvar process = rand.Text()\n\nfunc %s(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, %q, \" \", process) }\n", name, text)
}

// heard calls a function some times, and returns how many processes said each word; nil if a
// call failed.
func heard(url string) map[string]int {
	words, all := map[string]int{}, map[string]bool{}
	for range 40 {
		status, body, err := tryFetch(http.MethodGet, url, "")
		if err != nil || status != http.StatusOK {
			return nil
		}
		if word, _, _ := strings.Cut(body, " "); !all[body] {
			all[body] = true
			words[word]++
		}
	}
	return words
}

// Whatever is changed through one of two proxies holds at the other, too, as far as agents
// know it.
func TestTwoProxiesOfTheSameAgentsAgree(t *testing.T) {
	t.Parallel()
	x, y := newSite(t).start(t), newSite(t).start(t)
	both := x.addr + "," + y.addr
	a := startProxy(t, "", "-shared", "-agents", both)
	b := startProxy(t, "", "-shared", "-agents", both)
	at := func(p gateway) string { return "http://" + p.http + "/functions/hello" }
	post := func(p gateway, path, body string) {
		t.Helper()
		status, answer := fetch(t, http.MethodPost, "http://"+p.http+path, body)
		require.Equal(t, http.StatusOK, status, answer)
	}
	give := func(p gateway, settings map[string]any) (int, string) {
		t.Helper()
		body, err := json.Marshal([]map[string]any{settings})
		require.NoError(t, err)
		return fetch(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))
	}
	comes := func(p gateway, want ...string) {
		t.Helper()
		wanted := map[string]int{}
		for _, word := range want {
			wanted[word] = 2 // at both agents
		}
		eventually(t, func() bool { return maps.Equal(wanted, heard(at(p))) }, "both agents answer %s", want)
	}
	agents := []string{x.addr, y.addr}

	// A deploy.
	status, answer := give(a, map[string]any{"name": "Hello", "dir": source(t, instance("Hello", "one")), "toAgent": agents, "routes": []string{"hello.example.com"}})
	require.Equal(t, http.StatusOK, status, answer)
	comes(b, "one")
	list := rows(t, http.MethodGet, "http://"+b.http+"/details", "")
	require.Len(t, list, 2)
	for _, r := range list {
		assert.Equal(t, "Deployed", r.Status)
		assert.Empty(t, r.Error)
	}
	// A route.
	status, answer = give(b, map[string]any{"name": "Thief", "dir": source(t, instance("Thief", "mine")), "routes": []string{"hello.example.com"}})
	assert.Equal(t, http.StatusConflict, status, answer)
	assert.Contains(t, answer, "hello.example.com")

	// A canary with its share, through the other one.
	status, answer = give(b, map[string]any{"name": "Hello", "dir": source(t, instance("Hello", "two")), "toAgent": agents, "canary": 50, "routes": []string{"hello.example.com"}})
	require.Equal(t, http.StatusOK, status, answer)
	comes(a, "one", "two")
	comes(b, "one", "two")
	post(a, "/shift", `{"name": "Hello", "canary": 100}`)
	comes(b, "two")
	comes(a, "two")

	// A pause.
	answersWith := func(p gateway, want int) {
		t.Helper()
		eventually(t, func() bool {
			status, _, err := tryFetch(http.MethodGet, at(p), "")
			return err == nil && status == want
		}, "calls are answered with %d", want)
	}
	post(a, "/pause", `{"name": "Hello"}`)
	answersWith(b, http.StatusServiceUnavailable)
	post(b, "/resume", `{"name": "Hello"}`)
	comes(a, "two")
	comes(b, "two")

	// Tokens are each proxy's own.
	made := proxyCli(t, t.TempDir(), "-proxy", a.rpc, "token", "create", "-scope", "read")
	require.Zero(t, made.code, made.stderr)
	token := strings.TrimSpace(made.stdout)
	for p, want := range map[string]int{a.http: http.StatusOK, b.http: http.StatusUnauthorized} {
		req, err := http.NewRequest(http.MethodGet, "http://"+p+"/details", http.NoBody)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		rsp, err := client.Do(req)
		require.NoError(t, err)
		require.NoError(t, rsp.Body.Close())
		assert.Equal(t, want, rsp.StatusCode)
	}

	// A stop, and another deploy.
	post(b, "/stop", `{"name": "Hello"}`)
	answersWith(b, http.StatusNotFound)
	answersWith(a, http.StatusNotFound)
	status, answer = give(a, map[string]any{"name": "Hello", "dir": source(t, instance("Hello", "three")), "toAgent": agents})
	require.Equal(t, http.StatusOK, status, answer)
	comes(b, "three")

	// An agent that is lost.
	y.kill()
	for _, p := range []gateway{a, b} {
		until(t, p.http, "Hello", func(row) bool {
			list := rows(t, http.MethodGet, "http://"+p.http+"/details", "")
			return len(list) == 2 && (list[0].Reason == "unreachable") != (list[1].Reason == "unreachable")
		})
		answersWith(p, http.StatusOK)
	}
}
