//go:build linux

package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// Agents after the first get the canary's program, and not that of the version beside it.
func TestACanaryIsTheSameProgramAtEachAgent(t *testing.T) {
	t.Parallel()
	agents := []string{newSite(t).start(t).addr, newSite(t).start(t).addr}
	p := startProxy(t, "")
	for canary, text := range []string{"one", "two"} {
		body, err := json.Marshal([]map[string]any{{"name": "Hello", "dir": source(t, says("Hello", text)), "toAgent": agents, "canary": 10 * canary}})
		require.NoError(t, err)
		require.Len(t, rows(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body)), 2)
	}
	for _, addr := range agents {
		status, answer := fetch(t, http.MethodGet, "http://"+addr+"/details", "")
		require.Equal(t, http.StatusOK, status)
		var list []struct {
			Serving []struct {
				Version int
				Proxy   string
			}
		}
		require.NoError(t, json.Unmarshal([]byte(answer), &list))
		require.Len(t, list[0].Serving, 2, answer)
		for _, v := range list[0].Serving {
			answers(t, map[int]string{1: "one", 2: "two"}[v.Version], v.Proxy+"/hello")
		}
	}
	status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/shift", `{"name": "Hello", "canary": 100}`)
	require.Equal(t, http.StatusOK, status, answer)
	for _, addr := range agents {
		list := rows(t, http.MethodGet, "http://"+addr+"/details", "")
		require.Len(t, list, 1)
		answers(t, "two", list[0].Proxy+"/hello")
	}
}
