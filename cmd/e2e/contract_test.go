package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/Ishan27g/ryo-faas/internal/testkit"
)

// The README's session, by every way in.
func TestSession(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	dir := folder(t, map[string]string{
		"example/hello/helloWorld.go": hello,
		"deploy.json": `{"deploy": [{"packageDir": "./example/hello", "name": "HelloWorld",` +
			` "filePath": "./example/hello/helloWorld.go", "agentAddr": ["` + s.agent.addr + `"]}]}`,
		"list.json": `{"list": {"agentAddr": ["http://` + s.agent.addr + `"]}}`,
	})
	elsewhere := t.TempDir() // paths count from the file's folder
	for _, d := range s.doors() {
		t.Run(d.name, func(t *testing.T) {
			r := d.cli(t, elsewhere, "def", filepath.Join(dir, "deploy.json"))
			require.Zero(t, r.code, r.stderr)
			m := regexp.MustCompile(`^name:"HelloWorld"  url:"(.*)"  status:"Deploying"\n$`).FindStringSubmatch(r.stdout)
			require.NotNil(t, m, r.stdout)
			url := m[1]
			if d.proxy {
				assert.Equal(t, "http://"+s.proxy.http+"/functions/helloworld", url)
			} else {
				assert.Regexp(t, `^http://localhost:5\d\d\d/helloworld$`, url)
			}
			eventually(t, func() bool {
				r = d.cli(t, elsewhere, "def", filepath.Join(dir, "list.json"))
				require.Zero(t, r.code, r.stderr)
				return r.stdout == line("HelloWorld", url, "Deployed")
			}, "%+v", r)
			status, answer := fetch(t, http.MethodGet, url, "")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "Hello, World!\n", answer)
			r = d.cli(t, elsewhere, "stop", "HelloWorld") // what is there unchanged is not deployed again
			assert.Zero(t, r.code, r.stderr)
		})
	}
}

