package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// accessLines are those of an access log.
func accessLines(t *testing.T, path string) (list []map[string]any) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var seen map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &seen), "%q", line)
		list = append(list, seen)
	}
	return list
}

func TestTheAccessLogHasEachCallWhenTheProxyHasEnded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "access.log")
	a := startAgent(t, "", "")
	p := startProxy(t, "", "-agents", a.addr, "-access-log", path)
	r := mustDeploy(t, p.http, "Hello", source(t, says("Hello", "hi")))
	var ids []any
	for _, url := range []string{r.URL, r.URL + "/a?b=c", "http://" + p.http + "/functions/none"} {
		for range 20 {
			_, _, header := send(t, http.MethodPost, url, "text/plain", []byte("body"))
			ids = append(ids, header.Get("X-Request-Id"))
		}
	}
	p.end()
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	var seen []any
	for _, line := range accessLines(t, path) { // as the calls have ended, which need not be as their answers came
		seen = append(seen, line["id"])
		if line["path"] != "/functions/none" {
			assert.Equal(t, "Hello", line["function"])
			assert.EqualValues(t, 1, line["version"])
			assert.Equal(t, a.addr, line["agent"])
			assert.EqualValues(t, 200, line["status"])
			assert.EqualValues(t, 4, line["bytesIn"])
			continue
		}
		assert.Equal(t, "not_found", line["reason"])
	}
	assert.ElementsMatch(t, ids, seen)
}

func TestTheAccessLogGoesToStdout(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "", "-access-log", "-", "-access-log-sample", "0")
	_, _, header := send(t, http.MethodGet, "http://"+p.http+"/functions/none", "", nil)
	p.end()
	assert.Contains(t, p.String(), `"id":"`+header.Get("X-Request-Id")+`"`)
}

func TestFlagsOfAnAccessLogThatCannotBe(t *testing.T) {
	t.Parallel()
	for said, flags := range map[string][]string{
		"-access-log-sample: 1.5 is not a part":      {"-access-log-sample", "1.5"},
		"-access-log-sample: NaN is not a part":      {"-access-log-sample", "NaN"},
		"-access-log-size: 0 is not a number of MiB": {"-access-log-size", "0"},
		"-access-log-keep: -1 is not a number":       {"-access-log-keep", "-1"},
		"-access-log: open /nowhere/access.log":      {"-access-log", "/nowhere/access.log"},
	} {
		r := runProgram(t, "proxy", nil, append(flags, "-http", "127.0.0.1:0", "-rpc", "127.0.0.1:0", "-dir", t.TempDir())...)
		assert.NotZero(t, r.code, flags)
		assert.Contains(t, r.stderr, said)
	}
}

// logging is a function that prints a line with the id of its call, and one without.
const logging = `package fn

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func Logging(w http.ResponseWriter, r *http.Request) {
	json.NewEncoder(os.Stdout).Encode(map[string]string{"message": "called with " + r.URL.RawQuery, "execution_id": r.Header.Get("Function-Execution-Id")})
	fmt.Println("no id")
	if r.URL.RawQuery == "fail" {
		w.WriteHeader(http.StatusInternalServerError)
	}
}
`

func TestInvokePrintsTheLinesOfItsCall(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	mustDeploy(t, s.proxy.http, "Logging", source(t, logging), s.agent.addr)
	for i, d := range s.doors() {
		r := d.cli(t, "", "invoke", "Logging", "-path", fmt.Sprint("?", i))
		assert.Zero(t, r.code, r.stderr)
		assert.Empty(t, r.stdout)
		assert.Equal(t, 1, strings.Count(r.stderr, "log: "), "%s: %s", d.name, r.stderr)
		assert.Regexp(t, fmt.Sprintf(`(?m)^log: \{"execution_id":"[^"]+","message":"called with %d"\}$`, i), r.stderr, d.name)
		r = d.cli(t, "", "invoke", "Logging", "-path", "?fail")
		assert.Equal(t, 1, r.code)
		assert.Contains(t, r.stderr, "called with fail", d.name)
		r = d.cli(t, "", "invoke", "Logging", "-logs=false")
		assert.NotContains(t, r.stderr, "log: ", d.name)
	}
}

func TestTopShowsWhatTheProxyHasSeen(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	r := mustDeploy(t, s.proxy.http, "Logging", source(t, logging), s.agent.addr)
	for range 4 {
		send(t, http.MethodGet, r.URL, "", nil)
	}
	send(t, http.MethodGet, r.URL+"?fail", "", nil)
	for _, d := range s.doors() {
		r := d.cli(t, "", "top", "-once")
		assert.Zero(t, r.code, r.stderr)
		assert.Contains(t, r.stdout, s.agent.addr, d.name)
		calls := regexp.MustCompile(`(?m)^Logging +1 +5 +1 +[0-9.]+(µs|ms|s) +[0-9.]+(µs|ms|s) +0$`)
		assert.Equal(t, d.proxy, calls.MatchString(r.stdout), "%s: %s", d.name, r.stdout)
		assert.Equal(t, d.proxy, r.stderr == "", "%s: %s", d.name, r.stderr)
	}
}
