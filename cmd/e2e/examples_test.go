package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each folder of example is deployed with its own deploy.json, as its doc.go
// says, and called.
func TestExamples(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	examples := filepath.Join(repository(t), "example")
	functions := "http://" + s.proxy.http + "/functions/"

	calls := map[string]func(*testing.T){
		"hello": func(t *testing.T) {
			status, answer := fetch(t, http.MethodGet, functions+"helloworld", "")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "Hello, World!\n", answer)
		},
		"api":    func(t *testing.T) { callAPI(t, functions+"tasks") },
		"stream": func(t *testing.T) { callStream(t, functions+"countdown") },
		"qr": func(t *testing.T) {
			status, answer := fetch(t, http.MethodGet, functions+"qr?text=https://go.dev", "")
			assert.Equal(t, http.StatusOK, status)
			assert.Contains(t, answer, "█")
			status, answer = fetch(t, http.MethodGet, functions+"qr/png?text=https://go.dev", "")
			assert.Equal(t, http.StatusOK, status)
			_, err := png.Decode(strings.NewReader(answer))
			assert.NoError(t, err)
			status, _ = fetch(t, http.MethodGet, functions+"qr", "")
			assert.Equal(t, http.StatusBadRequest, status)
		},
		"typed": func(t *testing.T) { callTyped(t, functions+"summary") },
		"event": func(t *testing.T) { callEvent(t, functions+"placed") },
		"gin":   func(t *testing.T) { callGin(t, functions+"roll") },
		"shop": func(t *testing.T) {
			status, answer := fetch(t, http.MethodGet, functions+"checkout?item=tea&item=tea&item=cup", "")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "3 items: 16.49\n", answer)
			status, answer = fetch(t, http.MethodGet, functions+"checkout?item=yacht", "")
			assert.Equal(t, http.StatusNotFound, status)
			assert.Equal(t, "the shop has no \"yacht\"\n", answer)
		},
	}
	entries, err := os.ReadDir(examples)
	require.NoError(t, err)
	require.Len(t, calls, len(entries), "each example has a test")
	for _, e := range entries {
		t.Run(e.Name(), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(examples, e.Name())
			definition, err := os.ReadFile(filepath.Join(dir, "deploy.json"))
			require.NoError(t, err)
			require.Contains(t, string(definition), `"localhost:9000"`)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := command(ctx, "proxyCli", "-proxy", s.proxy.rpc, "def", "-wait", "-") // paths count from the working directory
			cmd.Dir = dir
			cmd.Stdin = bytes.NewReader(bytes.ReplaceAll(definition, []byte("localhost:9000"), []byte(s.agent.addr)))
			said, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", said)
			require.Contains(t, string(said), `status:"Deployed"`)
			calls[e.Name()](t)
		})
	}
}

func callAPI(t *testing.T, url string) {
	type task struct {
		ID    int
		Title string
		Done  bool
	}
	call := func(method, path, body string, want int) (one task, answer string) {
		t.Helper()
		status, answer := fetch(t, method, url+path, body)
		assert.Equal(t, want, status, answer)
		_ = json.Unmarshal([]byte(answer), &one)
		return one, answer
	}
	milk, _ := call(http.MethodPost, "", `{"title": "buy milk"}`, http.StatusCreated)
	assert.Equal(t, task{1, "buy milk", false}, milk)
	call(http.MethodPost, "/", `{"title": "drink it"}`, http.StatusCreated)
	milk, _ = call(http.MethodPut, "/1", `{"title": "buy milk", "done": true}`, http.StatusOK)
	assert.True(t, milk.Done)
	_, answer := call(http.MethodGet, "?done=true", "", http.StatusOK)
	var tasks []task
	require.NoError(t, json.Unmarshal([]byte(answer), &tasks), answer)
	assert.Equal(t, []task{milk}, tasks)
	call(http.MethodGet, "/1", "", http.StatusOK)
	call(http.MethodGet, "/7", "", http.StatusNotFound)
	_, answer = call(http.MethodPost, "", `{"title": ""}`, http.StatusBadRequest)
	assert.Contains(t, answer, "title")
	call(http.MethodDelete, "/1", "", http.StatusNoContent)
	call(http.MethodGet, "/1", "", http.StatusNotFound)
	call(http.MethodPatch, "/2", "", http.StatusMethodNotAllowed)
}

// callStream sees that the events arrive one by one: the first while the last is
// not due for a second.
func callStream(t *testing.T, url string) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	rsp, err := client.Do(req)
	require.NoError(t, err)
	defer rsp.Body.Close()
	assert.Equal(t, "text/event-stream", rsp.Header.Get("Content-Type"))
	var events []string
	var at []time.Time
	lines := bufio.NewScanner(rsp.Body)
	for lines.Scan() {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			events, at = append(events, data), append(at, time.Now())
		}
	}
	require.NoError(t, lines.Err())
	require.Equal(t, []string{"5", "4", "3", "2", "1"}, events)
	assert.Greater(t, at[4].Sub(at[0]), 100*time.Millisecond, "they came together")
}