func TestFunctionSeesWhatItsCallerSends(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	dir := t.TempDir()
	writeInspector(t, dir)
	deploy := func(t *testing.T, timeout string) {
		write(t, dir, map[string]string{"deploy.json": `{"deploy": [{"name": "Inspect", "packageDir": ".", "agentAddr": "` + s.agent.addr + `",
			"kind": "http", "env": {"COLOUR": "green"}, "include": ["data/*.txt"], "tags": ["special"],
			"ldflags": "-X inspector.Version=v7", "timeout": "` + timeout + `", "memory": "256MiB"}]}`})
		r := proxyCli(t, dir, "-proxy", s.proxy.rpc, "def", "-wait", "deploy.json")
		require.Zero(t, r.code, r.stderr)
	}
	deploy(t, "1m")
	direct := rows(t, http.MethodGet, "http://"+s.agent.addr+"/details", "")[0].URL
	through := "http://" + s.proxy.http + "/functions/inspect"

	t.Run("settings reach the function", func(t *testing.T) {
		_, answer := fetch(t, http.MethodGet, through+"/settings", "")
		assert.Equal(t, "green v7 tagged hi <nil>\n", answer)
	})
	t.Run("the path below the mount arrives byte for byte", func(t *testing.T) {
		for _, rest := range []string{
			"", "/", "?a=1", "/a/b?q=1", "/a/", "//", "//x//y/", "/a/../b", "/./a", "/..", "/a%2Fb", "/a%2fb/%2e%2e/c", "/%41", "/%20+",
			"/a;b=c,d", "/ä%C3%A4", "/inspect/Inspect", "/functions/x", "?city=boston", "?u=http://h/functions", "?q=a;b&c=%zz&&", "/?", "/a?b?c",
		} {
			want := rest
			if !strings.HasPrefix(want, "/") {
				want = "/" + want
			}
			if !strings.Contains(want, "?") {
				want += "?"
			}
			// What a URL cannot hold unescaped arrives escaped.
			want = strings.ReplaceAll(want, "/ä", "/%C3%A4")
			for _, base := range []string{through, direct} {
				addr, path, _ := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
				status, answer := raw(t, addr, "/"+path+rest)
				assert.Equal(t, http.StatusOK, status, "%s%s: %s", base, rest, answer)
				assert.Equal(t, want, answer, "%s%s", base, rest)
			}
		}
	})
	t.Run("the proxy takes the name in any case", func(t *testing.T) {
		for _, name := range []string{"inspect", "Inspect", "INSPECT", "iNSPECT"} {
			status, answer := fetch(t, http.MethodGet, "http://"+s.proxy.http+"/functions/"+name+"/A/b?C=d", "")
			assert.Equal(t, http.StatusOK, status)
			assert.Equal(t, "/A/b?C=d", answer)
		}
	})
	t.Run("nothing else is served on its port", func(t *testing.T) {
		addr, _, _ := strings.Cut(strings.TrimPrefix(direct, "http://"), "/")
		for _, path := range []string{"/", "/inspector", "/other", "/deploy"} {
			status, _ := raw(t, addr, path)
			assert.Equal(t, http.StatusNotFound, status, path)
		}
	})
	t.Run("method, headers, body and status pass both ways", func(t *testing.T) {
		for _, base := range []string{through, direct} {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"} {
				req, err := http.NewRequestWithContext(t.Context(), method, base+"/request?status=418", strings.NewReader("body"))
				require.NoError(t, err)
				req.Header.Set("X-Ask", "please")
				client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				rsp, err := client.Do(req)
				require.NoError(t, err)
				answer, _ := io.ReadAll(rsp.Body)
				rsp.Body.Close()
				assert.Equal(t, http.StatusTeapot, rsp.StatusCode)
				assert.Equal(t, "yes", rsp.Header.Get("X-Answer"))
				assert.Equal(t, method+" please body", string(answer))
			}
		}
	})
	t.Run("it sees who calls, and below what", func(t *testing.T) {
		for base, want := range map[string]string{
			through: "127.0.0.1 <nil> /functions/inspect /caller?q true\n", direct: "127.0.0.1 <nil> /inspect /caller?q true\n",
		} {
			_, answer := fetch(t, http.MethodGet, base+"/caller?q", "")
			assert.Equal(t, want, answer)
		}
	})
	t.Run("nothing of a form stays behind", func(t *testing.T) {
		const size = 40 << 20 // more than is kept in memory
		for _, base := range []string{through, direct} {
			var body bytes.Buffer
			form := multipart.NewWriter(&body)
			part, err := form.CreateFormFile("f", "f")
			require.NoError(t, err)
			_, err = part.Write(make([]byte, size))
			require.NoError(t, err)
			require.NoError(t, form.Close())
			rsp, err := http.Post(base+"/upload", form.FormDataContentType(), &body)
			require.NoError(t, err)
			answer, _ := io.ReadAll(rsp.Body)
			rsp.Body.Close()
			require.Equal(t, fmt.Sprintln(size, nil), string(answer))
			eventually(t, func() bool { // they go after the answer
				_, left := fetch(t, http.MethodGet, base+"/left", "")
				return left == "0 <nil>\n"
			}, "files are left")
		}
	})
	t.Run("a body that is refused is not asked for", func(t *testing.T) {
		for _, base := range []string{through, direct} {
			addr, path, _ := strings.Cut(strings.TrimPrefix(base, "http://"), "/")
			conn, err := net.Dial("tcp", addr)
			require.NoError(t, err)
			defer conn.Close()
			_, err = fmt.Fprintf(conn, "PUT /%s/refuse HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 30000000\r\n\r\n", path)
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
			answer, err := io.ReadAll(conn)
			require.NoError(t, err, "the connection is closed at once")
			assert.True(t, strings.HasPrefix(string(answer), "HTTP/1.1 413 "), "%s: %s", base, answer)
		}
	})
	t.Run("what is no status is answered with 500", func(t *testing.T) {
		for _, base := range []string{through, direct} {
			status, _ := fetch(t, http.MethodGet, base+"/wrong", "")
			assert.Equal(t, http.StatusInternalServerError, status)
		}
	})
	t.Run("a function that takes too long is answered for", func(t *testing.T) {
		deploy(t, "1s")
		defer deploy(t, "1m")
		status, answer := fetch(t, http.MethodGet, through+"/slow", "")
		assert.Equal(t, http.StatusGatewayTimeout, status)
		assert.Equal(t, "timeout", errorOf(t, answer).Code)
	})
	t.Run("the command line calls it", func(t *testing.T) {
		for _, d := range s.doors() {
			r := d.cli(t, dir, "invoke", "inspect", "-X", "PUT", "-path", "/request?status=200", "-H", "X-Ask: now", "-d", "text")
			assert.Equal(t, "PUT now text", r.stdout, d.name)
			assert.Zero(t, r.code)
			r = d.cli(t, dir, "invoke", "Inspect", "-path", "/request?status=500")
			assert.Equal(t, 1, r.code)
			assert.Contains(t, r.stderr, "500")
		}
	})
}

