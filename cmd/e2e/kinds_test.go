package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each kind of function is deployed through a proxy, said in the answer and called.
func TestKinds(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr)
	functions := "http://" + p.http + "/functions/"
	kinds := map[string]string{}
	for name, dir := range map[string]string{"Summary": "typed", "Placed": "event", "Roll": "gin", "HelloWorld": "hello"} {
		mustDeploy(t, p.http, name, filepath.Join(repository(t), "example", dir))
	}
	mustDeploy(t, p.http, "Declared", source(t, `package fn

import (
	"fmt"
	"net/http"

	"github.com/GoogleCloudPlatform/functions-framework-go/functions"
)

func init() {
	functions.HTTP("Declared", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "declared ", r.URL.Path) })
}
`))
	mustDeploy(t, p.http, "Background", source(t, `package fn

import (
	"context"
	"fmt"
)

func Background(ctx context.Context, m struct{ Data string }) error {
	fmt.Println("got", m.Data)
	return nil
}
`))
	status, answer := fetch(t, http.MethodGet, "http://"+p.http+"/details", "")
	require.Equal(t, http.StatusOK, status)
	var list []struct{ Name, Kind string }
	require.NoError(t, json.Unmarshal([]byte(answer), &list))
	for _, r := range list {
		kinds[r.Name] = r.Kind
	}
	assert.Equal(t, map[string]string{
		"Summary": "typed", "Placed": "cloudevent", "Roll": "gin", "HelloWorld": "http", "Declared": "http", "Background": "event",
	}, kinds)

	callTyped(t, functions+"summary")
	callEvent(t, functions+"placed")
	_, answer = fetch(t, http.MethodGet, "http://"+p.http+"/log?entrypoint=Placed", "")
	assert.Contains(t, answer, "order 7 from /shop: 3 × tea")
	callGin(t, functions+"roll")
	_, answer = fetch(t, http.MethodGet, functions+"declared/a//b", "")
	assert.Equal(t, "declared /a//b", answer)
	status, answer = fetch(t, http.MethodPost, functions+"background", `{"data": "it"}`)
	assert.Equal(t, http.StatusOK, status, answer)
}

func callTyped(t *testing.T, url string) {
	status, answer := fetch(t, http.MethodPost, url, "[3, 1, 2]")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"count": 3, "min": 1, "median": 2, "mean": 2, "max": 3}`, answer)
	status, answer = fetch(t, http.MethodPost, url, "[3,\n oops]")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, answer, "line 2, column 2")
	status, answer = fetch(t, http.MethodPost, url, "[]")
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, answer, "there are no numbers")
	status, _ = fetch(t, http.MethodPost, url, "["+strings.Repeat(" ", 10<<20)+"]")
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)
}

func callEvent(t *testing.T, url string) {
	for quantity, want := range map[string]int{"3": http.StatusOK, "0": http.StatusInternalServerError} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"item": "tea", "quantity": `+quantity+`}`))
		require.NoError(t, err)
		for name, value := range map[string]string{
			"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Type": "shop.order.placed", "Ce-Source": "/shop", "Ce-Id": "7",
		} {
			req.Header.Set(name, value)
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
		resp, err := client.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Equal(t, want, resp.StatusCode, "%s", body)
	}
}

func callGin(t *testing.T, url string) {
	status, answer := fetch(t, http.MethodGet, url+"/3d1", "")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"rolls": [1, 1, 1], "sum": 3}`, answer)
	status, _ = fetch(t, http.MethodGet, url, "")
	assert.Equal(t, http.StatusBadRequest, status)
}
