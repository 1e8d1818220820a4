//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a prototype of this idea got wrong must not come back. Most of its list
// is tested where it belongs: bad input in input_test.go, calls without their
// arguments in contract_test.go, restarts, half-made deploys and output in
// faults_test.go, redeploys, many deploys and busy clients in load_test.go, other
// machines in network_test.go. The rest is here.

// Names were cut by a set of letters instead of a prefix, and so were queries.
// One file may hold many functions, of which each deploy means one; what else the
// file declares is its own affair.
func TestNamesOfAnyLetters(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	var code strings.Builder
	code.WriteString("package fn\n\nimport (\n\t\"fmt\"\n\tweb \"net/http\"\n)\n\n" +
		"func Helper(n int) int { return n }\n\nfunc Unnamed(web.ResponseWriter, *web.Request) {}\n")
	names := []string{"Test", "City", "C1", "Functions", "Notification", "Ünïcode", "X_test"}
	var fns []map[string]any
	dir := t.TempDir()
	for _, name := range append(names, "Unnamed") {
		if name != "Unnamed" {
			fmt.Fprintf(&code, "\nfunc %s(out web.ResponseWriter, in *web.Request) { fmt.Fprint(out, `%[1]s `, in.URL.RequestURI()) }\n", name)
		}
		fns = append(fns, map[string]any{"name": name, "dir": dir})
	}
	write(t, dir, map[string]string{"fn.go": code.String()})
	body, err := json.Marshal(fns)
	require.NoError(t, err)
	list := rows(t, http.MethodPost, "http://"+p.http+"/deploy?wait=true", string(body))
	require.Len(t, list, len(fns))
	for _, r := range list {
		require.Equal(t, "Deployed", r.Status, "%s: %s", r.Name, r.Error)
		if r.Name == "Unnamed" {
			answers(t, "", r.URL)
			continue
		}
		for _, rest := range []string{"/?city=boston", "/functions/test/", "/Notification?u=http://h/functions/city"} {
			answers(t, r.Name+" "+rest, r.URL+rest)
			answers(t, r.Name+" "+rest, r.Proxy+"/"+strings.TrimPrefix(r.URL, "http://"+p.http+"/functions/")+rest)
		}
	}
	status, _ := fetch(t, http.MethodGet, "http://"+p.http+"/functions/helper", "")
	assert.Equal(t, http.StatusNotFound, status)
}

// The gateway and a real function together: what a hand-written proxy lost.
func TestAnswersArriveAsTheyWereGiven(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	url := mustDeploy(t, p.http, "Any", source(t, obeys("Any", "any"))).URL
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: patience}
	defer client.CloseIdleConnections()
	get := func(t *testing.T, path string, header ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, http.NoBody)
		require.NoError(t, err)
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		rsp, err := client.Do(req)
		require.NoError(t, err)
		t.Cleanup(func() { _ = rsp.Body.Close() })
		return rsp
	}

	t.Run("events one by one", func(t *testing.T) {
		late := bufio.NewScanner(get(t, "/events?every=1h").Body)
		assert.True(t, late.Scan(), "the first does not wait for the next")
		assert.Contains(t, late.Text(), "data: ")
		events, n := bufio.NewScanner(get(t, "/events?every=1ms").Body), 0
		for events.Scan() {
			if strings.HasPrefix(events.Text(), "data: ") {
				n++
			}
		}
		assert.Equal(t, 5, n)
	})
	t.Run("trailers", func(t *testing.T) {
		rsp := get(t, "/trailer")
		body, err := io.ReadAll(rsp.Body)
		require.NoError(t, err)
		assert.Equal(t, "body", string(body))
		assert.Equal(t, "42", rsp.Trailer.Get("Sum"))
	})
	t.Run("length and encoding", func(t *testing.T) {
		for _, accept := range []string{"", "gzip"} {
			rsp := get(t, "/", "Accept-Encoding", accept)
			assert.EqualValues(t, len("any"), rsp.ContentLength)
			assert.Empty(t, rsp.Header.Get("Content-Encoding"))
			body, err := io.ReadAll(rsp.Body)
			require.NoError(t, err)
			assert.Equal(t, "any", string(body))
		}
	})
	t.Run("headers", func(t *testing.T) {
		rsp := get(t, "/headers", "Connection", "X-Nominated", "X-Nominated", "1", "Keep-Alive", "timeout=5", "Te", "gzip", "X-Own", "yes")
		var seen http.Header
		require.NoError(t, json.NewDecoder(rsp.Body).Decode(&seen))
		for _, hop := range []string{"Connection", "X-Nominated", "Keep-Alive", "Te", "Traceparent", "B3", "X-B3-Traceid"} {
			assert.Empty(t, seen.Values(hop), hop)
		}
		assert.Equal(t, "yes", seen.Get("X-Own"))
		allowed := []string{"Content-Length", "Content-Type", "Date", "X-Request-Id"}
		for name := range rsp.Header {
			assert.Contains(t, allowed, name, "no caller asked for it")
		}
	})
	t.Run("websocket", func(t *testing.T) {
		conn, err := net.Dial("tcp", p.http)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
		_, err = io.WriteString(conn, "GET /functions/any/socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		require.NoError(t, err)
		answer := bufio.NewReader(conn)
		rsp, err := http.ReadResponse(answer, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, rsp.StatusCode)
		for _, word := range []string{"hello\n", "again\n"} {
			_, err = io.WriteString(conn, word)
			require.NoError(t, err)
			echo, err := answer.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, word, echo)
		}
	})
}