// Every request of the API, at a proxy and at an agent alike.
func TestHTTP(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	dir := folder(t, map[string]string{"helloWorld.go": hello})
	file := filepath.Join(dir, "helloWorld.go")
	form := "application/x-www-form-urlencoded" // as curl -d says

	for name, addr := range map[string]string{"proxy": s.proxy.http, "agent": s.agent.addr} {
		base := "http://" + addr
		wantURL := `^` + regexp.QuoteMeta(base) + `/functions/helloworld$`
		if name == "agent" {
			wantURL = `^http://localhost:5\d\d\d/helloworld$`
		}
		check := func(t *testing.T, answer string, statuses ...string) {
			t.Helper()
			var list []map[string]any
			require.NoError(t, json.Unmarshal([]byte(answer), &list), answer)
			require.Len(t, list, 1, answer)
			row := list[0]
			require.Contains(t, statuses, row["status"], answer)
			assert.Equal(t, "HelloWorld", row["name"])
			assert.Regexp(t, wantURL, row["url"])
			assert.Regexp(t, `^http://localhost:5\d\d\d$`, row["proxy"])
			assert.Equal(t, s.agent.addr, row["atAgent"])
		}
		post := func(t *testing.T, path, body string) string {
			t.Helper()
			status, answer, header := send(t, http.MethodPost, base+path, form, []byte(body))
			require.Equal(t, http.StatusOK, status, answer)
			assert.Equal(t, "application/json", header.Get("Content-Type"))
			return answer
		}
		t.Run(name, func(t *testing.T) {
			t.Run("nothing is deployed", func(t *testing.T) {
				status, answer := fetch(t, http.MethodGet, base+"/details", "")
				assert.Equal(t, http.StatusOK, status)
				assert.Equal(t, "[]", strings.TrimSpace(answer))
				list := `{"atAgent": "` + s.agent.addr + `"}`
				if name == "agent" {
					assert.Equal(t, "[]", strings.TrimSpace(post(t, "/list", list)))
					return
				}
				status, answer = fetch(t, http.MethodPost, base+"/list", list)
				assert.Equal(t, http.StatusNotFound, status)
				assert.Contains(t, answer, "a deploy to it adds it", "reading does not")
			})
			t.Run("deploy", func(t *testing.T) {
				answer := post(t, "/deploy", fmt.Sprintf(`[{"dir": %q, "name": "HelloWorld", "filePath": %q, "toAgent": %q}]`, dir, file, s.agent.addr))
				check(t, answer, "Deploying")
			})
			t.Run("aliases", func(t *testing.T) {
				for _, body := range []string{
					`[{"packageDir": %[1]q, "name": "HelloWorld", "toAgent": [%[2]q]}]`,
					`[{"packageDir": [%[1]q], "entrypoint": "HelloWorld", "agentAddr": %[2]q}]`,
					`[{"dir": %[1]q, "name": "HelloWorld", "agentAddr": [%[2]q], "file_path": "helloWorld.go"}]`,
					`[{"dir": %[1]q, "packageDir": %[1]q, "name": "HelloWorld", "entrypoint": "HelloWorld", "toAgent": [%[2]q], "agentAddr": %[2]q}]`,
					`[{"filePath": %[1]q"/helloWorld.go", "name": "HelloWorld", "agentAddr": "http://"%[2]q}]`,
				} {
					// Two strings side by side are one.
					body = strings.NewReplacer(`""`, "").Replace(fmt.Sprintf(body, dir, s.agent.addr))
					check(t, post(t, "/deploy", body), "Deploying", "Deployed") // the same once more is deployed already
				}
			})
			t.Run("wait", func(t *testing.T) {
				answer := post(t, "/deploy?wait=true", fmt.Sprintf(`[{"dir": %q, "name": "HelloWorld", "toAgent": %q}]`, dir, s.agent.addr))
				check(t, answer, "Deployed")
			})
			t.Run("details and list", func(t *testing.T) {
				status, answer := fetch(t, http.MethodGet, base+"/details", "")
				require.Equal(t, http.StatusOK, status)
				check(t, answer, "Deployed")
				check(t, post(t, "/list", `{"atAgent": "`+s.agent.addr+`"}`), "Deployed")
				check(t, post(t, "/list", `{"agentAddr": ["http://`+s.agent.addr+`"]}`), "Deployed")
			})
			t.Run("log", func(t *testing.T) {
				for _, query := range []string{"entrypoint=HelloWorld", "name=HelloWorld", "entrypoint=helloworld"} {
					status, answer := fetch(t, http.MethodGet, base+"/log?"+query, "")
					require.Equal(t, http.StatusOK, status, answer)
					var logs struct {
						Function json.RawMessage
						Logs     string
					}
					require.NoError(t, json.Unmarshal([]byte(answer), &logs))
					assert.True(t, strings.HasPrefix(logs.Logs, "deploying at /helloworld\n"), logs.Logs)
					check(t, "["+string(logs.Function)+"]", "Deployed")
				}
			})
			t.Run("multipart", func(t *testing.T) {
				contentType, body := upload(t, `[{"name": "HelloWorld", "toAgent": ["`+s.agent.addr+`"]}]`,
					zipped(t, map[string]string{"helloWorld.go": strings.Replace(hello, "World!", "zip!", 1)}))
				status, answer, _ := send(t, http.MethodPost, base+"/deploy?wait=true", contentType, body)
				require.Equal(t, http.StatusOK, status, answer)
				check(t, answer, "Deployed")
				_, said := fetch(t, http.MethodGet, rows(t, http.MethodGet, base+"/details", "")[0].URL, "")
				assert.Equal(t, "Hello, zip!\n", said)
			})
			t.Run("packages", func(t *testing.T) {
				pkg := zipped(t, map[string]string{"helloWorld.go": strings.Replace(hello, "World!", name+"!", 1)})
				digest := fmt.Sprintf("sha256:%x", sha256.Sum256(pkg))
				for _, want := range []int{http.StatusNotFound, http.StatusOK} {
					status, _, _ := send(t, http.MethodHead, base+"/packages/"+digest, "", nil)
					assert.Equal(t, want, status)
					status, answer, _ := send(t, http.MethodPut, base+"/packages/"+digest, "application/zip", pkg)
					assert.Equal(t, http.StatusOK, status)
					assert.JSONEq(t, `{"digest": "`+digest+`"}`, answer)
				}
				check(t, post(t, "/deploy?wait", `[{"name": "HelloWorld", "package": "`+digest+`", "toAgent": "`+s.agent.addr+`"}]`), "Deployed")
				_, said := fetch(t, http.MethodGet, rows(t, http.MethodGet, base+"/details", "")[0].URL, "")
				assert.Equal(t, "Hello, "+name+"!\n", said)
			})
			t.Run("watch", func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/watch", nil)
				require.NoError(t, err)
				client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
				rsp, err := client.Do(req)
				require.NoError(t, err)
				defer rsp.Body.Close()
				assert.Equal(t, "text/event-stream", rsp.Header.Get("Content-Type"))
				lines := bufio.NewScanner(rsp.Body)
				require.True(t, lines.Scan(), lines.Err())
				data, ok := strings.CutPrefix(lines.Text(), "data:")
				require.True(t, ok, lines.Text())
				var event struct {
					Functions json.RawMessage
					Snapshot  bool
				}
				require.NoError(t, json.Unmarshal([]byte(data), &event), data)
				assert.True(t, event.Snapshot)
				check(t, string(event.Functions), "Deployed")
			})
			t.Run("faults", func(t *testing.T) { testFaults(t, base, dir) })
			t.Run("stop", func(t *testing.T) {
				answer := post(t, "/stop", `{"name": "HelloWorld"}`)
				var r row
				require.NoError(t, json.Unmarshal([]byte(answer), &r))
				assert.Equal(t, "HelloWorld", r.Name)
				assert.Equal(t, "Stopped", r.Status)
				assert.Empty(t, rows(t, http.MethodGet, base+"/details", ""))
				status, answer := fetch(t, http.MethodPost, base+"/stop", `{"entrypoint": "HelloWorld"}`)
				assert.Equal(t, http.StatusNotFound, status)
				assert.Equal(t, "not_found", errorOf(t, answer).Code)
			})
			t.Run("health", func(t *testing.T) {
				for _, path := range []string{"/healthz", "/readyz"} {
					status, _ := fetch(t, http.MethodGet, base+path, "")
					assert.Equal(t, http.StatusOK, status)
				}
			})
		})
	}
}

