//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// word is the source of a function that answers with a word, and takes a while to be ready.
func word(text, start string) string {
	return fmt.Sprintf("package fn\n\nimport (\n\t\"fmt\"\n\t\"net/http\"\n\t\"time\"\n)\n\nfunc init() { time.Sleep(%s) }\n\nfunc Hello(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, %q) }\n", start, text)
}

// replica is a row, with what wishes are about.
type replica struct {
	Name, Status, AtAgent, Error, Reason, Drift string
	Version, Pid                                int
}

// replicas returns the rows of a proxy or agent by agent; nil when it does not answer.
func replicas(addr string) map[string]replica {
	_, body, err := tryFetch(http.MethodGet, "http://"+addr+"/details", "")
	var list []replica
	if err != nil || json.Unmarshal([]byte(body), &list) != nil {
		return nil
	}
	byAgent := map[string]replica{}
	for _, r := range list {
		byAgent[r.AtAgent] = r
	}
	return byAgent
}

// deployTo deploys a source to agents, and returns what the command line said.
func (p gateway) deployTo(t *testing.T, source string, wait bool, agents ...agent) result {
	t.Helper()
	var addrs []string
	for _, a := range agents {
		addrs = append(addrs, a.addr)
	}
	list, err := json.Marshal(addrs)
	require.NoError(t, err)
	dir := folder(t, tree{"hello.go": source, "d.json": fmt.Sprintf(`{"deploy": [{"packageDir": ".", "name": "Hello", "agentAddr": %s}]}`, list)})
	r := proxyCli(t, dir, "-proxy", p.rpc, "def", fmt.Sprintf("-wait=%v", wait), "d.json")
	require.Zero(t, r.code, r.stderr)
	return r
}

func TestAnAgentThatWasAwayServesNoOldVersion(t *testing.T) {
	t.Parallel()
	of := newSite(t)
	a, b := newSite(t).start(t), of.start(t)
	p := startProxy(t, "")
	p.deployTo(t, word("one", "0"), true, a, b)
	b.kill()
	eventually(t, func() bool { return replicas(p.http)[b.addr].Reason == "unreachable" }, "it is away")

	r := p.deployTo(t, word("two", "0"), true, a, b)
	assert.Contains(t, r.stderr, "it is brought up to date when it answers again")
	calls := startCallers(t, 4, nil, "http://"+p.http+"/functions/hello")
	b = of.start(t)
	eventually(t, func() bool {
		row := replicas(p.http)[b.addr]
		return row.Version == 2 && row.Error == "" && row.Status == "Deployed"
	}, "it is up to date")
	for range 20 { // some go there now
		_, _ = fetch(t, http.MethodGet, "http://"+p.http+"/functions/hello", "")
	}
	calls.end()
	for _, m := range calls.take() {
		require.True(t, m.good() && m.body == "two", "%+v", m)
	}

	b.kill()
	eventually(t, func() bool { return replicas(p.http)[b.addr].Reason == "unreachable" }, "it is away")
	stopped := proxyCli(t, "", "-proxy", p.rpc, "stop", "Hello")
	require.Zero(t, stopped.code, stopped.stderr)
	assert.Contains(t, stopped.stderr, "it is stopped on these agents when they answer again: "+b.addr)
	p.end()
	p = startProxy(t, p.dir)
	calls = startCallers(t, 4, nil, "http://"+p.http+"/functions/hello")
	b = of.start(t)
	eventually(t, func() bool {
		rows := replicas(b.addr)
		return rows != nil && len(rows) == 0 && len(replicas(p.http)) == 0
	}, "it is stopped there, too")
	calls.end()
	for _, m := range calls.take() {
		require.NotEqual(t, "two", m.body, "what is stopped is not called")
	}
}

func TestARolloutOutlivesItsProxy(t *testing.T) {
	t.Parallel()
	a, b := newSite(t).start(t), newSite(t).start(t)
	p := startProxy(t, "")
	p.deployTo(t, word("one", "0"), true, a, b)
	p.deployTo(t, word("two", "2*time.Second"), false, a, b)
	split := func() bool {
		rows := replicas(p.http)
		return rows[a.addr].Version+rows[b.addr].Version == 3
	}
	eventually(t, split, "one agent has it")
	p.kill()
	p = startProxy(t, p.dir)
	eventually(t, func() bool {
		rows := replicas(p.http)
		x, y := rows[a.addr], rows[b.addr]
		return x.Version == 2 && y.Version == 2 && x.Status == "Deployed" && y.Status == "Deployed" && x.Error+y.Error == ""
	}, "both have it")
	for range 10 {
		_, body := fetch(t, http.MethodGet, "http://"+p.http+"/functions/hello", "")
		assert.Equal(t, "two", body)
	}
	assert.Contains(t, p.String(), "going on with a deploy whose proxy is gone")
}

func TestAProxyThatLostItsStoreStopsNothing(t *testing.T) {
	t.Parallel()
	a, b := newSite(t).start(t), newSite(t).start(t)
	p := startProxy(t, "")
	p.deployTo(t, word("one", "0"), true, a, b)
	before := replicas(p.http)
	p.kill()
	require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "proxy", "engine")))
	p = startProxy(t, p.dir)
	eventually(t, func() bool { return strings.Count(p.String(), "a function that runs is taken for wished") == 1 }, "it is adopted")
	after := replicas(p.http)
	for addr, row := range before {
		assert.Equal(t, row.Pid, after[addr].Pid, "its process goes on")
		assert.Empty(t, after[addr].Drift)
	}
	_, body := fetch(t, http.MethodGet, "http://"+p.http+"/functions/hello", "")
	assert.Equal(t, "one", body)
	p.deployTo(t, word("two", "0"), true, a, b)
	assert.Equal(t, 2, replicas(p.http)[b.addr].Version)
}
