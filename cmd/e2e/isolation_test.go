package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A function runs as the agent's user, on its machine, and is still nobody to it: it
// cannot do what a person there may.
func TestAFunctionIsNoPerson(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Asks", source(t, `package fn

import (
	"fmt"
	"net/http"
	"strings"
)

// Asks makes the requests that the query's lines are: method, URL, body.
func Asks(w http.ResponseWriter, r *http.Request) {
	for _, line := range strings.Split(r.URL.Query().Get("ask"), "\n") {
		words := strings.SplitN(line, " ", 3)
		req, err := http.NewRequest(words[0], words[1], strings.NewReader(words[2]))
		if err != nil {
			fmt.Fprintln(w, err)
			continue
		}
		req.Header.Set("Content-Type", "application/json")
		rsp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Fprintln(w, err)
			continue
		}
		rsp.Body.Close()
		fmt.Fprintln(w, rsp.StatusCode)
	}
}
`))
	for _, at := range []string{"http://" + a.addr, "http://" + p.http} {
		ask := strings.Join([]string{
			"GET " + at + "/healthz ", "GET " + at + "/details ", "GET " + at + "/log?entrypoint=Asks ",
			"POST " + at + `/stop {"name": "Asks"}`, "POST " + at + `/deploy [{"name": "F", "dir": "/"}]`,
		}, "\n")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.URL, http.NoBody)
		require.NoError(t, err)
		query := req.URL.Query()
		query.Set("ask", ask)
		req.URL.RawQuery = query.Encode()
		_, answer := fetch(t, http.MethodGet, req.URL.String(), "")
		assert.Equal(t, "200\n401\n401\n401\n401\n", answer, at)
	}
	_, details := fetch(t, http.MethodGet, "http://"+a.addr+"/details", "")
	assert.Contains(t, details, `"isolation"`)
	_, ready := fetch(t, http.MethodGet, "http://"+a.addr+"/readyz", "")
	assert.Contains(t, ready, `"tier"`)
}