// A stopped function went on serving, the next one got its port, and the proxy
// sent callers to the stranger.
func TestNoCallerReachesTheNextFunctionOnAPort(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	secret := mustDeploy(t, p.http, "Secret", source(t, obeys("Secret", "secret")))
	l := startLoad(t, secret.URL, "secret")
	l.served(20)
	fetch(t, http.MethodPost, "http://"+p.http+"/stop", `{"name": "Secret"}`)
	stranger := mustDeploy(t, p.http, "Stranger", source(t, obeys("Stranger", "stranger")))
	assert.Equal(t, secret.Proxy, stranger.Proxy, "the lowest free port is taken")
	answers(t, "stranger", stranger.URL)
	for _, f := range l.stop() {
		assert.Equal(t, http.StatusNotFound, f.status, "%s", f)
	}
	status, _ := fetch(t, http.MethodGet, secret.Proxy+"/secret", "")
	assert.Equal(t, http.StatusNotFound, status, "the service knows its own function alone")
	assert.Len(t, programs(t, a.dir), 1)
}

// Two packages with one function name left a process behind that nobody knew.
func TestAnotherPackageReplacesAFunctionOfItsName(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	one := mustDeploy(t, p.http, "Same", source(t, says("Same", "one")))
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"go.mod":        "module example.com/other\n\ngo 1.24\n",
		"inner/same.go": strings.Replace(says("Same", "two"), "package fn", "package inner", 1),
	})
	two := mustDeploy(t, p.http, "Same", dir+"/inner")
	answers(t, "two", two.URL)
	assert.Equal(t, one.URL, two.URL)
	eventually(t, func() bool { return len(programs(t, a.dir)) == 1 }, "one process remains")
	assert.Len(t, rows(t, http.MethodGet, "http://"+p.http+"/details", ""), 1)
}

// A function that kept exiting answered 502 for ever and nobody learned its exit
// code.
func TestExitsAreTold(t *testing.T) {
	t.Parallel()
	a := newSite(t).start(t)
	p := startProxy(t, "", "-agents", a.addr)
	r := mustDeploy(t, p.http, "Exits", source(t, obeys("Exits", "exits")))
	failed := until(t, p.http, "Exits", func(r row) bool {
		if r.Instances == 1 {
			_, _, _ = tryFetch(http.MethodGet, r.URL+"/exit", "")
		}
		return r.Status == "Failed"
	})
	assert.Contains(t, []string{"crash", "start"}, failed.Reason, "a call may come before the agent has seen it ready")
	assert.Contains(t, failed.Error, "exit status 7")
	// Its callers are told as well, until it has come back by itself.
	comesToAnswer(t, "exits", r.URL)
	again := until(t, p.http, "Exits", func(r row) bool { return r.Status == "Deployed" && r.Instances == 1 })
	assert.Empty(t, again.Error)
	assert.GreaterOrEqual(t, again.Restarts, 4)
	assert.Equal(t, r.Proxy, again.Proxy)
	_, answer := fetch(t, http.MethodGet, "http://"+p.http+"/details", "")
	assert.NotContains(t, answer, "null")
	assert.NotContains(t, strings.ReplaceAll(answer, `"placement":{}`, ""), "{}")
	require.NoError(t, syscall.Kill(again.Pid, 0))
}
