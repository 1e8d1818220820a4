package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// described is a program and what its OpenAPI document says of it.
type described struct {
	t        *testing.T
	base     string
	paths    map[string]map[string]any // operations by method
	servers  map[string]json.RawMessage
	compiler *jsonschema.Compiler
	asked    map[string]bool // operations whose answer was looked at
}

func describe(t *testing.T, base string) *described {
	t.Helper()
	status, text := fetch(t, http.MethodGet, base+"/openapi.json", "")
	require.Equal(t, http.StatusOK, status)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	d := &described{t: t, base: base, compiler: jsonschema.NewCompiler(), asked: map[string]bool{}}
	require.NoError(t, d.compiler.AddResource("openapi.json", doc))
	var parsed struct {
		Paths map[string]map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(text), &parsed))
	d.paths, d.servers = map[string]map[string]any{}, map[string]json.RawMessage{}
	for path, item := range parsed.Paths {
		d.paths[path], d.servers[path] = map[string]any{}, item["servers"]
		for method, op := range item {
			if method != "servers" {
				d.paths[path][method] = op
			}
		}
	}
	return d
}

// valid asserts that a text is what a part of the document says.
func (d *described) valid(part, text, what string) {
	d.t.Helper()
	schema, err := d.compiler.Compile("openapi.json#" + part)
	require.NoError(d.t, err)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(d.t, err, "%s: %s", what, text)
	assert.NoError(d.t, schema.Validate(v), "%s: %s", what, text)
}

// ask makes a call by an operation and asserts that request and answer are as described.
func (d *described) ask(method, path, query, body string) (status int, answer string) {
	d.t.Helper()
	what := method + " " + path
	pointer := "/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + strings.ToLower(method)
	const kind = "/content/application~1json/schema"
	if body != "" {
		d.valid(pointer+"/requestBody"+kind, body, what)
	}
	status, answer = fetch(d.t, method, d.base+path+query, body)
	d.asked[what] = true
	if status == http.StatusOK {
		d.valid(pointer+"/responses/200"+kind, answer, what)
	} else {
		d.valid("/components/schemas/Error", answer, what)
	}
	return status, answer
}

// answersJSON reports whether an operation answers one JSON text of which the document has a schema.
func answersJSON(operation any) bool {
	var op struct {
		Responses map[string]struct{ Content map[string]any }
	}
	data, _ := json.Marshal(operation)
	_ = json.Unmarshal(data, &op)
	return op.Responses["200"].Content["application/json"] != nil
}