// testFaults sends requests that must be refused.
func testFaults(t *testing.T, base, dir string) {
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		code, says         string
	}{
		"unknown call":            {"GET", "/nope", "", 404, "not_found", "/nope"},
		"other method":            {"GET", "/deploy", "", 405, "unsupported", "/deploy"},
		"other method of details": {"DELETE", "/details", "", 405, "unsupported", "/details"},
		"no body":                 {"POST", "/deploy", "", 400, "invalid", "array"},
		"no functions":            {"POST", "/deploy", "[]", 400, "invalid", "no function"},
		"no array":                {"POST", "/deploy", `{"name": "F"}`, 400, "invalid", "array"},
		"no JSON":                 {"POST", "/deploy", `[{"name": "F"`, 400, "invalid", "JSON"},
		"null":                    {"POST", "/deploy", `[null]`, 400, "invalid", "null"},
		"number":                  {"POST", "/deploy", `[7]`, 400, "invalid", "object"},
		"wrong type":              {"POST", "/deploy", `[{"name": 7, "dir": "/"}]`, 400, "invalid", "name"},
		"unknown key":             {"POST", "/deploy", `[{"nmae": "F"}]`, 400, "invalid", `did you mean "name"?`},
		"disagreeing names":       {"POST", "/deploy", `[{"name": "F", "entrypoint": "G", "dir": "/x"}]`, 400, "invalid", `"name" and "entrypoint" disagree`},
		"disagreeing folders":     {"POST", "/deploy", `[{"name": "F", "packageDir": "/y", "dir": "/x"}]`, 400, "invalid", `"packageDir" and "dir" disagree`},
		"disagreeing agents":      {"POST", "/deploy", `[{"name": "F", "dir": "/x", "toAgent": ["a:1"], "agentAddr": "b:1"}]`, 400, "invalid", `"toAgent" and "agentAddr" disagree`},
		"two folders":             {"POST", "/deploy", `[{"name": "F", "packageDir": ["/y", "/x"]}]`, 400, "invalid", "packageDir"},
		"no name":                 {"POST", "/deploy", `[{"dir": "` + dir + `"}]`, 400, "invalid", "name"},
		"no source":               {"POST", "/deploy", `[{"name": "F"}]`, 400, "invalid", "source"},
		"relative folder":         {"POST", "/deploy", `[{"name": "F", "dir": "hello"}]`, 400, "invalid", "hello"},
		"missing folder":          {"POST", "/deploy", `[{"name": "F", "dir": "` + dir + `/no"}]`, 400, "invalid", dir + "/no"},
		"bad address":             {"POST", "/deploy", `[{"name": "F", "dir": "` + dir + `", "toAgent": "nowhere"}]`, 400, "invalid", "nowhere"},
		"unknown package":         {"POST", "/deploy", `[{"name": "F", "package": "sha256:` + strings.Repeat("0", 64) + `"}]`, 404, "not_found", "sha256:000"},
		"bad digest":              {"POST", "/deploy", `[{"name": "F", "package": "../../x"}]`, 400, "invalid", "../../x"},
		"bad wait":                {"POST", "/deploy?wait=perhaps", `[]`, 400, "invalid", "perhaps"},
		"unknown query":           {"POST", "/deploy?wiat=true", `[]`, 400, "invalid", "wait"},
		"path of another":         {"POST", "/deploy", `[{"name": "HelloworlD", "dir": "` + dir + `"}]`, 409, "conflict", "HelloWorld"},
		"one path twice":          {"POST", "/deploy", `[{"name": "Two", "dir": "` + dir + `"}, {"name": "TWO", "dir": "` + dir + `"}]`, 409, "conflict", "TWO"},
		"stop nothing":            {"POST", "/stop", `{}`, 400, "invalid", "name"},
		"stop no JSON":            {"POST", "/stop", `nonsense`, 400, "invalid", "JSON"},
		"stop a stranger":         {"POST", "/stop", `{"name": "HelloWolrd"}`, 404, "not_found", "HelloWolrd"},
		"log of nothing":          {"GET", "/log", "", 400, "invalid", "name"},
		"log of a stranger":       {"GET", "/log?entrypoint=Nobody", "", 404, "not_found", "Nobody"},
		"log with another key":    {"GET", "/log?entrpoint=HelloWorld", "", 400, "invalid", "entrypoint"},
		"list of nothing":         {"POST", "/list", "", 400, "invalid", "JSON"},
		"list of no agent":        {"POST", "/list", `{}`, 400, "invalid", "address"},
		"list of a bad address":   {"POST", "/list", `{"atAgent": "nowhere"}`, 400, "invalid", "nowhere"},
		"details of something":    {"GET", "/details?name=HelloWorld", "", 400, "invalid", "name"},
		"too much":                {"POST", "/deploy", `[{"name": "` + strings.Repeat("x", 1<<20) + `"}]`, 413, "too_large", "1048576"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer, header := send(t, c.method, base+c.path, "application/json", []byte(c.body))
			assert.Equal(t, c.status, status, answer)
			assert.Equal(t, "application/json", header.Get("Content-Type"))
			e := errorOf(t, answer)
			assert.Equal(t, c.code, e.Code)
			assert.Contains(t, e.Message+" "+e.Hint, c.says)
		})
	}
}

