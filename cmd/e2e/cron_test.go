package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tick prints which event each call is.
const tick = `package tick

import (
	"fmt"
	"io"
	"net/http"
)

func Tick(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	fmt.Printf("got %s %s from %s: %s\n", r.Header.Get("Ce-Type"), r.Header.Get("Ce-Id"), r.Header.Get("Ce-Source"), body)
}
`

// gotten returns the ids of the events of a type that a function has printed, in order.
func gotten(t *testing.T, at, function, kind string) (ids []string) {
	t.Helper()
	status, answer := fetch(t, http.MethodGet, "http://"+at+"/log?entrypoint="+function, "")
	require.Equal(t, http.StatusOK, status, answer)
	var log struct{ Logs string }
	require.NoError(t, json.Unmarshal([]byte(answer), &log))
	for _, m := range regexp.MustCompile(`(?m)got `+regexp.QuoteMeta(kind)+` (\S+) `).FindAllStringSubmatch(log.Logs, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

// A schedule calls its function, each time once but for the call that is under way when its
// proxy is killed; it pauses, runs at will, and ends with the setting.
func TestASchedule(t *testing.T) {
	t.Parallel()
	const kind = "ryofaas.schedule.run"
	s := startStack(t)
	dir := folder(t, tree{
		"tick.go":     tick,
		"deploy.json": `{"deploy": [{"name": "Tick", "packageDir": ".", "agentAddr": "` + s.agent.addr + `", "schedule": "@every 1s", "timezone": "Europe/Berlin"}]}`,
	})
	cli := func(args ...string) result {
		r := proxyCli(t, dir, append([]string{"-proxy", s.proxy.rpc}, args...)...)
		require.Zero(t, r.code, "%v: %s", args, r.stderr)
		return r
	}
	cli("def", "-wait", "deploy.json")
	eventually(t, func() bool { return len(gotten(t, s.agent.addr, "Tick", kind)) >= 3 }, "it is not called")
	assert.Regexp(t, `(?m)^Tick +@every 1s +Europe/Berlin +in \ds +\ds ago +(done|begun|queued|running)$`, cli("cron").stdout)
	assert.Contains(t, cli("cron", "ls", "Tick").stdout, "done")

	s.proxy.kill()
	before := len(gotten(t, s.agent.addr, "Tick", kind))
	underWay := []int{before - 1, before} // one of these calls, if any
	s.proxy = startProxy(t, s.proxy.dir)
	eventually(t, func() bool { return len(gotten(t, s.agent.addr, "Tick", kind)) >= before+2 }, "it is not called after a kill")

	assert.Regexp(t, `(?m)^Tick .* paused `, cli("cron", "pause", "Tick").stdout)
	r := proxyCli(t, dir, "-proxy", s.proxy.http, "-transport", "http", "cron", "run", "Tick")
	require.Zero(t, r.code, r.stderr)
	assert.Regexp(t, `^c_\S+\n$`, r.stdout)
	eventually(t, func() bool { return strings.Contains(cli("cron", "ls", "Tick").stdout, "done, by hand") }, "it is not called by hand")
	ids := gotten(t, s.agent.addr, "Tick", kind)
	for i, id := range ids {
		assert.Regexp(t, `^tick@`, id)
		if first := slices.Index(ids, id); first != i {
			assert.Contains(t, underWay, first, "%s came twice", id)
			underWay = nil
		}
	}
	cli("cron", "resume", "Tick")
	eventually(t, func() bool { return len(gotten(t, s.agent.addr, "Tick", kind)) > len(ids) }, "it is not called after resume")

	// A version without it ends it.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "deploy.json"), []byte(`{"deploy": [{"name": "Tick", "packageDir": ".", "agentAddr": "`+s.agent.addr+`"}]}`), 0o600))
	cli("def", "-wait", "deploy.json")
	r = proxyCli(t, dir, "-proxy", s.proxy.rpc, "cron", "run", "Tick")
	assert.Equal(t, 5, r.code)
	assert.Contains(t, r.stderr, `function "Tick" has no schedule`)

	r = proxyCli(t, dir, "-proxy", s.agent.addr, "cron")
	assert.NotZero(t, r.code)
	assert.Contains(t, r.stderr, "hint: ask the proxy that the agent belongs to: proxyCli -proxy ADDR")
}

// An event reaches those who subscribe to its type, of every kind, and each once.
func TestAnEvent(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	dir := folder(t, tree{
		"tick.go": tick,
		"deploy.json": fmt.Sprintf(`{"deploy": [
			{"name": "Tick", "packageDir": ".", "agentAddr": %q, "subscribe": ["orders.*"]},
			{"name": "Placed", "packageDir": %q, "agentAddr": %[1]q, "subscribe": ["orders.placed", "**"]}]}`,
			s.agent.addr, filepath.Join(repository(t), "example", "event")),
	})
	r := proxyCli(t, dir, "-proxy", s.proxy.rpc, "def", "-wait", "deploy.json")
	require.Zero(t, r.code, r.stderr)

	post := func(body string) (int, string) {
		status, answer, _ := send(t, http.MethodPost, "http://"+s.proxy.http+"/events", "application/cloudevents+json", []byte(body))
		return status, answer
	}
	const placed = `{"specversion": "1.0", "type": "orders.placed", "source": "/shop", "id": "o-1", "data": {"item": "chair", "quantity": 2}}`
	status, answer := post(placed)
	require.Equal(t, http.StatusAccepted, status, answer)
	var said struct {
		Events []struct {
			ID    string
			Calls []struct{ Function, ID, URL string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &said))
	require.Len(t, said.Events, 1)
	assert.Equal(t, "o-1", said.Events[0].ID)
	require.Len(t, said.Events[0].Calls, 2)
	for _, c := range said.Events[0].Calls {
		eventually(t, func() bool {
			status, answer := fetch(t, http.MethodGet, "http://"+s.proxy.http+c.URL, "")
			return status == http.StatusOK && strings.Contains(answer, `"done"`)
		}, "%s does not get it", c.Function)
	}
	_, log := fetch(t, http.MethodGet, "http://"+s.proxy.http+"/log?entrypoint=Placed", "")
	assert.Contains(t, log, `order o-1 from /shop: 2 × chair`)
	_, log = fetch(t, http.MethodGet, "http://"+s.proxy.http+"/log?entrypoint=Tick", "")
	assert.Contains(t, log, `got orders.placed o-1 from /shop: {\"item\": \"chair\", \"quantity\": 2}`)

	status, again := post(placed)
	assert.Equal(t, http.StatusAccepted, status)
	assert.JSONEq(t, answer, again, "the same calls")
	status, answer = post(strings.Replace(placed, "o-1", "o-2", 1))
	require.Equal(t, http.StatusAccepted, status, answer)
	eventually(t, func() bool { return len(gotten(t, s.agent.addr, "Tick", "orders.placed")) >= 2 }, "the next one is lost")
	assert.Equal(t, []string{"o-1", "o-2"}, gotten(t, s.agent.addr, "Tick", "orders.placed"))

	status, answer = post(`{"specversion": "1.0"}`)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, answer, "the event has no id")
}