// What a live proxy and a live agent answer is what their documents say.
func TestAnswersAreAsOpenAPISays(t *testing.T) {
	t.Parallel()
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr)
	mustDeploy(t, p.http, "Sum", source(t, `package fn

type Numbers struct {
	List []int `+"`json:\"list\"`"+`
}

type Total struct{ Sum int }

func Sum(in Numbers) (*Total, error) {
	out := new(Total)
	for _, n := range in.List {
		out.Sum += n
	}
	return out, nil
}
`))
	proxy, agent := describe(t, "http://"+p.http), describe(t, "http://"+a.addr)
	status, answer := proxy.ask(http.MethodPost, "/functions/sum", "", `{"list": [1, 2, 4]}`)
	assert.Equal(t, http.StatusOK, status, answer)
	assert.JSONEq(t, `{"Sum": 7}`, answer)
	proxy.valid("/components/schemas/Sum.Numbers", `{"list": null}`, "a list that is nil")
	require.Contains(t, agent.paths, "/sum")
	var servers []struct{ URL string }
	require.NoError(t, json.Unmarshal(agent.servers["/sum"], &servers))
	require.Len(t, servers, 1)
	_, answer = fetch(t, http.MethodPost, servers[0].URL+"/sum", `{"list": [3]}`)
	agent.valid("/paths/~1sum/post/responses/200/content/application~1json/schema", answer, "a function where it runs")
	proxy.ask(http.MethodPost, "/remove", "", `{"name": "Sum"}`)

	dir := source(t, says("Hello", "hi"))
	deploys := fmt.Sprintf(`[{"name": "Hello", "dir": %q, "schedule": "@hourly", "env": {"A": "b"}}]`, dir)

	for _, c := range []struct{ path, query, body string }{ // in this order
		{"/deploy", "?plan=true", deploys}, {"/deploy", "?wait=true", deploys},
		{"/list", "", fmt.Sprintf(`{"atAgent": %q}`, a.addr)}, {"/list", "", `{"atAgent": "localhost:1"}`},
		{"/scale", "", `{"name": "Hello", "replicas": "1"}`}, {"/pause", "", `{"name": "Hello"}`}, {"/resume", "", `{"name": "Hello"}`},
		{"/deploy", "?wait=true", strings.Replace(deploys, `"b"`, `"c"`, 1)}, {"/rollback", "", `{"name": "Hello", "to": 1}`}, {"/shift", "", `{"name": "Hello", "canary": 0}`},
		{"/schedules/run", "", `{"name": "Hello"}`}, {"/schedules/pause", "", `{"name": "Hello"}`}, {"/schedules/resume", "", `{"name": "Hello"}`},
		{"/tokens", "", `{"name": "ci", "scopes": ["read"], "ttl": "1h"}`}, {"/agents/token", "", `{}`},
		{"/agents/drain", "", fmt.Sprintf(`{"agent": %q}`, a.addr)}, {"/agents/resume", "", fmt.Sprintf(`{"agent": %q}`, a.addr)},
		{"/dead/redrive", "", `{}`}, {"/dead/purge", "", `{}`},
	} {
		status, answer := proxy.ask(http.MethodPost, c.path, c.query, c.body)
		if c.path != "/shift" && c.body != `{"atAgent": "localhost:1"}` { // these two are refused
			assert.Equal(t, http.StatusOK, status, "%s: %s", c.path, answer)
		}
	}
	_, answer = fetch(t, http.MethodPost, proxy.base+"/async/hello", "")
	var call struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(answer), &call))
	_, tokens := fetch(t, http.MethodGet, proxy.base+"/tokens", "")
	var list []struct{ ID string }
	require.NoError(t, json.Unmarshal([]byte(tokens), &list))
	require.Len(t, list, 1)
	for _, verb := range []string{"rotate", "revoke"} {
		status, answer := proxy.ask(http.MethodPost, "/tokens/"+verb, "", fmt.Sprintf(`{"id": %q}`, list[0].ID))
		assert.Equal(t, http.StatusOK, status, answer)
	}
	status, answer = fetch(t, http.MethodGet, proxy.base+"/calls/"+call.ID+"?wait=30s", "")
	require.Equal(t, http.StatusOK, status)
	proxy.valid("/paths/~1calls~1{id}/get/responses/200/content/application~1json/schema", answer, "a call")
	proxy.asked["GET /calls/{id}"] = true

	// All that is read, of both.
	for _, d := range []*described{proxy, agent} {
		for _, path := range slices.Sorted(maps.Keys(d.paths)) {
			if op := d.paths[path]["get"]; !answersJSON(op) || strings.Contains(path, "{") {
				continue
			}
			for _, query := range []string{"", "?name=Hello", "?entrypoint=Hello"} {
				d.ask(http.MethodGet, path, query, "")
			}
		}
	}
	for _, path := range []string{"/stop", "/remove"} {
		status, answer := proxy.ask(http.MethodPost, path, "", `{"name": "Hello"}`)
		assert.Equal(t, http.StatusOK, status, answer)
	}

	// And all the rest, which wants more than nothing.
	for _, d := range []*described{proxy, agent} {
		for _, path := range slices.Sorted(maps.Keys(d.paths)) {
			if strings.HasSuffix(path, "/sum") { // which is gone
				continue
			}
			for method, op := range d.paths[path] {
				method = strings.ToUpper(method)
				switch {
				case !answersJSON(op) || d.asked[method+" "+path]:
				case strings.Contains(path, "{"):
					status, answer := fetch(t, method, d.base+strings.NewReplacer("{id}", "x", "{digest}", "x", "{key}", "x").Replace(path), "")
					assert.NotEqual(t, http.StatusOK, status, answer)
					d.valid("/components/schemas/Error", answer, path)
				case path == "/deploy":
					d.ask(method, path, "", "[]")
				default:
					d.ask(method, path, "", "{}")
				}
			}
		}
		assert.Greater(t, len(d.asked), 15)
	}
	assert.Contains(t, proxy.paths, "/functions/{name}")
	assert.Contains(t, proxy.paths, "/scale")
	assert.NotContains(t, agent.paths, "/scale", "agents do not answer it")
	assert.Contains(t, agent.paths, "/wake")
	assert.NotContains(t, proxy.paths, "/wake")
}