// Addresses, replicas and placement: what a proxy is for.
func TestReplicas(t *testing.T) {
	t.Parallel()
	one, two := startAgent(t, "", ""), startAgent(t, "", "")
	state := t.TempDir()
	p := startProxy(t, state, "-agents", one.addr)
	dir := t.TempDir()
	writeInspector(t, dir)
	port := strings.TrimPrefix(two.addr, "localhost")
	write(t, dir, map[string]string{
		"both.json":  `{"deploy": [{"name": "Inspect", "packageDir": ".", "agentAddr": ["http://` + one.addr + `", "` + port + `"]}]}`,
		"hello.json": `{"deploy": [{"name": "HelloWorld", "filePath": "hello/fn.go"}]}`,
	})
	write(t, filepath.Join(dir, "hello"), map[string]string{"fn.go": hello})
	url := "http://" + p.http + "/functions/inspect"
	pids := func(t *testing.T) []string {
		t.Helper()
		var seen []string
		for range 8 {
			status, pid := fetch(t, http.MethodGet, url+"/process", "")
			require.Equal(t, http.StatusOK, status, pid)
			if !slices.Contains(seen, pid) {
				seen = append(seen, pid)
			}
		}
		return seen
	}

	r := proxyCli(t, dir, "-proxy", p.http, "-transport", "http", "def", "-wait", "both.json")
	require.Zero(t, r.code, r.stderr)
	assert.Equal(t, strings.Repeat(line("Inspect", url, "Deployed"), 2), r.stdout, "a row for each agent")
	var at []string
	for _, row := range rows(t, http.MethodGet, "http://"+p.http+"/details", "") {
		at = append(at, row.AtAgent)
		assert.Equal(t, url, row.URL)
	}
	assert.ElementsMatch(t, []string{one.addr, two.addr}, at)
	assert.Len(t, pids(t), 2, "calls go to both replicas")
	r = proxyCli(t, dir, "-proxy", p.rpc, "list", two.addr)
	assert.Equal(t, line("Inspect", url, "Deployed"), r.stdout)

	// A proxy remembers the agents that deploys named.
	p.end()
	p = startProxy(t, state)
	url = "http://" + p.http + "/functions/inspect"
	eventually(t, func() bool {
		ready := 0
		for _, row := range rows(t, http.MethodGet, "http://"+p.http+"/details", "") {
			if row.Status == "Deployed" && row.Error == "" {
				ready++
			}
		}
		return ready == 2
	}, "two replicas")
	assert.Len(t, pids(t), 2)

	t.Run("a function without an agent goes to the least loaded", func(t *testing.T) {
		// One more function makes agent one the busier.
		mustDeploy(t, p.http, "Busy", source(t, says("Busy", "")), one.addr)
		r := proxyCli(t, dir, "-proxy", p.rpc, "def", "-wait", "hello.json")
		require.Zero(t, r.code, r.stderr)
		row, _ := find(rows(t, http.MethodGet, "http://"+p.http+"/details", ""), "HelloWorld")
		assert.Equal(t, two.addr, row.AtAgent)
	})
	t.Run("fewer agents stop the other replica", func(t *testing.T) {
		mustDeploy(t, p.http, "Inspect", dir, two.addr)
		eventually(t, func() bool {
			_, there := find(rows(t, http.MethodGet, "http://"+one.addr+"/details", ""), "Inspect")
			return !there
		}, "agent one keeps its replica")
		assert.Len(t, pids(t), 1)
	})
	t.Run("stop", func(t *testing.T) {
		r := proxyCli(t, dir, "-proxy", p.rpc, "stop", "inspect", "HelloWorld", "Busy")
		require.Zero(t, r.code, r.stderr)
		assert.Equal(t, 3, strings.Count(r.stdout, `status:"Stopped"`), r.stdout)
		for _, addr := range []string{p.http, one.addr, two.addr} {
			assert.Empty(t, rows(t, http.MethodGet, "http://"+addr+"/details", ""))
		}
	})
	t.Run("an agent that does not answer", func(t *testing.T) {
		gone := testkit.Address(t)
		r := proxyCli(t, dir, "-proxy", p.rpc, "list", gone)
		assert.Equal(t, 5, r.code, r.stderr)
		assert.Contains(t, r.stderr, gone)
		r = proxyCli(t, dir, "-proxy", p.rpc, "deploy", "-wait", "-agent", gone+","+two.addr, "hello")
		assert.Equal(t, 6, r.code, "%+v", r)
		assert.Equal(t, 2, strings.Count(r.stdout, `status:"Failed"`), "all or none: %s", r.stdout)
		assert.Contains(t, r.stderr, gone)
	})
}

// A proxy that knows no agent says so.
func TestNoAgent(t *testing.T) {
	t.Parallel()
	p := startProxy(t, "", "-agents", "none")
	dir := source(t, says("F", ""))
	status, answer := fetch(t, http.MethodPost, "http://"+p.http+"/deploy", fmt.Sprintf(`[{"name": "F", "dir": %q}]`, dir))
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, errorOf(t, answer).Message, "agent")
	assert.NotEmpty(t, errorOf(t, answer).Hint)
	r := proxyCli(t, dir, "-proxy", p.rpc, "deploy", "-wait", ".")
	assert.Equal(t, 4, r.code, r.stderr)
	assert.Empty(t, r.stdout)
	r = proxyCli(t, dir, "-proxy", p.rpc, "list")
	assert.Zero(t, r.code, r.stderr)
	assert.Empty(t, r.stdout)
}
